"""Resumable uploads: bytes that arrive over several requests, connections and restarts.

What counts is the row: bytes are first made safe, then recorded.  The last segment is recorded by
the very transaction that makes the object, so that no client is ever told that all has arrived
while there is no object.  A newer request on an upload ends the older one, which is that of a
connection the client has given up.  Source: reference/storage.md section 2.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from selfbase.http.values import BodyIncomplete
from selfbase.storage.blobs import (
    BlobsBusy,
    BlobsFailed,
    BlobsFull,
    Written,
    growing_key,
    object_key,
)
from selfbase.storage.call import Actor
from selfbase.storage.context import Context
from selfbase.storage.errors import (
    AccessDenied,
    ClientGone,
    InsufficientStorage,
    InternalError,
    NoSuchUpload,
    ResourceLocked,
    SlowDown,
)
from selfbase.storage.faults import FaultPoint
from selfbase.storage.logic.tus import Creation, TusError
from selfbase.storage.objects import UploadPermit, read_object
from selfbase.storage.queries import SQL
from selfbase.storage.rows import Step, by_service
from selfbase.storage.types import ByteStream, Stored, StoredObject, Upload

_BUSY_WAIT_S = 0.05
_MB = 1000 * 1000


@dataclass(frozen=True, slots=True)
class Resumable:
    """One unfinished upload.  `received` bytes are safe; `expires_at` in seconds since the epoch."""

    id: str
    bucket_id: str
    name: str
    length: int | None
    received: int
    segments: tuple[Written, ...]
    raw_metadata: str
    mime_type: str
    cache_control: str
    user_metadata: Mapping[str, Any] | None
    owner_id: str | None
    upsert: bool
    expires_at: float

    def as_upload(self) -> Upload:
        return Upload(
            mime_type=self.mime_type,
            cache_control=self.cache_control,
            user_metadata=self.user_metadata,
            declared_bytes=self.length,
            upsert=self.upsert,
        )


@dataclass(slots=True)
class _Holder:
    """The request that works on an upload now."""

    leave: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)


class Resumables:
    """The resumable uploads of one project."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._rows = context.rows
        self._blobs = context.blobs
        self._holders: dict[str, _Holder] = {}
        self._at_work = 0

    async def create(self, actor: Actor, wanted: Creation, *, upsert: bool) -> Resumable:
        """Begins an upload that the actor may do."""
        upload = Upload(
            wanted.mime_type,
            wanted.cache_control,
            wanted.user_metadata,
            announced_bytes=wanted.length,
            upsert=upsert,
        )
        permit = await self._context.objects.authorize_upload(
            actor, wanted.bucket_id, wanted.name, upload, empty_list_refuses=True
        )
        if wanted.length is not None and wanted.length > permit.bytes_max:
            raise TusError("Maximum size exceeded", status=413)
        values = (
            self._context.make_version(),
            wanted.bucket_id,
            wanted.name,
            wanted.length,
            wanted.raw_metadata,
            wanted.mime_type,
            wanted.cache_control,
            None if wanted.user_metadata is None else dict(wanted.user_metadata),
            actor.caller.user_id,
            upsert,
            self._life_s,
        )
        (rows,) = await self._rows.run(actor, by_service(SQL["insert_resumable"], *values))
        self._context.faults.reach(FaultPoint.RESUMABLE_CREATED)
        return _read_resumable(rows[0])

    @property
    def _life_s(self) -> str:
        return str(self._context.settings.tus_url_expiry_ms / 1000)

    async def find(self, actor: Actor, key: tuple[str, str, str]) -> Resumable | StoredObject:
        """The upload (bucket, name, id), or the object it has become.  Raises NoSuchUpload."""
        bucket_id, name, upload_id = key
        found, completed = await self._rows.run(
            actor,
            by_service(SQL["find_resumable"], upload_id),
            by_service(SQL["find_completed"], upload_id, bucket_id, name),
            read_only=True,
        )
        if found:
            upload = _read_resumable(found[0])
            if (upload.bucket_id, upload.name) == (bucket_id, name):
                return upload
        if completed:
            return read_object(completed[0])
        raise NoSuchUpload("The file for this url was not found")

    @asynccontextmanager
    async def hold(self, upload_id: str) -> AsyncIterator[_Holder]:
        """Works on an upload alone; whoever did before is asked to leave.

        Raises ResourceLocked when it does not in time, SlowDown when too many are at work.
        """
        settings = self._context.settings
        if self._at_work >= settings.tus_uploads_max:
            raise SlowDown("Too many uploads at the same time", status=503)
        self._at_work += 1
        mine = _Holder()
        try:
            async with asyncio.timeout(settings.tus_lock_wait_s):
                while (other := self._holders.get(upload_id)) is not None:
                    other.leave.set()
                    await other.gone.wait()
                self._holders[upload_id] = mine
        except TimeoutError:
            raise ResourceLocked("acquiring lock timeout") from None
        finally:
            if self._holders.get(upload_id) is not mine:
                self._at_work -= 1
        try:
            yield mine
        finally:
            del self._holders[upload_id]
            self._at_work -= 1
            mine.gone.set()

    async def append(
        self,
        actor: Actor,
        key: tuple[str, str, str],
        offset: int | None,
        pieces: ByteStream,
        *,
        length: int | None = None,
    ) -> Resumable | StoredObject:
        """Takes more bytes at `offset` (None: at the start, right after creation).

        Gives the upload, or the object when these were the last bytes.  What arrives before the
        client leaves is kept.  Raises TusError 409 when `offset` is not where the upload stands.
        """
        await self.find(actor, key)
        async with self.hold(key[2]) as holder, self._hold_blob(key[2]):
            found = await self.find(actor, key)
            if isinstance(found, StoredObject):
                if offset != found.size:
                    raise TusError("Upload-Offset conflict", status=409)
                return found
            upload = _with_length(found, length)
            self._check_owner(actor, upload)
            permit = await self._context.objects.authorize_upload(
                actor, upload.bucket_id, upload.name, upload.as_upload(), empty_list_refuses=True
            )
            if (offset or 0) != upload.received:
                raise TusError("Upload-Offset conflict", status=409)
            return await self._take(actor, permit, upload, _Intake(pieces, holder.leave))

    async def _take(
        self, actor: Actor, permit: UploadPermit, upload: Resumable, intake: _Intake
    ) -> Resumable | StoredObject:
        size_max = permit.bytes_max if upload.length is None else upload.length
        if size_max > permit.bytes_max:
            raise TusError("Maximum size exceeded", status=413)
        segment_max = max(1, self._context.settings.tus_part_mb) * _MB
        while True:
            room = size_max - upload.received
            written = await self._write(upload, intake.read(min(room, segment_max)))
            if intake.has_more and written.size == room:
                words = (
                    "Maximum size exceeded" if upload.length is None else "upload's size exceeded"
                )
                raise TusError(words, status=413)
            if upload.received + written.size == upload.length:
                return await self._complete(actor, permit, upload, written)
            if written.size:
                upload = await self._record(actor, upload, written)
            if intake.was_cut:
                raise ClientGone
            if intake.is_over:
                return upload

    async def _write(self, upload: Resumable, pieces: ByteStream) -> Written:
        try:
            written = await self._blobs.append(growing_key(upload.id), upload.received, pieces)
        except BlobsFull as error:
            raise InsufficientStorage(internal=str(error)) from error
        except BlobsFailed as error:
            raise InternalError(internal=str(error)) from error
        self._context.faults.reach(FaultPoint.RESUMABLE_SEGMENT_STORED)
        return written

    async def _record(self, actor: Actor, upload: Resumable, written: Written) -> Resumable:
        step = by_service(
            SQL["record_segment"],
            upload.id,
            upload.received,
            upload.received + written.size,
            [written.size, written.md5.hex(), written.segment],
            upload.length,
            self._life_s,
        )
        (rows,) = await self._rows.run(actor, step)
        if not rows:
            raise ResourceLocked("acquiring lock timeout")
        self._context.faults.reach(FaultPoint.RESUMABLE_SEGMENT_RECORDED)
        return _read_resumable(rows[0])

    async def _complete(
        self, actor: Actor, permit: UploadPermit, upload: Resumable, last: Written
    ) -> StoredObject:
        segments = [*upload.segments, last]
        growing, key = growing_key(upload.id), object_key(upload.id)
        try:
            await self._blobs.finish(growing, key, segments)
        except BlobsFull as error:
            raise InsufficientStorage(internal=str(error)) from error
        except BlobsFailed as error:
            raise InternalError(internal=str(error)) from error
        self._context.faults.reach(FaultPoint.RESUMABLE_ASSEMBLED)
        size = sum(segment.size for segment in segments)
        stored = Stored(upload.id, size, render_etag(segments), self._context.clock.now())
        forget: list[Step] = [by_service(SQL["delete_resumable"], upload.id)]
        done = await self._context.objects.commit(
            actor, permit, upload.as_upload(), stored, also=forget
        )
        await self._context.discard([growing])
        return done

    async def terminate(self, actor: Actor, key: tuple[str, str, str]) -> None:
        """Gives an upload up and forgets its bytes."""
        await self.find(actor, key)
        async with self.hold(key[2]), self._hold_blob(key[2]):
            found = await self.find(actor, key)
            if isinstance(found, StoredObject):
                raise TusError("Cannot terminate an already completed upload")
            self._check_owner(actor, found)
            await self._context.objects.authorize_upload(
                actor, found.bucket_id, found.name, found.as_upload(), empty_list_refuses=True
            )
            await self._rows.run(actor, by_service(SQL["delete_resumable"], found.id))
            await self._context.discard([growing_key(found.id)])

    async def settle(self, upload_id: str) -> None:
        """Waits until nobody works on the upload: what is recorded then is all there is."""
        async with self.hold(upload_id):
            return

    def _check_owner(self, actor: Actor, upload: Resumable) -> None:
        """Whoever began an upload goes on with it: its id alone is no right."""
        if not actor.is_service and upload.owner_id != actor.caller.user_id:
            raise AccessDenied

    @asynccontextmanager
    async def _hold_blob(self, upload_id: str) -> AsyncIterator[None]:
        deadline_s = self._context.clock.monotonic_s() + self._context.settings.tus_lock_wait_s
        while True:
            try:
                async with self._blobs.hold(growing_key(upload_id)):
                    yield
                    return
            except BlobsBusy:
                if self._context.clock.monotonic_s() > deadline_s:
                    raise ResourceLocked("acquiring lock timeout") from None
            await asyncio.sleep(_BUSY_WAIT_S)


