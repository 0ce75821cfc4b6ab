"""Buckets that `config.toml` names are made at start, with the files of their `objects_path`.

Source: reference/storage.md section 7 (`[storage.buckets.<name>]`).
"""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from selfbase.kit.events import Event, Level
from selfbase.kit.failures import ConfigurationError, Failure
from selfbase.kit.settings import parse_bool, parse_size
from selfbase.storage.buckets import BucketChange, NewBucket
from selfbase.storage.context import Context
from selfbase.storage.errors import BucketAlreadyExists, KeyAlreadyExists, StorageError
from selfbase.storage.logic.limits import is_folder_placeholder
from selfbase.storage.rows import service_actor
from selfbase.storage.types import DEFAULT_MIME_TYPE, Upload

_PIECE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SeedRefused(Event):
    """A file of `objects_path` could not become an object."""

    name: ClassVar[str] = "storage.seed.refused"
    level: ClassVar[Level] = "warning"
    service: ClassVar[str] = "storage"
    bucket: str
    file: str
    reason: str


async def seed_buckets(context: Context) -> None:
    """Makes and updates the configured buckets; files that are there already stay as they are.

    Raises ConfigurationError when a bucket cannot be as configured.
    """
    actor = service_actor("storage.seed")
    for name, given in context.settings.buckets.items():
        if not isinstance(given, Mapping):
            raise ConfigurationError(f"storage: bucket {name} must be a table")
        limit = _limit(name, given)
        types = given.get("allowed_mime_types")
        public = parse_bool(given.get("public", False))
        try:
            await context.buckets.create(
                actor, NewBucket(name, None, public, "STANDARD", limit, types)
            )
        except BucketAlreadyExists:
            change = BucketChange(public=public, file_size_limit=limit, allowed_mime_types=types)
            await context.buckets.update(actor, name, change)
        except StorageError as failure:
            raise ConfigurationError(f"storage: bucket {name}: {failure.message}") from failure
        folder = given.get("objects_path")
        if folder:
            await _seed_objects(context, name, Path(str(folder)))


def _limit(name: str, given: Mapping[str, Any]) -> int | None:
    raw = given.get("file_size_limit")
    if raw in (None, "", 0):
        return None
    try:
        return parse_size(str(raw))
    except ValueError as error:
        raise ConfigurationError(f"storage: bucket {name}: file_size_limit: {error}") from None


async def _seed_objects(context: Context, bucket_id: str, folder: Path) -> None:
    actor = service_actor("storage.seed")
    files = await asyncio.to_thread(_find_files, folder)
    if files is None:
        context.events.emit(SeedRefused(bucket_id, str(folder), "objects_path is no folder"))
    for path in files or ():
        name = path.relative_to(folder).as_posix()
        mime_type = mimetypes.guess_type(path.name)[0] or DEFAULT_MIME_TYPE
        upload = Upload(mime_type=mime_type, cache_control="max-age=3600")
        try:
            await context.objects.put(actor, bucket_id, name, upload, _read(path))
        except KeyAlreadyExists:
            continue  # edited since, or seeded before
        except Failure as failure:
            context.events.emit(SeedRefused(bucket_id, name, failure.message))


def _find_files(folder: Path) -> list[Path] | None:
    if not folder.is_dir():
        return None
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and not is_folder_placeholder(path.name)
    )


async def _read(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, _PIECE):
            yield piece
