"""Blobs in an object store: S3 and its kin, Google Cloud Storage, Azure, through `obstore`.

    <tenant>/objects/<version>
    <tenant>/parts/<upload>/<version>
    <tenant>/growing/<upload>/<offset>-<random>

A store has no growing objects: each segment is one of its own, and the blob is put together at the
end.  A version is one object, written once; the store makes it appear whole or not at all.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import S3Store, from_url

from selfbase.http.values import FileBody
from selfbase.storage.blobs import (
    GROWING,
    BlobNotFound,
    BlobSeen,
    BlobsFailed,
    Written,
    check_key,
)
from selfbase.storage.disk import gather_pieces
from selfbase.storage.settings import StorageSettings
from selfbase.storage.types import ByteStream

if TYPE_CHECKING:
    from obstore import GetOptions

_READ_PIECE = 256 * 1024
_HASH_INLINE = 64 * 1024
_DELETE_BATCH = 1000
_BACKOFF_MAX_S = 2.0


class CloudBlobs:
    """Blobs under one folder of a bucket.  `store` is any store of `obstore`."""

    def __init__(self, store: Any, tenant: str, *, part_bytes: int, queue: int) -> None:
        self._store = store
        self._tenant = tenant
        self._part_bytes = max(part_bytes, 5 * 1024 * 1024)
        self._queue = queue

    async def put(self, key: str, pieces: ByteStream) -> Written:
        return await self._put(self._path(key), pieces)

    async def _put(self, path: str, pieces: ByteStream) -> Written:
        tally = _Tally()
        chunks = gather_pieces(tally.count(pieces), self._part_bytes)
        with _failures(path):
            first = await anext(chunks)
            if first.is_last:
                await obstore.put_async(
                    self._store, path, b"".join(first.pieces), use_multipart=False
                )
            else:
                await self._put_parts(path, first.pieces, chunks)
        return tally.written()

    async def _put_parts(self, path: str, first: list[bytes], chunks: Any) -> None:
        failure: list[Exception] = []

        async def parts() -> AsyncIterator[bytes]:
            try:
                yield b"".join(first)
                async for chunk in chunks:
                    yield b"".join(chunk.pieces)
            except Exception as error:
                # It reaches us through the store's own failure, which does not name it.  That the
                # store gave up and closed this generator is no failure of the stream.
                failure.append(error)
                raise

        try:
            await obstore.put_async(
                self._store,
                path,
                parts(),
                use_multipart=True,
                chunk_size=self._part_bytes,
                max_concurrency=self._queue,
            )
        except BaseException:
            if failure:
                raise failure[0] from None
            raise

    @asynccontextmanager
    async def hold(self, growing: str) -> AsyncIterator[None]:
        # Nothing to keep apart: every segment has a name of its own, and the row says which count.
        check_key(growing)
        yield

    async def append(self, growing: str, offset: int, pieces: ByteStream) -> Written:
        segment = f"{offset:020d}-{secrets.token_hex(8)}"
        return replace(await self._put(f"{self._path(growing)}/{segment}", pieces), segment=segment)

    async def finish(self, growing: str, key: str, segments: Sequence[Written]) -> None:
        base = self._path(growing)
        paths = [f"{base}/{part.segment}" for part in segments if part.size]
        try:
            await self._put(self._path(key), self._read_all(paths))
        except BlobNotFound as error:
            raise BlobsFailed(f"{growing}: bytes that were recorded are missing") from error

    async def concat(self, sources: Sequence[str], key: str) -> None:
        await self._put(self._path(key), self._read_all([self._path(item) for item in sources]))

    async def _read_all(self, paths: Sequence[str]) -> AsyncIterator[bytes]:
        for path in paths:
            with _failures(path, of_read=True):
                result = await obstore.get_async(self._store, path)
                async for piece in result.stream(min_chunk_size=_READ_PIECE):
                    yield bytes(piece)

    async def copy(self, source: str, key: str) -> None:
        with _failures(source, of_read=True):
            await obstore.copy_async(self._store, self._path(source), self._path(key))

    async def open(self, key: str, offset: int, length: int) -> FileBody | ByteStream:
        path = self._path(key)
        with _failures(key, of_read=True):
            if length == 0:
                await obstore.head_async(self._store, path)
                return _nothing()
            wanted: GetOptions = {"range": (offset, offset + length)}
            result = await obstore.get_async(self._store, path, options=wanted)
        return _read_stream(key, result)

    def find_path(self, key: str) -> None:
        return None

    async def remove(self, keys: Sequence[str]) -> None:
        paths: list[str] = []
        for key in keys:
            if key.startswith(f"{GROWING}/") and key.count("/") == 1:
                paths += [path async for path, _, _ in self._walk(f"{self._path(key)}/")]
            else:
                paths.append(self._path(key))
        for start in range(0, len(paths), _DELETE_BATCH):
            with _failures(paths[start]):
                try:
                    await obstore.delete_async(self._store, paths[start : start + _DELETE_BATCH])
                except (NotFoundError, FileNotFoundError):
                    await self._remove_singly(paths[start : start + _DELETE_BATCH])

    async def _remove_singly(self, paths: Sequence[str]) -> None:
        for path in paths:
            try:
                await obstore.delete_async(self._store, path)
            except (NotFoundError, FileNotFoundError):
                continue  # gone already is what was asked for

    async def list(self, area: str) -> AsyncIterator[BlobSeen]:
        base = f"{self._tenant}/"
        async for path, size, moment in self._walk(f"{base}{area}/"):
            key = path.removeprefix(base)
            if area == GROWING:
                key = key.rpartition("/")[0]
            yield BlobSeen(key, size, moment)

    async def _walk(self, prefix: str) -> AsyncIterator[tuple[str, int, Any]]:
        with _failures(prefix):
            async for batch in obstore.list(self._store, prefix, chunk_size=1000):
                for item in batch:
                    # Some stores take the prefix for a folder, some for text.
                    if item["path"].startswith(prefix):
                        yield item["path"], item["size"], item["last_modified"]

    async def close(self) -> None:
        return None

    def _path(self, key: str) -> str:
        return f"{self._tenant}/{check_key(key)}"


class _Tally:
    """Counts and hashes pieces as they pass."""

    def __init__(self) -> None:
        self._hash = hashlib.md5(usedforsecurity=False)
        self._size = 0

    async def count(self, pieces: ByteStream) -> AsyncIterator[bytes]:
        async for piece in pieces:
            self._size += len(piece)
            if len(piece) > _HASH_INLINE:
                await asyncio.to_thread(self._hash.update, piece)
            else:
                self._hash.update(piece)
            yield piece

    def written(self) -> Written:
        return Written(self._size, self._hash.digest())


async def _read_stream(key: str, result: Any) -> AsyncIterator[bytes]:
    with _failures(key, of_read=True):
        async for piece in result.stream(min_chunk_size=_READ_PIECE):
            yield bytes(piece)


async def _nothing() -> AsyncIterator[bytes]:
    no_pieces: tuple[bytes, ...] = ()
    for piece in no_pieces:
        yield piece


@contextmanager
def _failures(name: str, *, of_read: bool = False) -> Iterator[None]:
    """That something is not there is an answer to a read; elsewhere it is a failure: a bucket that
    is missing, an upload whose completion was done but its answer lost."""
    try:
        yield
    except (NotFoundError, FileNotFoundError, BaseError) as error:
        if of_read and isinstance(error, (NotFoundError, FileNotFoundError)):
            raise BlobNotFound(name) from error
        # The text names addresses and buckets, never keys: obstore leaves credentials out.
        cause = str(error).partition("\n\nDebug source")[0]
        raise BlobsFailed(f"{name}: {cause[:300]}") from error


def open_store(settings: StorageSettings) -> Any:
    """The object store the settings name.  Connects when first used."""
    client: Any = {
        "connect_timeout": timedelta(seconds=settings.s3_connect_timeout_s),
        "read_timeout": timedelta(seconds=settings.s3_timeout_s),
        # A slow reader may take hours for a large object; stalls are what `read_timeout` ends.
        "timeout": timedelta(days=1),
        "allow_http": True,
    }
    # No try begins after the time of one request is over: a call ends within twice that time.
    retry: Any = {
        "max_retries": settings.s3_retries,
        "retry_timeout": timedelta(seconds=settings.s3_timeout_s),
        "backoff": {"max_backoff": timedelta(seconds=_BACKOFF_MAX_S)},
    }
    if settings.object_store_url:
        return from_url(settings.object_store_url, client_options=client, retry_config=retry)
    config: dict[str, Any] = {"region": settings.s3_region}
    if settings.s3_endpoint:
        config["endpoint"] = settings.s3_endpoint
        config["virtual_hosted_style_request"] = not settings.s3_force_path_style
    if settings.aws_access_key_id and settings.aws_secret_access_key:
        config["access_key_id"] = settings.aws_access_key_id
        config["secret_access_key"] = settings.aws_secret_access_key.reveal()
    return S3Store(settings.s3_bucket, client_options=client, retry_config=retry, **config)
