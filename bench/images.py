"""Image transforms per second: our pipeline against pyvips called directly on the same input.

Both run the same number of at once busy threads with one libvips thread each.  Caches are off
except where the cached transform itself is measured.
"""

from __future__ import annotations

import asyncio
import os
import resource
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfbase.images.pipeline import load_vips
from selfbase.images.service import Images
from selfbase.images.settings import ImagesSettings
from selfbase.kit.clock import SystemClock
from selfbase.kit.events import Events

THREADS = os.cpu_count() or 1
ROUNDS = 5


@dataclass
class Source:
    data: bytes
    etag: str = '"a"'
    cache_scope: str = "bench"
    path: Path | None = None

    @property
    def size(self) -> int:
        return len(self.data)

    async def open(self) -> AsyncIterator[bytes]:
        yield self.data


@dataclass
class Wanted:
    width: int | None = 400
    height: int | None = 400
    resize: str = "cover"
    quality: int | None = None
    format: str | None = None
    gravity: str | None = None
    x_offset: float | None = None
    y_offset: float | None = None


def _photo(width: int, height: int) -> Any:
    """Something between a flat colour and noise, as photographs are."""
    vips = load_vips()
    noise = vips.Image.gaussnoise(width // 8, height // 8, mean=128, sigma=60).resize(8)
    ramp = vips.Image.xyz(width, height) * [255 / width, 255 / height]
    return ramp.bandjoin(noise).cast("uchar").copy(interpretation="srgb")


def _save(image: Any, kind: str) -> bytes:
    if kind == "webp":
        saved = image.webpsave_buffer(Q=79, keep="none")
    elif kind == "png":
        saved = image.pngsave_buffer(keep="none")
    else:
        saved = image.jpegsave_buffer(Q=80, optimize_coding=True, keep="none")
    return bytes(saved)


def _direct(data: bytes, kind: str) -> bytes:
    image = load_vips().Image.thumbnail_buffer(
        data, 400, height=400, crop="centre", output_profile="srgb", size="down"
    )
    return _save(image, kind)


def _measure_direct(data: bytes, kind: str, count: int) -> tuple[float, float]:
    with ThreadPoolExecutor(THREADS) as threads:
        return _timed(lambda: list(threads.map(lambda _: _direct(data, kind), range(count))))


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds."""
    cpu_s = _cpu_s()
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s, _cpu_s() - cpu_s


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _measure_ours(
    images: Images, data: bytes, accept: str, count: int
) -> tuple[float, float]:
    source = Source(data)

    async def one() -> None:
        await images.transform(source, Wanted(), accept)

    return await _timed_async(lambda: _at_once(one, count))


async def _at_once(one: Callable[[], Awaitable[None]], count: int) -> None:
    left = iter(range(count))

    async def worker() -> None:
        for _ in left:
            await one()

    await asyncio.gather(*(worker() for _ in range(THREADS)))


async def _timed_async(work: Callable[[], Awaitable[None]]) -> tuple[float, float]:
    cpu_s = _cpu_s()
    started_s = time.perf_counter()
    await work()
    return time.perf_counter() - started_s, _cpu_s() - cpu_s


async def _compare(name: str, data: bytes, kind: str, accept: str, count: int) -> None:
    """The two take turns, so that a busy moment of the machine hits both; the medians count."""
    images = Images(ImagesSettings(cache_bytes_max=0, workers=THREADS), Events(), SystemClock())
    await images.open()
    # Single flight would make one of all: each round asks for bytes that only it knows.
    ours: list[tuple[float, float]] = []
    direct: list[tuple[float, float]] = []
    images._flights.run = lambda key, compute: compute()  # type: ignore[method-assign]
    for _ in range(ROUNDS):
        ours.append(await _measure_ours(images, data, accept, count))
        direct.append(_measure_direct(data, kind, count))
    ours.sort()
    direct.sort()
    (our_s, our_cpu_s), (direct_s, direct_cpu_s) = ours[ROUNDS // 2], direct[ROUNDS // 2]
    print(
        f"{name:28} ours {count / our_s:7.1f}/s   pyvips {count / direct_s:7.1f}/s"
        f"   ratio {direct_s / our_s:5.2f}   CPU {our_cpu_s / count * 1000:6.2f}"
        f" against {direct_cpu_s / count * 1000:6.2f} ms each"
    )
    await images.close()


async def _cached(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        images = Images(ImagesSettings(cache_dir=Path(folder)), Events(), SystemClock())
        await images.open()
        source = Source(data)

        async def one() -> None:
            await images.transform(source, Wanted(), "")

        await one()
        count = 5000
        wall_s, cpu_s = await _timed_async(lambda: _at_once(one, count))
        print(
            f"cached transform             {count / wall_s:7.0f}/s   CPU {cpu_s / count * 1e6:.0f} µs each"
        )
        await images.close()


async def _run() -> None:
    photo = _photo(3000, 2000)
    jpeg = photo.jpegsave_buffer(Q=90)
    png = photo.resize(0.3).pngsave_buffer()
    await _compare("JPEG 3000x2000 to JPEG 400", jpeg, "jpeg", "", 60)
    await _compare("JPEG 3000x2000 to WebP 400", jpeg, "webp", "image/webp", 60)
    await _compare("PNG 900x600 to PNG 400", png, "png", "", 60)
    await _cached(jpeg)


def main() -> None:
    """Prints one line for each comparison."""
    print(f"libvips threads: 1 each, jobs at once: {THREADS}")
    asyncio.run(_run())
