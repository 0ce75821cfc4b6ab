"""Finished images are made once, found again, and never take more room than allowed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.images.conftest import MakeImages
from tests.images.pictures import Bytes, Wanted, jpeg

from selfbase.images.cache import ImageCache
from selfbase.images.errors import SourceUnsupported
from selfbase.images.pipeline import Rendered
from selfbase.images.service import Images


async def test_a_second_request_reads_no_source(images: Images) -> None:
    source = Bytes(jpeg())
    first = await images.transform(source, Wanted(50), "")
    again = await images.transform(source, Wanted(50), "")
    assert (first.body, first.etag) == (again.body, again.etag)
    assert source.reads == 1


async def test_etags_tell_variants_apart(images: Images) -> None:
    data = jpeg()
    etags = {
        (await images.transform(source, wanted, accept)).etag
        for source in (Bytes(data), Bytes(data, etag='"2"'), Bytes(data, cache_scope="other"))
        for wanted in (Wanted(50), Wanted(51), Wanted(50, quality=50), Wanted(50, gravity="no"))
        for accept in ("", "image/webp")
    }
    assert len(etags) == 3 * 4 * 2


async def test_many_who_ask_at_once_wait_for_one(images: Images) -> None:
    source = Bytes(jpeg())
    made = await asyncio.gather(*(images.transform(source, Wanted(40), "") for _ in range(20)))
    assert source.reads == 1
    assert len({image.etag for image in made}) == 1


async def test_one_who_leaves_does_not_take_the_others_along(images: Images) -> None:
    source = Bytes(jpeg())
    leaving = asyncio.create_task(images.transform(source, Wanted(40), ""))
    staying = asyncio.create_task(images.transform(source, Wanted(40), ""))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying).mime_type == "image/jpeg"
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_failures_are_not_kept(images: Images) -> None:
    bad = Bytes(b"nothing")
    for _ in range(2):
        with pytest.raises(SourceUnsupported):
            await images.transform(bad, Wanted(40), "")
    assert bad.reads == 2


async def test_the_cache_outlives_a_restart(make_images: MakeImages) -> None:
    source = Bytes(jpeg())
    await (await make_images()).transform(source, Wanted(40), "")
    await (await make_images()).transform(source, Wanted(40), "")
    assert source.reads == 1


async def test_without_room_nothing_is_kept(make_images: MakeImages) -> None:
    images = await make_images(cache_bytes_max=0)
    source = Bytes(jpeg())
    for _ in range(2):
        await images.transform(source, Wanted(40), "")
    assert source.reads == 2


async def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path, 1000)
    await cache.open()
    keys = [f"{n:064x}" for n in range(12)]
    for key in keys[:10]:
        await cache.put(key, Rendered("jpeg", b"x" * 100))
    assert await cache.find(keys[0]) is not None
    for key in keys[10:]:
        await cache.put(key, Rendered("jpeg", b"x" * 100))
    assert await cache.find(keys[1]) is None
    assert await cache.find(keys[0]) is not None
    assert cache.bytes <= 1000
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.jpeg")) <= 1000
    await cache.put(f"{99:064x}", Rendered("png", b"x" * 900))
    assert await cache.find(f"{99:064x}") is None
    await cache.close()


async def test_a_damaged_or_missing_file_is_made_anew(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path, 1000)
    await cache.open()
    for spoil in (lambda path: path.unlink(), lambda path: path.write_bytes(b"x")):
        await cache.put("ab" * 32, Rendered("png", b"12345"))
        spoil(tmp_path / "ab" / ("ab" * 32 + ".png"))
        assert await cache.find("ab" * 32) is None
    assert cache.bytes == 0
    await cache.close()


async def test_what_a_crash_left_half_written_is_swept(tmp_path: Path) -> None:
    part = tmp_path / "ab" / ("ab" * 32 + ".png.1.part")
    part.parent.mkdir()
    part.write_bytes(b"half")
    cache = ImageCache(tmp_path, 1000)
    await cache.open()
    assert not part.exists()
    await cache.close()
