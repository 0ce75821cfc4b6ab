"""Blobs on a local disk: staged, synced, renamed.

    <root>/objects/<2 characters>/<version>
    <root>/parts/<upload>/<version>
    <root>/growing/<upload>
    <root>/staging/<random>

A blob appears under its name only when it is whole and, with `sync`, when the disk has said so:
write, fdatasync, rename, fsync of the folder.  Work on files happens on threads.
Source: reference/storage.md section 8.1; rename(2), fsync(2).
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from selfbase.http.values import FileBody
from selfbase.storage.blobs import (
    GROWING,
    OBJECTS,
    PARTS,
    BlobNotFound,
    BlobsBusy,
    BlobSeen,
    BlobsFailed,
    BlobsFull,
    Written,
    check_key,
)
from selfbase.storage.faults import FaultPoint, Faults
from selfbase.storage.types import ByteStream

P = ParamSpec("P")
R = TypeVar("R")

_THREADS = 8
_PIECE = 1024 * 1024
_COPY_PIECE = 64 * 1024 * 1024
_STAGING = "staging"
_NO_LINKS = frozenset({errno.EMLINK, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP})
_NO_KERNEL_COPY = frozenset({errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class DiskBlobs:
    """Blobs under one folder.  `sync` off is for tests: a power cut then loses uploads."""

    def __init__(self, root: Path, *, sync: bool = True, faults: Faults | None = None) -> None:
        self._root = root
        self._sync = sync
        self._faults = faults or Faults()
        # Threads of its own: waiting for a disk must not keep others from theirs.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="storage-disk")

    async def _do(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        loop = asyncio.get_running_loop()
        with _failures():
            return await loop.run_in_executor(self._threads, partial(work, *args, **kwargs))

    async def open_folders(self) -> None:
        """Makes the folders.  Raises BlobsFailed."""
        await self._do(self._make_folders)

    def _make_folders(self) -> None:
        for name in (OBJECTS, PARTS, GROWING, _STAGING):
            (self._root / name).mkdir(mode=0o700, parents=True, exist_ok=True)

    async def put(self, key: str, pieces: ByteStream) -> Written:
        target = self._path(key)
        staged = self._root / _STAGING / secrets.token_hex(16)
        writer = _Writer(staged, self._faults)
        writing: asyncio.Future[None] | None = None
        try:
            async for chunk in gather_pieces(pieces, _PIECE):
                if writing is not None:
                    await writing
                elif chunk.is_last:
                    # Small objects take one trip to a thread.
                    return await self._do(self._write_at_once, writer, chunk.pieces, target)
                # The next pieces arrive while these are hashed and written.
                writing = asyncio.ensure_future(self._do(writer.write, chunk.pieces))
            if writing is not None:
                await writing
            return await self._do(self._complete, writer, target)
        except BaseException:
            await asyncio.shield(self._give_up(writer, writing))
            raise

    async def _give_up(self, writer: _Writer, writing: asyncio.Future[None] | None) -> None:
        if writing is not None:
            await asyncio.gather(writing, return_exceptions=True)
        await self._do(writer.discard)

    def _write_at_once(self, writer: _Writer, pieces: Sequence[bytes], target: Path) -> Written:
        writer.write(pieces)
        return self._complete(writer, target)

    def _complete(self, writer: _Writer, target: Path) -> Written:
        written = writer.close(sync=self._sync)
        self._faults.reach(FaultPoint.BLOB_SYNCED)
        self._rename(writer.path, target)
        self._faults.reach(FaultPoint.BLOB_RENAMED)
        return written

    def _rename(self, staged: Path, target: Path) -> None:
        try:
            staged.replace(target)
        except FileNotFoundError:
            if not staged.exists():
                raise
            target.parent.mkdir(exist_ok=True)
            self._sync_folder(target.parent.parent)
            staged.replace(target)
        self._sync_folder(target.parent)

    def _sync_folder(self, folder: Path) -> None:
        if self._sync:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    @asynccontextmanager
    async def hold(self, growing: str) -> AsyncIterator[None]:
        descriptor = await self._do(_lock_file, self._path(growing))
        try:
            yield
        finally:
            os.close(descriptor)

    async def append(self, growing: str, offset: int, pieces: ByteStream) -> Written:
        path = self._path(growing)
        writer = await self._do(_Appender, path, offset, self._faults)
        try:
            async for chunk in gather_pieces(pieces, _PIECE):
                await self._do(writer.write, chunk.pieces)
            written = await self._do(lambda: writer.close(sync=self._sync))
            if offset == 0:
                await self._do(self._sync_folder, path.parent)
            return written
        finally:
            await asyncio.shield(self._do(writer.release))

    async def finish(self, growing: str, key: str, segments: Sequence[Written]) -> None:
        size = sum(segment.size for segment in segments)
        await self._do(self._finish, self._path(growing), self._path(key), size)

    def _finish(self, growing: Path, target: Path, size: int) -> None:
        # A second name for the same file: it can still grow, should the row never be committed.
        if growing.stat().st_size < size:
            raise BlobsFailed(f"{growing.name}: bytes that were recorded are missing")
        os.truncate(growing, size)
        target.unlink(missing_ok=True)
        self._link(growing, target)

    async def concat(self, sources: Sequence[str], key: str) -> None:
        await self._do(self._concat, [self._path(source) for source in sources], self._path(key))

    def _concat(self, sources: Sequence[Path], target: Path) -> None:
        staged = self._root / _STAGING / secrets.token_hex(16)
        try:
            with staged.open("xb") as output:
                for source in sources:
                    _copy_into(source, output.fileno())
                if self._sync:
                    os.fdatasync(output.fileno())
            self._rename(staged, target)
        except BaseException:
            staged.unlink(missing_ok=True)
            raise

    async def copy(self, source: str, key: str) -> None:
        await self._do(self._copy, self._path(source), self._path(key))

    def _copy(self, source: Path, target: Path) -> None:
        # Blobs never change, so that two names for the same bytes are as good as two copies.
        try:
            self._link(source, target)
        except FileNotFoundError:
            raise BlobNotFound(str(source)) from None

    def _link(self, source: Path, target: Path) -> None:
        target.parent.mkdir(exist_ok=True)
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            self._concat([source], target)
            return
        self._sync_folder(target.parent)

    async def open(self, key: str, offset: int, length: int) -> FileBody | ByteStream:
        # On the loop: opening a file costs less than the way to a thread and back.
        try:
            descriptor = os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise BlobNotFound(key) from None
        except OSError as error:
            raise BlobsFailed(f"{key}: {error.strerror}") from error
        return FileBody(descriptor, offset, length)

    def find_path(self, key: str) -> Path | None:
        path = self._path(key)
        return path if path.exists() else None

    async def remove(self, keys: Sequence[str]) -> None:
        await self._do(self._remove, [self._path(key) for key in keys])

    def _remove(self, paths: Sequence[Path]) -> None:
        for path in paths:
            path.unlink(missing_ok=True)
            if path.parent.parent.name == PARTS:
                try:
                    path.parent.rmdir()
                except OSError:
                    continue  # other parts of that upload are still there

    async def list(self, area: str) -> AsyncIterator[BlobSeen]:
        folders = [self._root / area]
        if area == GROWING:
            folders.append(self._root / _STAGING)
        for folder in folders:
            walk = self._walk(folder, area)
            while batch := await self._do(_take, walk):
                for seen in batch:
                    yield seen

    def _walk(self, folder: Path, area: str) -> Iterator[BlobSeen]:
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        yield from self._walk(Path(entry.path), area)
                    else:
                        yield from self._see(entry, area)
        except FileNotFoundError:
            return

    def _see(self, entry: os.DirEntry[str], area: str) -> Iterator[BlobSeen]:
        try:
            facts = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return
        parent = Path(entry.path).parent.name
        name = f"{parent}/{entry.name}" if area == PARTS else entry.name
        moment = datetime.fromtimestamp(facts.st_mtime, UTC)
        yield BlobSeen(f"{area}/{name}", facts.st_size, moment)

    async def close(self) -> None:
        self._threads.shutdown(wait=False)

    def _path(self, key: str) -> Path:
        """Where a key lies; `staging` files are found under `growing`, where they are listed."""
        area, _, name = check_key(key).partition("/")
        if area == OBJECTS:
            # The end of a version is random: files spread evenly over 256 folders.
            return self._root / area / name[-2:] / name
        path = self._root / area / name
        if area == GROWING and not path.exists() and (self._root / _STAGING / name).exists():
            return self._root / _STAGING / name
        return path


class _Writer:
    """One file being written and hashed.  Methods block: call them on a thread.

    A request that is cancelled leaves its thread running, so that a lock keeps the file from being
    closed, and its descriptor from being given to another file, in the middle of a write.
    """

    def __init__(self, path: Path, faults: Faults) -> None:
        self.path = path
        self._faults = faults
        self._descriptor = -1
        self._lock = threading.Lock()
        self._discarded = False
        self._hash = hashlib.md5(usedforsecurity=False)
        self._size = 0

    def write(self, pieces: Sequence[bytes]) -> None:
        with self._lock:
            self._write(pieces)

    def _write(self, pieces: Sequence[bytes]) -> None:
        if self._discarded:
            return
        if self._descriptor < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor = os.open(self.path, flags, 0o600)
            self._faults.reach(FaultPoint.BLOB_OPENED)
        for piece in pieces:
            _write_all(self._descriptor, piece)
            self._hash.update(piece)
            self._size += len(piece)
            self._faults.reach(FaultPoint.BLOB_PIECE_WRITTEN)

    def close(self, *, sync: bool) -> Written:
        with self._lock:
            if self._descriptor < 0:
                self._write(())
            self._faults.reach(FaultPoint.BLOB_WRITTEN)
            if sync:
                os.fdatasync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
        return Written(self._size, self._hash.digest())

    def discard(self) -> None:
        with self._lock:
            self._discarded = True
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
            self.path.unlink(missing_ok=True)


class _Appender:
    """A growing file at work.  The lock is for the same reason as in `_Writer`."""

    def __init__(self, path: Path, offset: int, faults: Faults) -> None:
        self._faults = faults
        self._lock = threading.Lock()
        self._hash = hashlib.md5(usedforsecurity=False)
        self._size = 0
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(self._descriptor).st_size < offset:
                raise BlobsFailed(f"{path.name}: bytes that were recorded are missing")
            os.ftruncate(self._descriptor, offset)
            os.lseek(self._descriptor, offset, os.SEEK_SET)
        except BaseException:
            self.release()
            raise

    def write(self, pieces: Sequence[bytes]) -> None:
        with self._lock:
            if self._descriptor < 0:
                return
            for piece in pieces:
                _write_all(self._descriptor, piece)
                self._hash.update(piece)
                self._size += len(piece)
                self._faults.reach(FaultPoint.BLOB_PIECE_WRITTEN)

    def close(self, *, sync: bool) -> Written:
        with self._lock:
            if sync:
                os.fdatasync(self._descriptor)
        self.release()
        return Written(self._size, self._hash.digest())

    def release(self) -> None:
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1


class Chunk:
    """Some pieces that are written together, and whether they are the last."""

    __slots__ = ("is_last", "pieces")

    def __init__(self, pieces: list[bytes], *, is_last: bool) -> None:
        self.pieces = pieces
        self.is_last = is_last


async def gather_pieces(pieces: ByteStream, size: int) -> AsyncIterator[Chunk]:
    """Pieces in chunks of about `size` bytes; the last chunk says that it is, and may be empty."""
    waiting: list[bytes] = []
    held = 0
    async for piece in pieces:
        if held >= size:
            yield Chunk(waiting, is_last=False)
            waiting, held = [], 0
        waiting.append(piece)
        held += len(piece)
    yield Chunk(waiting, is_last=True)


def _lock_file(path: Path) -> int:
    """An open file that the system keeps for this process alone, until it is closed or dies."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise BlobsBusy(path.name) from None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _write_all(descriptor: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]


def _copy_into(source: Path, output: int) -> None:
    """Appends a file's bytes; inside the kernel, sharing them where the file system can."""
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise BlobNotFound(str(source)) from None
    try:
        left = os.fstat(descriptor).st_size
        while left > 0:
            copied = _copy_some(descriptor, output, min(left, _COPY_PIECE))
            if copied == 0:
                raise BlobsFailed(f"{source.name}: shorter than it was")
            left -= copied
    finally:
        os.close(descriptor)


def _copy_some(source: int, output: int, count: int) -> int:
    if hasattr(os, "copy_file_range"):
        try:
            return os.copy_file_range(source, output, count)
        except OSError as error:
            if error.errno not in _NO_KERNEL_COPY:
                raise
    piece = os.read(source, min(count, _PIECE))
    _write_all(output, piece)
    return len(piece)


def _take(walk: Iterator[BlobSeen], most: int = 1000) -> list[BlobSeen]:
    return [seen for seen, _ in zip(walk, range(most), strict=False)]


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = BlobsFull if error.errno in _FULL else BlobsFailed
        raise kind(f"{error.strerror or error}") from error
