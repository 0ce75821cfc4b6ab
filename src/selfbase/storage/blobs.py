"""The blob port: where bytes live, under keys that are written once and never change.

A key is `<area>/<name>` or `<area>/<group>/<name>`; object and bucket names of users never become
part of one, so no name can leave the root or collide with another.  Which key an object has now is
the business of its row, not of this port.  Two adapters: `disk` and `cloud`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from selfbase.http.values import FileBody
from selfbase.storage.types import ByteStream

OBJECTS = "objects"
PARTS = "parts"
GROWING = "growing"

_KEY = re.compile(
    r"(?:objects|growing)/[0-9A-Za-z-]{1,64}|parts/[0-9A-Za-z-]{1,64}/[0-9A-Za-z-]{1,80}"
)


class BlobNotFound(Exception):
    """No blob of this key."""


class BlobsFull(Exception):
    """No space left where blobs are kept."""


class BlobsBusy(Exception):
    """Another process is writing to this growing blob."""


class BlobsFailed(Exception):
    """The store did not do what was asked; the text is for the log."""


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: its length and the MD5 of these bytes.  `segment` names it within a growing
    blob, for stores that need to know."""

    size: int
    md5: bytes
    segment: str = ""


@dataclass(frozen=True, slots=True)
class BlobSeen:
    """One blob as a listing shows it."""

    key: str
    size: int
    modified_at: datetime


class Blobs(Protocol):
    """Every method raises BlobsFailed, and the writing ones BlobsFull.

    When a writing method returns, its bytes survive a power cut; when it raises, or its stream
    does, no blob of that key exists (after a crash at most an unfinished file nobody lists as
    whole).  Nothing is held in memory but a few pieces.
    """

    async def put(self, key: str, pieces: ByteStream) -> Written:
        """Writes a new blob from a stream."""

    def hold(self, growing: str) -> AbstractAsyncContextManager[None]:
        """Keeps other processes from a growing blob.  Raises BlobsBusy when one of them has it."""

    async def append(self, growing: str, offset: int, pieces: ByteStream) -> Written:
        """Adds a segment to a growing blob at `offset`; what lay beyond it is forgotten.  Only while
        holding it."""

    async def finish(self, growing: str, key: str, segments: Sequence[Written]) -> None:
        """Makes the blob `key` of a growing blob's segments, which stay until removed.  Doing it
        again, with the same or more segments, replaces the blob.  Only while holding it."""

    async def concat(self, sources: Sequence[str], key: str) -> None:
        """A new blob of the bytes of all sources, which stay."""

    async def copy(self, source: str, key: str) -> None:
        """A second blob of the same bytes, without moving them where the store can.
        Raises BlobNotFound."""

    async def open(self, key: str, offset: int, length: int) -> FileBody | ByteStream:
        """A part of a blob, ready to be sent.  Raises BlobNotFound.  A blob that is removed
        meanwhile is still sent to its end."""

    def find_path(self, key: str) -> Path | None:
        """Where the blob lies on this machine, if it does."""

    async def remove(self, keys: Sequence[str]) -> None:
        """Removes blobs; those that are gone already are no error."""

    def list(self, area: str) -> AsyncIterator[BlobSeen]:
        """Every blob of an area, in no order; unfinished files count as blobs of `growing`."""

    async def close(self) -> None: ...


def object_key(version: str | None) -> str:
    """The key of an object's bytes.  Raises BlobNotFound for a version that cannot be ours."""
    return check_key(f"{OBJECTS}/{version or ''}")


def part_key(upload_id: str, version: str) -> str:
    """The key of one part of an S3 multipart upload."""
    return check_key(f"{PARTS}/{upload_id}/{version}")


def growing_key(upload_id: str) -> str:
    """The key of a resumable upload that is not complete."""
    return check_key(f"{GROWING}/{upload_id}")


def check_key(key: str) -> str:
    """The key itself.  Raises BlobNotFound: rows can be written by hand, paths cannot."""
    if _KEY.fullmatch(key) is None:
        raise BlobNotFound(key)
    return key
