"""Object storage: buckets and objects with row level security, resumable uploads, S3, images.

The row in `storage.objects` is the truth and the commit point: bytes are written first under a
version key that nothing refers to, the row then names that version, and only after the commit are
the bytes of the version before it removed.  Whatever a crash leaves behind belongs to no row and is
found by the collector.  Every operation is decided by PostgreSQL as the caller.
"""
