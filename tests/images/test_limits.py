"""Hostile images and too many of them: every limit of the settings is reached."""

from __future__ import annotations

import asyncio
import threading

import pytest
from tests.images.conftest import MakeImages
from tests.images.pictures import Bytes, Wanted, animation, gradient, jpeg, png_bomb

from selfbase.images.errors import (
    FrameResolutionTooLarge,
    RenderTimedOut,
    ResultTooLarge,
    SourceResolutionTooLarge,
    SourceTooLarge,
    SourceUnsupported,
    TooManyRenders,
)
from selfbase.images.logic.formats import Accepted
from selfbase.images.logic.options import Options
from selfbase.images.pipeline import Encoding, Limits, render
from selfbase.images.pool import Job, RenderPool
from selfbase.images.service import Images


async def test_a_bomb_of_pixels_is_refused_by_its_header(images: Images) -> None:
    bomb = png_bomb(60_000, 60_000)
    assert len(bomb) < 10_000
    with pytest.raises(SourceResolutionTooLarge):
        await images.transform(Bytes(bomb), Wanted(10), "")


async def test_all_frames_count(make_images: MakeImages) -> None:
    images = await make_images(source_megapixels_max=0.02)
    with pytest.raises(SourceResolutionTooLarge):
        await images.transform(Bytes(animation(5)), Wanted(10), "")
    framewise = await make_images(frame_megapixels_max=0.001)
    with pytest.raises(FrameResolutionTooLarge):
        await framewise.transform(Bytes(animation(5)), Wanted(10), "")


async def test_large_files_are_refused_before_they_are_read(make_images: MakeImages) -> None:
    images = await make_images(source_bytes_max=1000)
    source = Bytes(jpeg())
    with pytest.raises(SourceTooLarge):
        await images.transform(source, Wanted(10), "")
    assert source.reads == 0


async def test_a_file_that_is_longer_than_it_said_is_refused(make_images: MakeImages) -> None:
    images = await make_images(source_bytes_max=1000)

    class Liar(Bytes):
        @property
        def size(self) -> int:
            return 10

    with pytest.raises(SourceTooLarge):
        await images.transform(Liar(jpeg()), Wanted(10), "")


def test_results_are_limited_too() -> None:
    limits = Limits(
        source_pixels_max=1_000_000, source_bytes_max=10**6, frames_max=1, side_max=100_000
    )
    options = Options(width=50_000, height=50_000, resizing="force", enlarge=True)
    with pytest.raises(ResultTooLarge):
        render(jpeg(), options, Accepted(), limits, Encoding(), lambda _: None)


def test_an_svg_of_any_size_is_limited_by_its_result() -> None:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="90000" height="90000"><g/></svg>'
    limits = Limits(
        source_pixels_max=1_000_000, source_bytes_max=10**6, frames_max=1, side_max=100_000
    )
    with pytest.raises(ResultTooLarge):
        render(svg, Options(format="png"), Accepted(), limits, Encoding(), lambda _: None)
    small = Options(format="png", width=10)
    assert render(svg, small, Accepted(), limits, Encoding(), lambda _: None).format == "png"


async def test_work_that_takes_too_long_is_killed(make_images: MakeImages) -> None:
    images = await make_images(workers=1)
    big = gradient(4000, 4000).pngsave_buffer(compression=1)
    options = Options(blur=100.0, format="png")
    limits = images._limits(options)
    ended = threading.Event()

    def work(job: Job) -> None:
        try:
            render(big, options, Accepted(), limits, Encoding(), job.track)
        finally:
            ended.set()

    with pytest.raises(RenderTimedOut):
        await images._pool.run(work, 0.2)
    assert await asyncio.to_thread(ended.wait, 60)
    made = await images.transform(Bytes(jpeg(60, 40)), Wanted(10), "")
    assert made.mime_type == "image/jpeg"


async def test_the_queue_is_bounded() -> None:
    pool = RenderPool(1, queue_max=1)
    hold = threading.Event()
    first = asyncio.create_task(pool.run(lambda job: hold.wait(10), 20))
    second = asyncio.create_task(pool.run(lambda job: True, 20))
    while not pool._waiting:
        await asyncio.sleep(0)
    with pytest.raises(TooManyRenders):
        await pool.run(lambda job: True, 20)
    hold.set()
    assert await asyncio.gather(first, second) == [True, True]
    await pool.close()


async def test_one_who_waits_in_vain_is_told() -> None:
    pool = RenderPool(1)
    hold = threading.Event()
    first = asyncio.create_task(pool.run(lambda job: hold.wait(10), 20))
    while not pool._free.locked():
        await asyncio.sleep(0)
    with pytest.raises(RenderTimedOut):
        await pool.run(lambda job: True, 0.05)
    hold.set()
    assert await first
    await pool.close()


@pytest.mark.parametrize(
    "svg",
    [
        b'<!DOCTYPE svg [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'
        b'<svg xmlns="http://www.w3.org/2000/svg"><text>&b;</text></svg>',
        b'<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
        b'<svg xmlns="http://www.w3.org/2000/svg"><text>&x;</text></svg>',
    ],
)
async def test_svg_entities_are_not_expanded(images: Images, svg: bytes) -> None:
    made = await images.transform(Bytes(svg), Wanted(), "")
    assert b"ENTITY" not in made.body
    assert b"root:" not in made.body
    assert b"aaaa" not in made.body


async def test_a_deep_svg_is_refused(images: Images) -> None:
    deep = b'<svg xmlns="http://www.w3.org/2000/svg">' + b"<g>" * 5000 + b"</g>" * 5000 + b"</svg>"
    with pytest.raises(SourceUnsupported):
        await images.transform(Bytes(deep), Wanted(), "")