class _Intake:
    """The body of one request, handed out segment by segment.

    It ends early, without an error, when the client leaves or a newer request takes over.
    """

    def __init__(self, pieces: ByteStream, leave: asyncio.Event) -> None:
        self._pieces = pieces
        self._leave = leave
        self._left_over = b""
        self.is_over = False
        self.was_cut = False

    @property
    def has_more(self) -> bool:
        """Bytes are here that the last segment had no room for."""
        return bool(self._left_over)

    async def read(self, bytes_max: int) -> AsyncIterator[bytes]:
        """Pieces of up to `bytes_max` bytes altogether, then one look whether there are more."""
        room = bytes_max
        while True:
            piece = self._left_over or await self._next()
            self._left_over = b""
            if not piece:
                return
            if len(piece) > room:
                self._left_over = piece[room:]
                if room:
                    yield piece[:room]
                return
            room -= len(piece)
            yield piece

    async def _next(self) -> bytes:
        if self.is_over or self.was_cut:
            return b""
        coming = asyncio.ensure_future(anext(self._pieces, b""))
        leaving = asyncio.ensure_future(self._leave.wait())
        try:
            await asyncio.wait((coming, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                self.was_cut = True
                return b""
            piece = coming.result()
        except BodyIncomplete:
            self.was_cut = True
            return b""
        finally:
            for waiting in (coming, leaving):
                if not waiting.done():
                    waiting.cancel()
        if not piece:
            self.is_over = True
        return piece


def _with_length(upload: Resumable, length: int | None) -> Resumable:
    """The upload with a length that was deferred.  Raises TusError."""
    if length is None:
        return upload
    if upload.length is not None and upload.length != length:
        raise TusError("Upload-Length or Upload-Defer-Length header required")
    if length < upload.received:
        raise TusError("upload's size exceeded", status=413)
    return _replace_length(upload, length)


def _replace_length(upload: Resumable, length: int) -> Resumable:
    values = {name: getattr(upload, name) for name in Resumable.__slots__}
    return Resumable(**{**values, "length": length})


def render_etag(segments: Sequence[Written]) -> str:
    """Quoted: the MD5 of one segment, or that of all their MD5s with their number, as S3 has it."""
    filled = [segment for segment in segments if segment.size] or list(segments[:1])
    if len(filled) == 1:
        return f'"{filled[0].md5.hex()}"'
    whole = hashlib.md5(b"".join(segment.md5 for segment in filled), usedforsecurity=False)
    return f'"{whole.hexdigest()}-{len(filled)}"'


def _read_resumable(row: dict[str, Any]) -> Resumable:
    segments = tuple(Written(size, bytes.fromhex(md5), name) for size, md5, name in row["segments"])
    return Resumable(**{**row, "segments": segments})
