"""Finished images on disk, bounded in bytes: the least recently used go first.

A file is written beside its place and renamed, so a reader sees a whole one or none.  It may vanish
at any time: it is only a cache, and nothing is flushed to disk on purpose.
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from selfbase.images.logic.formats import CONTENT_TYPES
from selfbase.images.pipeline import Rendered

T = TypeVar("T")

_ENTRIES_MIN = 8  # One image may take an eighth of the cache, no more.


@dataclass(frozen=True, slots=True)
class _Entry:
    format: str
    size: int


class ImageCache:
    """Rendered images by key (64 hexadecimal digits)."""

    def __init__(self, directory: Path, bytes_max: int) -> None:
        self._directory = directory
        self._bytes_max = bytes_max
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._thread: ThreadPoolExecutor | None = None
        self.bytes = 0

    async def open(self) -> None:
        """Takes over what an earlier run left."""
        if self._bytes_max > 0:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="images-cache")
            for key, entry in await self._in_thread(self._scan):
                self._add(key, entry)
            await self._evict()

    async def close(self) -> None:
        if self._thread is not None:
            thread, self._thread = self._thread, None
            await asyncio.to_thread(thread.shutdown, True)

    async def find(self, key: str) -> Rendered | None:
        entry = self._entries.get(key)
        if entry is None or self._thread is None:
            return None
        self._entries.move_to_end(key)
        try:
            content = await self._in_thread(self._path(key, entry.format).read_bytes)
        except OSError:
            self._forget(key)
            return None
        if len(content) != entry.size:
            self._forget(key)
            return None
        return Rendered(entry.format, content)

    async def put(self, key: str, image: Rendered) -> None:
        """Keeps an image.  A disk that is full or gone costs the entry, not the answer."""
        size = len(image.content)
        if self._thread is None or size > self._bytes_max // _ENTRIES_MIN:
            return
        path = self._path(key, image.format)
        try:
            await self._in_thread(lambda: _write(path, image.content))
        except OSError:
            return
        self._add(key, _Entry(image.format, size))
        await self._evict()

    def _add(self, key: str, entry: _Entry) -> None:
        self._forget(key)
        self._entries[key] = entry
        self.bytes += entry.size

    def _forget(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry.size

    async def _evict(self) -> None:
        leaving: list[Path] = []
        while self.bytes > self._bytes_max and self._entries:
            key, entry = self._entries.popitem(last=False)
            self.bytes -= entry.size
            leaving.append(self._path(key, entry.format))
        if leaving:
            await self._in_thread(lambda: _remove(leaving))

    def _path(self, key: str, image_format: str) -> Path:
        return self._directory / key[:2] / f"{key}.{image_format}"

    def _scan(self) -> list[tuple[str, _Entry]]:
        self._directory.mkdir(parents=True, exist_ok=True)
        found: list[tuple[float, str, _Entry]] = []
        for path in self._directory.glob("??/*"):
            if path.suffix == ".part" or path.suffix[1:] not in CONTENT_TYPES:
                path.unlink(missing_ok=True)
                continue
            status = path.stat()
            entry = _Entry(path.suffix[1:], status.st_size)
            found.append((status.st_mtime, path.stem, entry))
        return [(key, entry) for _, key, entry in sorted(found, key=lambda item: item[0])]

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise


def _remove(paths: list[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink(missing_ok=True)
