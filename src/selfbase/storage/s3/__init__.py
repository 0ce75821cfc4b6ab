"""The S3 protocol: signatures, XML, and the operations of S3 on the service's buckets and objects.

Path style only.  What an operation does is decided in `operations`; `routes` is the way in.
Source: Amazon S3 API reference; reference/storage.md section 3.
"""
