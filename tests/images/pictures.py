"""Pictures made for tests: gradients of known size, so that results can be looked at."""

from __future__ import annotations

import struct
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyvips


def gradient(width: int = 600, height: int = 400) -> Any:
    """Red grows to the right, green to the bottom."""
    ramp = pyvips.Image.xyz(width, height) * [255 / width, 255 / height]
    return ramp.bandjoin(60).cast("uchar").copy(interpretation="srgb")


def jpeg(
    width: int = 600, height: int = 400, orientation: int | None = None, **texts: str
) -> bytes:
    image = gradient(width, height)
    if orientation is not None:
        image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    for name, text in texts.items():
        image.set_type(pyvips.GValue.gstr_type, f"exif-ifd0-{name}", text)
    data: bytes = image.jpegsave_buffer(Q=92)
    return data


def png(width: int = 600, height: int = 400, *, alpha: bool = False) -> bytes:
    image = gradient(width, height)
    if alpha:
        image = image.bandjoin(128).copy(interpretation="srgb")
    data: bytes = image.pngsave_buffer()
    return data


def animation(frames: int = 5, width: int = 100, height: int = 60) -> bytes:
    drawn = [
        (pyvips.Image.black(width, height).linear(1, [n * 40 % 256, 100, 50]))
        .cast("uchar")
        .copy(interpretation="srgb")
        for n in range(frames)
    ]
    strip = pyvips.Image.arrayjoin(drawn, across=1).copy()
    strip.set_type(pyvips.GValue.gint_type, "page-height", height)
    data: bytes = strip.gifsave_buffer()
    return data


def png_bomb(width: int, height: int) -> bytes:
    """A few kilobytes that claim to be an enormous image of one colour."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    rows = zlib.compress(b"\0" * 1_000_000, 9)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@dataclass
class Bytes:
    """A source as Storage hands it over."""

    data: bytes
    etag: str = '"1"'
    cache_scope: str = "project"
    path: Path | None = None
    reads: int = 0

    @property
    def size(self) -> int:
        return len(self.data)

    async def open(self) -> AsyncIterator[bytes]:
        self.reads += 1
        yield self.data


@dataclass
class Wanted:
    """Render parameters, as Storage has checked them."""

    width: int | None = None
    height: int | None = None
    resize: str = "cover"
    quality: int | None = None
    format: str | None = None
    gravity: str | None = None
    x_offset: float | None = None
    y_offset: float | None = None


def look(data: bytes) -> Any:
    return pyvips.Image.new_from_buffer(data, "")
