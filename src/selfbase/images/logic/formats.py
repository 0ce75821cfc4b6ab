"""Which format an image has, and which one the answer gets.

The first bytes decide, never a name or a declared type: only formats on this list reach a decoder.
Sources: the formats' own specifications; reference/storage.md section 6.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

CONTENT_TYPES = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "gif": "image/gif",
    "avif": "image/avif",
    "tiff": "image/tiff",
    "svg": "image/svg+xml",
    "heic": "image/heif",
    "ico": "image/x-icon",
    "bmp": "image/bmp",
    "jxl": "image/jxl",
}
# Names as they appear in URLs and settings.
FORMAT_NAMES = {**{name: name for name in CONTENT_TYPES}, "jpg": "jpeg", "tif": "tiff"}
EXTENSIONS = {**{name: name for name in CONTENT_TYPES}, "jpeg": "jpg"}
WRITABLE = frozenset({"jpeg", "png", "webp", "gif", "avif", "tiff"})
READABLE = WRITABLE | {"svg", "heic"}
ANIMATED = frozenset({"gif", "webp"})
WITH_ALPHA = frozenset({"png", "webp", "gif", "avif", "tiff"})
# What every browser shows: formats that are kept when nothing else was asked for.
PREFERRED = ("jpeg", "png", "gif")

_SVG = re.compile(
    rb"^(?:\xef\xbb\xbf)?\s*"
    rb"(?:<\?xml[^>]*>\s*|<!--.*?-->\s*|<!DOCTYPE[^\[>]*(?:\[.*?\])?\s*>\s*)*"
    rb"<(?:\w+:)?svg[\s>/]",
    re.DOTALL,
)
_SVG_SEARCHED_BYTES = 32 * 1024
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis"})


def detect_format(head: bytes) -> str | None:
    """The format of a file by its first bytes (give at least 32 KiB), or None."""
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head[4:8] == b"ftyp":
        return _detect_heif(head)
    if head.startswith((b"II*\0", b"MM\0*")):
        return "tiff"
    if head.startswith(b"\0\0\1\0"):
        return "ico"
    if head.startswith(b"BM"):
        return "bmp"
    if head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")):
        return "jxl"
    return "svg" if _SVG.match(head[:_SVG_SEARCHED_BYTES]) else None


def _detect_heif(head: bytes) -> str | None:
    size = min(int.from_bytes(head[:4], "big"), 256)
    brands = {head[8:12], *(head[i : i + 4] for i in range(16, size, 4))}
    if brands & _AVIF_BRANDS:
        return "avif"
    return "heic" if brands & _HEIC_BRANDS else None


@dataclass(frozen=True, slots=True)
class Accepted:
    """Modern formats the client takes and we may choose by ourselves."""

    webp: bool = False
    avif: bool = False

    @property
    def text(self) -> str:
        return f"{'w' if self.webp else ''}{'a' if self.avif else ''}"


def parse_accept(accept: str, *, auto_webp: bool, auto_avif: bool) -> Accepted:
    """Only types named outright count: `*/*` is what clients say that know neither."""
    named = {
        name.strip().lower()
        for name, _, rest in (part.partition(";") for part in accept.split(","))
        if re.search(r"q=0(?:\.0*)?\s*(?:;|$)", rest) is None
    }
    return Accepted(auto_webp and "image/webp" in named, auto_avif and "image/avif" in named)


def decide_format(
    source: str, wanted: str | None, accepted: Accepted, *, alpha: bool, frames: int, keep: bool
) -> str:
    """The format of the answer: the one asked for, else the best one accepted, else the source's."""
    if wanted is not None:
        return wanted
    if keep and source in WRITABLE:
        return source
    if source == "svg":
        return "svg"
    animated = frames > 1
    if accepted.avif and not animated:
        return "avif"
    if accepted.webp:
        return "webp"
    if source in PREFERRED:
        return source
    if animated:
        return "gif"
    return "png" if alpha else "jpeg"


def parse_format_quality(text: str) -> dict[str, int]:
    """`jpeg=80,webp=79` as a table.  Raises ValueError."""
    table: dict[str, int] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, number = part.partition("=")
        quality = int(number)
        if name not in FORMAT_NAMES or not 1 <= quality <= 100:
            raise ValueError(f"{part} is not a format and a quality from 1 to 100")
        table[FORMAT_NAMES[name]] = quality
    return table
