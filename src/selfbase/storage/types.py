"""The values of the storage service: buckets, objects, what an upload brings along."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

DEFAULT_CACHE_CONTROL = "no-cache"
DEFAULT_MIME_TYPE = "application/octet-stream"
FOLDER_PLACEHOLDER = ".emptyFolderPlaceholder"

ByteStream = AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Bucket:
    """A row of `storage.buckets`; times are ISO 8601 text in UTC."""

    id: str
    name: str
    public: bool
    owner: str | None = None
    owner_id: str | None = None
    file_size_limit: int | None = None
    allowed_mime_types: tuple[str, ...] | None = None
    type: str = "STANDARD"
    created_at: str = ""
    updated_at: str = ""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A row of `storage.objects`.  `metadata` holds the system's keys (eTag, size, mimetype,
    cacheControl, …), `user_metadata` the user's; times are ISO 8601 text in UTC."""

    id: str
    bucket_id: str
    name: str
    version: str | None
    owner: str | None
    owner_id: str | None
    metadata: Mapping[str, Any]
    user_metadata: Mapping[str, Any] | None
    created_at: str
    updated_at: str
    last_accessed_at: str | None = None

    @property
    def size(self) -> int:
        return int(self.metadata.get("size") or self.metadata.get("contentLength") or 0)

    @property
    def etag(self) -> str:
        """Quoted, as it travels."""
        return str(self.metadata.get("eTag") or "")

    @property
    def mime_type(self) -> str:
        return str(self.metadata.get("mimetype") or DEFAULT_MIME_TYPE)

    @property
    def cache_control(self) -> str:
        return str(self.metadata.get("cacheControl") or DEFAULT_CACHE_CONTROL)

    @property
    def modified_at(self) -> datetime:
        """When the bytes last changed, to the second, as `Last-Modified` says it."""
        text = self.metadata.get("lastModified") or self.updated_at or self.created_at
        try:
            moment = datetime.fromisoformat(str(text))
        except ValueError:
            moment = datetime.fromisoformat(self.updated_at)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC).replace(microsecond=0)


@dataclass(frozen=True, slots=True)
class Upload:
    """What an upload says about its object besides its bytes.

    `declared_bytes` is the length the client announced, or None when it sends until it is done.
    `announced_bytes` is that of the form around the file: policies see it, limits do not count it.
    """

    mime_type: str = DEFAULT_MIME_TYPE
    cache_control: str = DEFAULT_CACHE_CONTROL
    user_metadata: Mapping[str, Any] | None = None
    declared_bytes: int | None = None
    announced_bytes: int | None = None
    x_robots_tag: str | None = None
    upsert: bool = False


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes that lie durably under a version key but that no row names yet.

    `etag` is quoted: MD5 of the bytes, or of the parts' MD5s with `-N`.
    """

    version: str
    size: int
    etag: str
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a listing: rows, folders, and where to go on."""

    objects: Sequence[StoredObject] = ()
    prefixes: Sequence[str] = ()
    next_token: str | None = None
    is_truncated: bool = False


@dataclass(frozen=True, slots=True)
class ListQuery:
    """What an S3-like listing asks for.  `start_after` and `token` are full keys."""

    prefix: str = ""
    delimiter: str = ""
    start_after: str = ""
    token: str = ""
    limit: int = 1000
    ascending: bool = True
    extra: Mapping[str, str] = field(default_factory=dict)
