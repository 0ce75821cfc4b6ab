"""Operations on buckets, each decided by PostgreSQL as the actor.

Source: reference/storage.md sections 1.2 and 4.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from selfbase.database.failures import ForeignKeyViolation, UniqueViolation
from selfbase.storage.blobs import BlobNotFound, object_key
from selfbase.storage.call import Actor
from selfbase.storage.cdn import purge_cdn
from selfbase.storage.context import Context
from selfbase.storage.errors import (
    BucketAlreadyExists,
    BucketNotEmpty,
    FeatureNotEnabled,
    NoSuchBucket,
    TooManyObjects,
)
from selfbase.storage.logic.limits import check_mime_rules, parse_file_size_limit
from selfbase.storage.logic.names import check_bucket_id, check_new_bucket_id
from selfbase.storage.queries import SQL
from selfbase.storage.rows import by_caller, by_service
from selfbase.storage.types import Bucket

_DELETE_BATCH = 1000
# Emptied before the answer, so that a client that looks at once sees an empty bucket.
_EMPTY_AT_ONCE = 5
_SORTABLE = frozenset({"id", "name", "created_at", "updated_at"})


class Unset:
    """The type of UNSET: a field the client did not mention."""


UNSET = Unset()


@dataclass(frozen=True, slots=True)
class NewBucket:
    """What a client says about a bucket to be made."""

    name: str
    id: str | None = None
    public: bool = False
    type: str = "STANDARD"
    file_size_limit: int | float | str | None = None
    allowed_mime_types: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class BucketChange:
    """What a client wants changed; None clears, UNSET leaves."""

    public: bool | None = None
    file_size_limit: int | float | str | Unset | None = UNSET
    allowed_mime_types: Sequence[str] | Unset | None = UNSET


@dataclass(frozen=True, slots=True)
class BucketPage:
    """Which buckets to list."""

    limit: int | None = None
    offset: int = 0
    sort_column: str = "name"
    ascending: bool = True
    search: str | None = None


class Buckets:
    """The buckets of one project."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._rows = context.rows

    async def create(self, actor: Actor, new: NewBucket) -> str:
        """Makes a bucket; its id."""
        if new.type != "STANDARD":
            raise FeatureNotEnabled(
                f"The feature {new.type} buckets is not enabled for this resource"
            )
        check_new_bucket_id(new.name)
        bucket_id = check_new_bucket_id(new.id or new.name)
        limit = new.file_size_limit
        if limit is not None:
            limit = parse_file_size_limit(limit, self._context.settings.file_size_limit)
        if new.allowed_mime_types:
            check_mime_rules(new.allowed_mime_types)
        types = None if new.allowed_mime_types is None else list(new.allowed_mime_types)
        try:
            await self._rows.run(
                actor,
                by_caller(
                    SQL["insert_bucket"],
                    bucket_id,
                    new.name,
                    new.public,
                    uuid_or_none(actor.caller.user_id),
                    actor.caller.user_id,
                    limit,
                    types,
                ),
            )
        except UniqueViolation:
            raise BucketAlreadyExists from None
        return bucket_id

    async def get(self, actor: Actor, bucket_id: str) -> Bucket:
        """The bucket, if the actor may see it.  Raises NoSuchBucket."""
        if not bucket_id or "\0" in bucket_id:
            raise NoSuchBucket
        (rows,) = await self._rows.run(
            actor, by_caller(SQL["find_bucket"], bucket_id), read_only=True
        )
        if not rows:
            raise NoSuchBucket
        return read_bucket(rows[0])

    async def find_as_service(self, actor: Actor, bucket_id: str) -> Bucket | None:
        """The bucket whoever asks: for limits and `public`, never for its contents."""
        if not bucket_id or "\0" in bucket_id:
            return None
        (rows,) = await self._rows.run(
            actor, by_service(SQL["find_bucket"], bucket_id), read_only=True
        )
        return read_bucket(rows[0]) if rows else None

    async def list(self, actor: Actor, page: BucketPage) -> list[Bucket]:
        """The buckets the actor may see."""
        column = page.sort_column if page.sort_column in _SORTABLE else "name"
        order = f"{column} {'asc' if page.ascending else 'desc'}"
        pattern = f"%{escape_like(page.search)}%" if page.search else None
        sql = SQL["list_buckets"].replace(b"<order>", order.encode())
        (rows,) = await self._rows.run(
            actor, by_caller(sql, page.limit, page.offset, pattern), read_only=True
        )
        return [read_bucket(row) for row in rows[0]]

    async def update(self, actor: Actor, bucket_id: str, change: BucketChange) -> None:
        """Raises NoSuchBucket when the actor may not change it."""
        check_bucket_id(bucket_id)
        limit, types = change.file_size_limit, change.allowed_mime_types
        new_limit: int | None = None
        if not isinstance(limit, Unset) and limit is not None:
            new_limit = parse_file_size_limit(limit, self._context.settings.file_size_limit)
        new_types: list[str] | None = None
        if not isinstance(types, Unset) and types is not None:
            check_mime_rules(types)
            new_types = list(types)
        hides = change.public is False and await self._is_public_behind_cdn(actor, bucket_id)
        (rows,) = await self._rows.run(
            actor,
            by_caller(
                SQL["update_bucket"],
                bucket_id,
                change.public,
                not isinstance(limit, Unset),
                new_limit,
                not isinstance(types, Unset),
                new_types,
            ),
        )
        if not rows:
            raise NoSuchBucket
        if hides:
            self._purge_cdn(bucket_id)

    async def _is_public_behind_cdn(self, actor: Actor, bucket_id: str) -> bool:
        if not self._context.settings.cdn_purge_url:
            return False
        bucket = await self.find_as_service(actor, bucket_id)
        return bucket is not None and bucket.public

    def _purge_cdn(self, bucket_id: str) -> None:
        """Has the bucket's copies forgotten, after the answer: it must not fail for that."""
        if self._context.settings.cdn_purge_url:
            self._context.start("purge CDN", purge_cdn(self._context, bucket_id))

    async def delete(self, actor: Actor, bucket_id: str) -> None:
        """Removes an empty bucket.  Objects the actor cannot see count too."""
        if not bucket_id or "\0" in bucket_id:
            raise NoSuchBucket
        try:
            found, filled, deleted = await self._rows.run(
                actor,
                by_service(SQL["find_bucket_for_update"], bucket_id),
                by_service(SQL["has_objects"], bucket_id),
                by_caller(SQL["delete_bucket"], bucket_id),
            )
        except ForeignKeyViolation:
            raise BucketNotEmpty from None
        if not found or not deleted:
            raise BucketNotEmpty if found and filled[0] else NoSuchBucket
        self._purge_cdn(bucket_id)

    async def empty(self, actor: Actor, bucket_id: str) -> None:
        """Deletes every object there is at this moment; many of them after this returns."""
        await self.get(actor, bucket_id)
        most = self._context.settings.empty_bucket_max
        (counted,) = await self._rows.run(
            actor, by_caller(SQL["count_objects"], bucket_id, most + 1), read_only=True
        )
        if counted[0] > most:
            raise TooManyObjects("Unable to empty the bucket because it contains too many objects")
        # Rows made meanwhile have the database's time, so that it is asked, not our clock.
        (moment,) = await self._rows.run(actor, by_caller(SQL["read_moment"]), read_only=True)
        for _ in range(_EMPTY_AT_ONCE):
            if not await self._empty_some(actor, bucket_id, moment[0]):
                return
        self._context.start("empty bucket", self._empty_rest(actor, bucket_id, moment[0]))

    async def _empty_rest(self, actor: Actor, bucket_id: str, moment: float) -> None:
        while await self._empty_some(actor, bucket_id, moment):
            pass

    async def _empty_some(self, actor: Actor, bucket_id: str, moment: float) -> bool:
        (versions,) = await self._rows.run(
            actor, by_caller(SQL["delete_some_objects"], bucket_id, str(moment), _DELETE_BATCH)
        )
        await self._context.discard(keys_of(versions))
        return len(versions) == _DELETE_BATCH


def keys_of(versions: Sequence[str | None]) -> list[str]:
    """The blob keys of versions; rows without one of ours have no bytes to remove."""
    keys = []
    for version in versions:
        try:
            keys.append(object_key(version))
        except BlobNotFound:
            continue
    return keys


def read_bucket(row: dict[str, Any]) -> Bucket:
    types = row.pop("allowed_mime_types")
    row["public"] = bool(row["public"])
    return Bucket(**row, allowed_mime_types=None if types is None else tuple(types))


def uuid_or_none(text: str | None) -> str | None:
    """The text when it is a UUID: the deprecated `owner` column holds nothing else."""
    try:
        return str(UUID(text)) if text else None
    except ValueError:
        return None


def escape_like(text: str) -> str:
    """Text that LIKE matches literally."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
