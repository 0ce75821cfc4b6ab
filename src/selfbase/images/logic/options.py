"""What to do with an image: one value for both the Storage parameters and the processing URL.

Sizes in pixels of the result, angles in degrees, colours as 8-bit RGB.  0 means "not asked".
Source: imgproxy processing options.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Literal

Resizing = Literal["fit", "fill", "fill-down", "force", "auto"]
Rgb = tuple[int, int, int]

GRAVITIES = frozenset({"no", "so", "ea", "we", "noea", "nowe", "soea", "sowe", "ce", "sm", "fp"})


@dataclass(frozen=True, slots=True)
class Gravity:
    """What to keep when cutting.  Offsets below 1 are parts of the side, others pixels; for `fp`
    they are the point itself, 0 to 1."""

    kind: str = "ce"
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True, slots=True)
class Trim:
    threshold: float
    color: Rgb | None = None
    equal_x: bool = False
    equal_y: bool = False


@dataclass(frozen=True, slots=True)
class Watermark:
    """`scale` is the part of the result's sides it may fill; 0 keeps its own size.
    `position` is a gravity or `re` (repeated)."""

    opacity: float
    position: str = "ce"
    x: float = 0.0
    y: float = 0.0
    scale: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One transformation.  Defaults change nothing but metadata and format."""

    resizing: Resizing = "fit"
    width: int = 0
    height: int = 0
    min_width: int = 0
    min_height: int = 0
    zoom_x: float = 1.0
    zoom_y: float = 1.0
    dpr: float = 1.0
    enlarge: bool = False
    extend: Gravity | None = None
    extend_ratio: Gravity | None = None
    gravity: Gravity = Gravity()
    crop_width: float = 0.0
    crop_height: float = 0.0
    crop_gravity: Gravity | None = None
    trim: Trim | None = None
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    auto_rotate: bool = True
    rotate: int = 0
    flip_x: bool = False
    flip_y: bool = False
    background: Rgb | None = None
    blur: float = 0.0
    sharpen: float = 0.0
    pixelate: int = 0
    watermark: Watermark | None = None
    strip_metadata: bool = True
    keep_copyright: bool = True
    strip_color_profile: bool = True
    quality: int = 0
    format_quality: tuple[tuple[str, int], ...] = ()
    format: str | None = None
    keep_format: bool = False
    max_bytes: int = 0
    skip_formats: tuple[str, ...] = ()
    raw: bool = False
    cache_buster: str = ""
    expires_at_s: int = 0
    filename: str = ""
    attachment: bool = False
    source_pixels_max: int = 0
    source_bytes_max: int = 0
    frames_max: int = 0


# They say how the answer is sent, not how the image looks.
_NOT_LOOKS = frozenset({"expires_at_s", "filename", "attachment"})


def digest_options(options: Options) -> str:
    """A text that is equal exactly when two transformations give the same image of one source."""
    plain = Options()
    changed = [
        f"{spec.name}={getattr(options, spec.name)!r}"
        for spec in dataclasses.fields(options)
        if spec.name not in _NOT_LOOKS and getattr(options, spec.name) != getattr(plain, spec.name)
    ]
    return hashlib.sha256("\n".join(changed).encode()).hexdigest()
