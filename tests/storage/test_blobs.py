"""What the blob port promises, kept by both adapters."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from obstore.store import LocalStore, MemoryStore

from selfbase.http.values import FileBody
from selfbase.storage.blobs import (
    BlobNotFound,
    Blobs,
    BlobsBusy,
    BlobsFailed,
    growing_key,
    object_key,
    part_key,
)
from selfbase.storage.cloud import CloudBlobs
from selfbase.storage.disk import DiskBlobs
from selfbase.storage.filebody import read_file_body

MB = 1024 * 1024


@pytest.fixture(params=["disk", "cloud", "cloud on disk"])
async def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Blobs]:
    made: Blobs
    if request.param == "disk":
        disk = DiskBlobs(tmp_path / "root")
        await disk.open_folders()
        made = disk
    else:
        folder = LocalStore(tmp_path / "cloud", mkdir=True)
        store = MemoryStore() if request.param == "cloud" else folder
        made = CloudBlobs(store, "tenant", part_bytes=5 * MB, queue=2)
    yield made
    await made.close()


async def pieces(*content: bytes) -> AsyncIterator[bytes]:
    for piece in content:
        yield piece


async def read(blobs: Blobs, key: str, offset: int, length: int) -> bytes:
    body = await blobs.open(key, offset, length)
    stream = read_file_body(body) if isinstance(body, FileBody) else body
    return b"".join([piece async for piece in stream])


async def keys(blobs: Blobs, area: str) -> set[str]:
    return {seen.key async for seen in blobs.list(area)}


@pytest.mark.parametrize("size", [0, 1, 100_000, 12 * MB + 7])
async def test_what_is_put_is_read_back_in_any_part(blobs: Blobs, size: int) -> None:
    content = os.urandom(size)
    chunks = [content[start : start + 70_000] for start in range(0, size, 70_000)]
    key = object_key("v1")
    written = await blobs.put(key, pieces(*chunks))
    assert (written.size, written.md5) == (size, hashlib.md5(content).digest())
    assert await read(blobs, key, 0, size) == content
    if size > 10:
        assert await read(blobs, key, 3, 7) == content[3:10]
        assert await read(blobs, key, size - 1, 1) == content[-1:]
    assert await keys(blobs, "objects") == {key}


@pytest.mark.parametrize("sent", [1, 11])
async def test_a_stream_that_breaks_leaves_no_blob(blobs: Blobs, sent: int) -> None:
    async def broken() -> AsyncIterator[bytes]:
        for _ in range(sent):
            yield b"x" * MB
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await blobs.put(object_key("v1"), broken())
    with pytest.raises(BlobNotFound):
        await blobs.open(object_key("v1"), 0, 1)
    assert await keys(blobs, "objects") | await keys(blobs, "growing") == set()


async def test_copies_live_on_when_the_original_goes(blobs: Blobs) -> None:
    await blobs.put(object_key("a"), pieces(b"content"))
    await blobs.copy(object_key("a"), object_key("b"))
    await blobs.remove([object_key("a"), object_key("never-was")])
    assert await read(blobs, object_key("b"), 0, 7) == b"content"
    with pytest.raises(BlobNotFound):
        await blobs.copy(object_key("a"), object_key("c"))
    with pytest.raises(BlobNotFound):
        await blobs.open(object_key("a"), 0, 7)
    with pytest.raises(BlobNotFound):
        await blobs.open(object_key("a"), 0, 0)


async def test_parts_become_one_blob(blobs: Blobs) -> None:
    sources = [part_key("u", f"p{number}") for number in range(3)]
    for number, source in enumerate(sources):
        await blobs.put(source, pieces(bytes([number]) * 100_000))
    await blobs.concat(sources, object_key("whole"))
    whole = await read(blobs, object_key("whole"), 0, 300_000)
    assert whole == b"".join(bytes([number]) * 100_000 for number in range(3))
    assert await keys(blobs, "parts") == set(sources)
    await blobs.remove(sources)
    assert await keys(blobs, "parts") == set()


async def test_a_blob_grows_and_forgets_what_was_not_recorded(blobs: Blobs) -> None:
    growing, target = growing_key("u"), object_key("u")
    async with blobs.hold(growing):
        first = await blobs.append(growing, 0, pieces(b"hello "))
        await blobs.append(growing, 6, pieces(b"never recorded"))
        second = await blobs.append(growing, 6, pieces(b"world"))
        assert await keys(blobs, "growing") == {growing}
        await blobs.finish(growing, target, [first, second])
        assert await read(blobs, target, 0, 11) == b"hello world"
        # The row was never committed: the same upload goes on and is finished again.
        third = await blobs.append(growing, 11, pieces(b"!"))
        await blobs.finish(growing, target, [first, second, third])
        assert await read(blobs, target, 0, 12) == b"hello world!"
    await blobs.remove([growing])
    assert await keys(blobs, "growing") == set()
    assert await read(blobs, target, 0, 12) == b"hello world!"


def test_a_row_without_a_version_has_no_bytes() -> None:
    with pytest.raises(BlobNotFound):
        object_key(None)


@pytest.mark.parametrize("version", ["", "../x", "a/b", "a\0", "x" * 65, "a.b"])
async def test_no_version_leads_out_of_the_root(blobs: Blobs, version: str) -> None:
    with pytest.raises(BlobNotFound):
        object_key(version)
    with pytest.raises(BlobNotFound):
        await blobs.open(f"objects/{version}", 0, 1)
    with pytest.raises(BlobNotFound):
        await blobs.put(f"objects/{version}", pieces(b"x"))


async def test_a_growing_file_has_one_holder(tmp_path: Path) -> None:
    first, second = DiskBlobs(tmp_path), DiskBlobs(tmp_path)
    await first.open_folders()
    async with first.hold(growing_key("u")):
        with pytest.raises(BlobsBusy):
            async with second.hold(growing_key("u")):
                raise AssertionError
    async with second.hold(growing_key("u")):
        with pytest.raises(BlobsFailed):
            await second.append(growing_key("u"), 10, pieces(b"x"))


async def test_an_upload_that_is_cancelled_leaves_no_file(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path)
    await blobs.open_folders()
    started = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * MB
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(blobs.put(object_key("v"), slow()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
