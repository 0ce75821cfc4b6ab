"""Operations on objects: what REST, resumable uploads and S3 have in common.

An upload is three steps: the actor's rights are tested by a write that is undone; the bytes are
written under a new version; one transaction makes the row name that version.  Only then are the
bytes of the version before removed.  Source: reference/storage.md sections 4.5 and 8.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from selfbase.database.failures import (
    ConnectionLost,
    DatabaseFailure,
    DatabaseUnavailable,
    ForeignKeyViolation,
    UniqueViolation,
)
from selfbase.http.values import FileBody
from selfbase.kit.failures import Failure
from selfbase.storage.blobs import BlobNotFound, BlobsFailed, BlobsFull, object_key
from selfbase.storage.buckets import keys_of, read_bucket, uuid_or_none
from selfbase.storage.call import Actor
from selfbase.storage.context import Context
from selfbase.storage.errors import (
    AccessDenied,
    BlobMissing,
    EntityTooLarge,
    InsufficientStorage,
    InternalError,
    KeyAlreadyExists,
    NoSuchBucket,
    NoSuchKey,
    storage_error,
)
from selfbase.storage.faults import FaultPoint
from selfbase.storage.logic.limits import check_mime_type, decide_bytes_max
from selfbase.storage.logic.names import check_key
from selfbase.storage.queries import SQL
from selfbase.storage.rows import Step, by_caller, by_service
from selfbase.storage.types import Bucket, ByteStream, Stored, StoredObject, Upload

_LOCK_TIMEOUT_S = 5.0
_DELETE_BATCH = 500
_REPLACED_TRIES = 3


@dataclass(frozen=True, slots=True)
class UploadPermit:
    """An upload that the actor may do, and the limits it must keep."""

    bucket: Bucket
    name: str
    bytes_max: int


@dataclass(frozen=True, slots=True)
class CopyChange:
    """What a copy does not take over: None takes it from the source."""

    mime_type: str | None = None
    cache_control: str | None = None
    replace_user_metadata: bool = False
    user_metadata: Mapping[str, Any] | None = None


class Objects:
    """The objects of one project."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._rows = context.rows
        self._blobs = context.blobs

    def check_key(self, name: str | None) -> str:
        """The name of an object as this project allows it.  Raises InvalidKey."""
        return check_key(name, unicode_keys=self._context.settings.unicode_keys)

    async def put(
        self,
        actor: Actor,
        bucket_id: str,
        name: str,
        upload: Upload,
        pieces: ByteStream,
        *,
        standard: bool = False,
        settle: Callable[[], Upload] | None = None,
    ) -> StoredObject:
        """Uploads an object.  `standard` applies the limit of plain uploads.

        `settle` says what the upload is once its bytes are here; what it says then counts.
        """
        permit = await self.authorize_upload(actor, bucket_id, name, upload, standard=standard)
        stored = await self.write(pieces, permit.bytes_max)
        try:
            settled = upload if settle is None else settle()
            if settled != upload:
                upload = settled
                permit = await self.authorize_upload(
                    actor, bucket_id, name, upload, standard=standard
                )
        except Failure:
            await self._context.discard([object_key(stored.version)])
            raise
        if upload.user_metadata is None:
            upload = replace(upload, user_metadata={})
        return await self.commit(actor, permit, upload, stored)

    async def authorize_upload(
        self,
        actor: Actor,
        bucket_id: str,
        name: str,
        upload: Upload,
        *,
        standard: bool = False,
        empty_list_refuses: bool = False,
        with_limits: bool = True,
    ) -> UploadPermit:
        """Tests, by a write that is undone, whether the actor may upload this.

        `empty_list_refuses`: an empty list of types lets nothing through.  Without `with_limits`
        only rights count, because type and size are not known yet.

        Raises NoSuchBucket, InvalidKey, InvalidMimeType, EntityTooLarge, AccessDenied, and
        KeyAlreadyExists when the object is there and `upload.upsert` is off.
        """
        self.check_key(name)
        owner = actor.caller.user_id
        metadata: dict[str, Any] = {"mimetype": upload.mime_type}
        announced = (
            upload.announced_bytes if upload.declared_bytes is None else upload.declared_bytes
        )
        if announced is not None:
            metadata["contentLength"] = announced
        test = by_caller(
            SQL["try_upsert" if upload.upsert else "try_insert"],
            bucket_id,
            name,
            uuid_or_none(owner),
            owner,
            metadata,
            None if upload.user_metadata is None else dict(upload.user_metadata),
        )
        refusal: DatabaseFailure | None = None
        try:
            buckets, _ = await self._rows.run(
                actor, by_service(SQL["find_bucket"], bucket_id), test, roll_back=True
            )
            bucket = read_bucket(buckets[0]) if buckets else None
        except DatabaseFailure as failure:
            refusal = failure
            bucket = await self._context.buckets.find_as_service(actor, bucket_id)
        if bucket is None:
            raise NoSuchBucket
        # Limits speak before policies, as clients know it.
        permit = self._permit(bucket, name, standard=standard)
        if with_limits:
            check_mime_type(bucket, name, upload.mime_type, empty_refuses=empty_list_refuses)
            if upload.declared_bytes is not None and upload.declared_bytes > permit.bytes_max:
                raise EntityTooLarge
        if isinstance(refusal, UniqueViolation):
            raise KeyAlreadyExists
        if refusal is not None:
            raise storage_error(refusal)
        self._context.faults.reach(FaultPoint.UPLOAD_ALLOWED)
        return permit

    def _permit(self, bucket: Bucket, name: str, *, standard: bool = False) -> UploadPermit:
        settings = self._context.settings
        standard_max = settings.file_size_limit_standard if standard else 0
        limit = decide_bytes_max(bucket, name, settings.file_size_limit, standard_max)
        return UploadPermit(bucket, name, limit)

    async def write(self, pieces: ByteStream, bytes_max: int) -> Stored:
        """Writes bytes under a new version; no row names them yet.

        Raises EntityTooLarge as soon as there is one byte too many.
        """
        version = self._context.make_version()
        try:
            written = await self._blobs.put(object_key(version), limit_stream(pieces, bytes_max))
        except BlobsFull as error:
            raise InsufficientStorage(internal=str(error)) from error
        except BlobsFailed as error:
            raise InternalError(internal=str(error)) from error
        self._context.faults.reach(FaultPoint.BLOB_STORED)
        return Stored(version, written.size, f'"{written.md5.hex()}"', self._context.clock.now())

    async def commit(
        self,
        actor: Actor,
        permit: UploadPermit,
        upload: Upload,
        stored: Stored,
        *,
        metadata: Mapping[str, Any] | None = None,
        also: Sequence[Step] = (),
    ) -> StoredObject:
        """Makes the row name the stored bytes: from here on the upload counts.

        `also` are steps that happen in the same transaction or not at all.  When the database refuses, the bytes are removed.  When nobody can know whether it took the
        row, they stay, and the collector decides.
        """
        owner = actor.caller.user_id
        user_metadata = upload.user_metadata
        step = by_service(
            SQL["upsert_object" if upload.upsert else "insert_object"],
            permit.bucket.id,
            permit.name,
            stored.version,
            uuid_or_none(owner),
            owner,
            dict(metadata) if metadata is not None else describe(upload, stored),
            None if user_metadata is None else dict(user_metadata),
        )
        lock = by_service(SQL["lock_object"], permit.bucket.id, permit.name)
        try:
            _, rows, *_ = await self._rows.run(
                actor, lock, step, *also, lock_timeout_s=_LOCK_TIMEOUT_S
            )
        except (ConnectionLost, DatabaseUnavailable):
            raise
        except DatabaseFailure as failure:
            await self._context.discard([object_key(stored.version)])
            if isinstance(failure, UniqueViolation):
                raise KeyAlreadyExists from failure
            if isinstance(failure, ForeignKeyViolation):
                raise NoSuchBucket from failure
            raise
        self._context.faults.reach(FaultPoint.ROW_COMMITTED)
        old = rows[0]["old"]
        if old is not None and old != stored.version:
            await self._context.discard(keys_of([old]))
            self._context.faults.reach(FaultPoint.OLD_VERSION_REMOVED)
        return read_object(rows[0]["object"])

    async def find(self, actor: Actor, bucket_id: str, name: str) -> StoredObject:
        """The object, if the actor may see it.  Raises NoSuchKey."""
        if not _is_storable(bucket_id, name):
            raise NoSuchKey
        (rows,) = await self._rows.run(
            actor, by_caller(SQL["find_object"], bucket_id, name), read_only=True
        )
        if not rows:
            raise NoSuchKey
        return read_object(rows[0])

    async def find_readable(self, actor: Actor, bucket_id: str, name: str) -> StoredObject:
        """The object, if its bucket is public or the actor may see it."""
        found, visible = await self._read(
            actor, bucket_id, name, by_caller(SQL["can_see_object"], bucket_id, name)
        )
        if not found["public"] and not visible:
            raise NoSuchKey
        return read_object(found["object"])

    async def find_as_service(self, actor: Actor, bucket_id: str, name: str) -> StoredObject:
        """The object whoever asks: for callers who have proven their right in another way."""
        if not _is_storable(bucket_id, name):
            raise NoSuchKey
        (rows,) = await self._rows.run(
            actor, by_service(SQL["find_object"], bucket_id, name), read_only=True
        )
        if not rows:
            raise NoSuchKey
        return read_object(rows[0])

    async def find_public(self, actor: Actor, bucket_id: str, name: str) -> StoredObject:
        """The object of a public bucket.  Raises NoSuchBucket when it is not public."""
        found, _ = await self._read(actor, bucket_id, name)
        if not found["public"]:
            raise NoSuchBucket
        if found["object"] is None:
            raise NoSuchKey
        return read_object(found["object"])

    async def _read(
        self, actor: Actor, bucket_id: str, name: str, *more: Step
    ) -> tuple[dict[str, Any], list[Any]]:
        if not _is_storable(bucket_id, name):
            raise NoSuchKey
        look = by_service(SQL["find_bucket_and_object"], bucket_id, name)
        results = await self._rows.run(actor, look, *more, read_only=True)
        if not results[0]:
            raise NoSuchBucket
        found = results[0][0]
        if more and found["object"] is None:
            raise NoSuchKey
        return found, results[1] if more else []

    async def open(self, found: StoredObject, offset: int, length: int) -> FileBody | ByteStream:
        """A part of the object's bytes.  Raises BlobMissing."""
        try:
            return await self._blobs.open(object_key(found.version), offset, length)
        except BlobNotFound:
            raise BlobMissing from None
        except BlobsFailed as error:
            raise InternalError(internal=str(error)) from error

    async def delete(self, actor: Actor, bucket_id: str, name: str) -> StoredObject:
        """Removes one object.  Raises NoSuchKey when there is none, AccessDenied when the actor may
        not."""
        if not _is_storable(bucket_id, name):
            raise NoSuchKey
        found, deleted = await self._rows.run(
            actor,
            by_service(SQL["find_object_for_update"], bucket_id, name),
            by_caller(SQL["delete_object"], bucket_id, name),
        )
        if not deleted:
            raise AccessDenied if found else NoSuchKey
        self._context.faults.reach(FaultPoint.DELETE_COMMITTED)
        removed = read_object(deleted[0])
        await self._context.discard(keys_of([removed.version]))
        return removed

    async def delete_many(
        self, actor: Actor, bucket_id: str, names: Sequence[str]
    ) -> list[StoredObject]:
        """Removes those of the named objects that are there and that the actor may delete."""
        wanted = [name for name in dict.fromkeys(names) if _is_storable(bucket_id, name)]
        removed: list[StoredObject] = []
        for start in range(0, len(wanted), _DELETE_BATCH):
            batch = wanted[start : start + _DELETE_BATCH]
            (rows,) = await self._rows.run(
                actor, by_caller(SQL["delete_objects"], bucket_id, batch)
            )
            self._context.faults.reach(FaultPoint.DELETE_COMMITTED)
            objects = [read_object(row) for row in rows]
            await self._context.discard(keys_of([item.version for item in objects]))
            removed += objects
        return removed

    async def copy(
        self,
        actor: Actor,
        source: tuple[str, str],
        target: tuple[str, str],
        *,
        upsert: bool = False,
        change: CopyChange | None = None,
    ) -> StoredObject:
        """Copies (bucket, name) to (bucket, name); limits of the target's bucket hold."""
        self.check_key(target[1])
        for attempt in range(_REPLACED_TRIES):
            original = await self.find(actor, *source)
            upload = plan_copy(original, change, upsert=upsert)
            permit = await self.authorize_upload(actor, *target, upload)
            version = self._context.make_version()
            try:
                await self._blobs.copy(object_key(original.version), object_key(version))
            except BlobNotFound:
                # Replaced between the row and its bytes: what is there now is what is meant.
                if attempt == _REPLACED_TRIES - 1:
                    raise BlobMissing from None
                continue
            except BlobsFull as error:
                raise InsufficientStorage(internal=str(error)) from error
            except BlobsFailed as error:
                raise InternalError(internal=str(error)) from error
            self._context.faults.reach(FaultPoint.COPY_STORED)
            stored = Stored(version, original.size, original.etag, self._context.clock.now())
            kept = {**original.metadata, **describe(upload, stored)}
            return await self.commit(actor, permit, upload, stored, metadata=kept)
        raise BlobMissing

    async def move(
        self, actor: Actor, source: tuple[str, str], target: tuple[str, str]
    ) -> StoredObject:
        """Renames (bucket, name) to (bucket, name): only the row changes, no byte is moved."""
        self.check_key(target[1])
        if not _is_storable(*source):
            raise NoSuchKey
        owner = actor.caller.user_id
        values = (*source, *target, uuid_or_none(owner), owner)
        try:
            seen, buckets, moved = await self._rows.run(
                actor,
                by_caller(SQL["find_object"], *source),
                by_service(SQL["find_bucket"], target[0]),
                by_caller(SQL["move_object"], *values),
                roll_back=True,
            )
        except UniqueViolation:
            raise KeyAlreadyExists from None
        except ForeignKeyViolation:
            raise NoSuchBucket from None
        if not seen or not moved:
            raise NoSuchKey
        found = read_object(seen[0])
        if source == target:
            return found
        if source[0] != target[0]:
            self._check_fits(read_bucket(buckets[0]), target[1], found)
        locks = [by_service(SQL["lock_object"], *key) for key in sorted((source, target))]
        try:
            *_, rows = await self._rows.run(
                actor,
                *locks,
                by_service(SQL["move_object"], *values),
                lock_timeout_s=_LOCK_TIMEOUT_S,
            )
        except UniqueViolation:
            raise KeyAlreadyExists from None
        if not rows:
            raise NoSuchKey
        self._context.faults.reach(FaultPoint.MOVE_COMMITTED)
        return read_object(rows[0])

    def _check_fits(self, bucket: Bucket, name: str, found: StoredObject) -> None:
        check_mime_type(bucket, name, found.mime_type)
        if found.size > self._permit(bucket, name).bytes_max:
            raise EntityTooLarge


