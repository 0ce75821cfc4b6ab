"""Named places at which tests let the program die or fail.

In production `Faults.reach` does nothing.  A test hands its own subclass to `make_storage` that
kills the process, or raises, when a point is reached; the list below is what it goes through.
"""

from __future__ import annotations

from enum import Enum


class FaultPoint(Enum):
    """In the order an upload passes them, then those of the other operations."""

    UPLOAD_ALLOWED = "upload.allowed"
    BLOB_OPENED = "blob.opened"
    BLOB_PIECE_WRITTEN = "blob.piece_written"
    BLOB_WRITTEN = "blob.written"
    BLOB_SYNCED = "blob.synced"
    BLOB_RENAMED = "blob.renamed"
    BLOB_STORED = "blob.stored"
    ROW_COMMITTED = "row.committed"
    OLD_VERSION_REMOVED = "old_version.removed"
    DELETE_COMMITTED = "delete.committed"
    COPY_STORED = "copy.stored"
    MOVE_COMMITTED = "move.committed"
    PART_STORED = "part.stored"
    PART_RECORDED = "part.recorded"
    PARTS_JOINED = "parts.joined"
    PARTS_FORGOTTEN = "parts.forgotten"
    RESUMABLE_CREATED = "resumable.created"
    RESUMABLE_SEGMENT_STORED = "resumable.segment_stored"
    RESUMABLE_SEGMENT_RECORDED = "resumable.segment_recorded"
    RESUMABLE_ASSEMBLED = "resumable.assembled"


class Faults:
    """Nothing ever goes wrong on purpose."""

    def reach(self, point: FaultPoint) -> None:
        """Called at each point, on any thread."""