async def limit_stream(pieces: ByteStream, bytes_max: int) -> AsyncIterator[bytes]:
    """The pieces, until there is one byte too many.  Raises EntityTooLarge."""
    taken = 0
    async for piece in pieces:
        taken += len(piece)
        if taken > bytes_max:
            raise EntityTooLarge
        yield piece


def describe(upload: Upload, stored: Stored) -> dict[str, Any]:
    """`objects.metadata` of an upload, with the keys that users' SQL reads."""
    described = {
        "eTag": stored.etag,
        "size": stored.size,
        "mimetype": upload.mime_type,
        "cacheControl": upload.cache_control,
        "lastModified": render_moment(stored.modified_at),
        "contentLength": stored.size,
        "httpStatusCode": 200,
    }
    if upload.x_robots_tag:
        described["xRobotsTag"] = upload.x_robots_tag
    return described


def plan_copy(original: StoredObject, change: CopyChange | None, *, upsert: bool) -> Upload:
    """The copy of an object as an upload of its own."""
    wanted = change or CopyChange()
    return Upload(
        mime_type=original.mime_type if wanted.mime_type is None else wanted.mime_type,
        cache_control=(
            original.cache_control if wanted.cache_control is None else wanted.cache_control
        ),
        user_metadata=(
            wanted.user_metadata if wanted.replace_user_metadata else original.user_metadata
        ),
        declared_bytes=original.size,
        x_robots_tag=original.metadata.get("xRobotsTag"),
        upsert=upsert,
    )


def read_object(row: dict[str, Any]) -> StoredObject:
    """An object from its row's JSON."""
    return StoredObject(**row)


def render_moment(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and Z."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def _is_storable(bucket_id: str, name: str) -> bool:
    """Whether PostgreSQL can hold these texts: what it cannot hold is not there."""
    return bool(bucket_id and name) and "\0" not in bucket_id and "\0" not in name
