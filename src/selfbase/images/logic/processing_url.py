"""The imgproxy processing URL: its signature, its options, its source.

    /{signature}/{option:argument:…}/…/plain/{source}@{extension}
    /{signature}/{option:argument:…}/…/{base64url of the source}.{extension}

Source: imgproxy documentation, "Processing an image" and "Signing a URL".
"""

from __future__ import annotations

import hashlib
import hmac
import math
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

from selfbase.images.errors import ForbiddenUrl, InvalidProcessingUrl
from selfbase.images.logic.formats import FORMAT_NAMES, WRITABLE
from selfbase.images.logic.options import (
    GRAVITIES,
    Gravity,
    Options,
    Rgb,
    Trim,
    Watermark,
)

Step = tuple[str, list[str]]
_OPTIONS_MAX = 64
_BLUR_MAX, _SHARPEN_MAX, _PIXELATE_MAX, _DPR_MAX = 100.0, 100.0, 2000, 8.0
_SIDE_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class SigningKey:
    key: bytes
    salt: bytes


@dataclass(frozen=True, slots=True)
class ProcessingUrl:
    """`source` is the URL of the image, decoded."""

    options: Options
    source: str


def parse_signing_keys(keys: str, salts: str) -> tuple[SigningKey, ...]:
    """Hex keys and salts separated by commas, as many of the one as of the other.  ValueError."""
    parsed_keys = [bytes.fromhex(part) for part in keys.split(",") if part.strip()]
    parsed_salts = [bytes.fromhex(part) for part in salts.split(",") if part.strip()]
    if len(parsed_keys) != len(parsed_salts):
        raise ValueError("there must be one salt for each key")
    return tuple(SigningKey(key, salt) for key, salt in zip(parsed_keys, parsed_salts, strict=True))


def sign_path(path: str, key: SigningKey, size: int = 32) -> bytes:
    """The first `size` bytes of the HMAC-SHA-256 of salt and path; the path begins with a slash."""
    return hmac.digest(key.key, key.salt + path.encode(), hashlib.sha256)[:size]


def check_signature(
    signature: str, path: str, keys: Sequence[SigningKey], size: int, trusted: Sequence[str]
) -> None:
    """Passes with a signature of any key or a trusted text.  Raises ForbiddenUrl."""
    given = signature.encode("utf-8", "surrogatepass")
    if any(hmac.compare_digest(given, text.encode()) for text in trusted):
        return
    try:
        raw = urlsafe_b64decode(given + b"=" * (-len(given) % 4))
    except (Base64Error, ValueError):
        raise ForbiddenUrl(internal="the signature is not base64url") from None
    matches = [hmac.compare_digest(raw, sign_path(path, key, size)) for key in keys]
    if not any(matches):
        raise ForbiddenUrl(internal="the signature does not match")


def parse_processing_url(
    path: str, presets: Mapping[str, Sequence[Step]], defaults: Options
) -> ProcessingUrl:
    """The part after the signature, percent-encoded.  Raises InvalidProcessingUrl."""
    parts = path.lstrip("/").split("/")
    steps: list[Step] = []
    while parts and ":" in parts[0] and parts[0] != "plain":
        steps.append(parse_step(unquote(parts.pop(0))))
    if len(steps) > _OPTIONS_MAX:
        raise InvalidProcessingUrl(internal="too many options")
    source, extension = _parse_source(parts)
    options = defaults
    if "default" in presets:
        options = apply_steps(options, presets["default"], presets)
    options = apply_steps(options, steps, presets)
    if extension:
        options = _apply_format(options, [extension])
    return ProcessingUrl(options, source)


def parse_step(text: str) -> Step:
    name, *arguments = text.split(":")
    return name, arguments


def parse_presets(definitions: Sequence[str]) -> dict[str, list[Step]]:
    """`name=option:argument/option:argument` by name.  Raises ValueError."""
    presets: dict[str, list[Step]] = {}
    for definition in definitions:
        name, equals, body = definition.partition("=")
        if not equals or not name.strip():
            raise ValueError(f"{definition!r} is not of the form name=option:argument/…")
        presets[name.strip()] = [parse_step(part) for part in body.strip().split("/") if part]
    return presets


def apply_steps(
    options: Options,
    steps: Sequence[Step],
    presets: Mapping[str, Sequence[Step]],
    used: frozenset[str] = frozenset(),
) -> Options:
    """The options after each step in order; a later one wins.  Raises InvalidProcessingUrl."""
    for name, arguments in steps:
        if name in ("preset", "pr"):
            for preset in arguments:
                if preset not in presets or preset in used:
                    raise InvalidProcessingUrl(internal=f"preset {preset!r}")
                options = apply_steps(options, presets[preset], presets, used | {preset})
            continue
        apply = _APPLY.get(name)
        if apply is None:
            raise InvalidProcessingUrl(internal=f"unknown option {name!r}")
        options = apply(options, arguments or [""])
    return options


def _parse_source(parts: list[str]) -> tuple[str, str]:
    """The source URL and the extension, which may be empty."""
    if not parts:
        raise InvalidProcessingUrl(internal="no source")
    if parts[0] == "plain":
        encoded, _, extension = "/".join(parts[1:]).partition("@")
        if "@" in extension:
            raise InvalidProcessingUrl(internal="several extensions")
        source = unquote(encoded)
    else:
        encoded, _, extension = "".join(parts).partition(".")
        try:
            source = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
        except (Base64Error, ValueError):
            raise InvalidProcessingUrl(internal="the source is not base64url") from None
    if not source:
        raise InvalidProcessingUrl(internal="no source")
    return source, unquote(extension)


# Reading arguments


def _refuse(name: str, value: str) -> InvalidProcessingUrl:
    return InvalidProcessingUrl(internal=f"{name}: {value!r} is not allowed")


def _at(arguments: list[str], index: int) -> str:
    return arguments[index] if index < len(arguments) else ""


def _limit(name: str, arguments: list[str], count: int) -> None:
    if len(arguments) > count:
        raise InvalidProcessingUrl(internal=f"{name}: too many arguments")


def _number(name: str, text: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        raise _refuse(name, text) from None
    if not math.isfinite(value) or not low <= value <= high:
        raise _refuse(name, text)
    return value


def _whole(name: str, text: str, low: int, high: int) -> int:
    value = _number(name, text, low, high)
    if value != int(value):
        raise _refuse(name, text)
    return int(value)


def _flag(text: str) -> bool:
    return text.lower() in ("1", "t", "true")


def _color(name: str, text: str) -> Rgb:
    digits = "".join(c * 2 for c in text) if len(text) == 3 else text
    try:
        red, green, blue = bytes.fromhex(digits)
    except ValueError:
        raise _refuse(name, text) from None
    return red, green, blue


def _gravity(name: str, arguments: list[str]) -> Gravity:
    kind = _at(arguments, 0)
    if kind not in GRAVITIES:
        raise _refuse(name, kind)
    _limit(name, arguments, 1 if kind == "sm" else 3)
    if kind == "fp" and len(arguments) != 3:
        raise _refuse(name, kind)
    low, high = (0.0, 1.0) if kind == "fp" else (-float(_SIDE_MAX), float(_SIDE_MAX))
    x, y = (
        _number(name, text, low, high) if (text := _at(arguments, index)) else 0.0
        for index in (1, 2)
    )
    return Gravity(kind, x, y)


# One function for each option


def _apply_size(options: Options, arguments: list[str]) -> Options:
    _limit("size", arguments, 7)
    if _at(arguments, 0):
        options = replace(options, width=_whole("width", arguments[0], 0, _SIDE_MAX))
    if _at(arguments, 1):
        options = replace(options, height=_whole("height", arguments[1], 0, _SIDE_MAX))
    if _at(arguments, 2):
        options = replace(options, enlarge=_flag(arguments[2]))
    if _at(arguments, 3):
        options = _apply_extend(options, arguments[3:])
    return options


def _apply_resizing(options: Options, arguments: list[str]) -> Options:
    _limit("resizing_type", arguments, 1)
    kind = arguments[0]
    if kind not in ("fit", "fill", "fill-down", "force", "auto"):
        raise _refuse("resizing_type", kind)
    return replace(options, resizing=kind)  # type: ignore[arg-type]  # narrowed by the line above


def _apply_resize(options: Options, arguments: list[str]) -> Options:
    _limit("resize", arguments, 8)
    if arguments[0]:
        options = _apply_resizing(options, arguments[:1])
    return _apply_size(options, arguments[1:])


def _apply_extend(options: Options, arguments: list[str]) -> Options:
    gravity = _gravity("extend", arguments[1:]) if _at(arguments, 1) else Gravity()
    return replace(options, extend=gravity if _flag(arguments[0]) else None)


def _apply_extend_ratio(options: Options, arguments: list[str]) -> Options:
    gravity = _gravity("extend_aspect_ratio", arguments[1:]) if _at(arguments, 1) else Gravity()
    return replace(options, extend_ratio=gravity if _flag(arguments[0]) else None)


def _apply_zoom(options: Options, arguments: list[str]) -> Options:
    _limit("zoom", arguments, 2)
    x = _number("zoom", arguments[0], 0.001, 100)
    y = _number("zoom", arguments[1], 0.001, 100) if _at(arguments, 1) else x
    return replace(options, zoom_x=x, zoom_y=y)


def _apply_crop(options: Options, arguments: list[str]) -> Options:
    width = _number("crop", arguments[0], 0, _SIDE_MAX)
    height = _number("crop", arguments[1], 0, _SIDE_MAX) if _at(arguments, 1) else 0.0
    gravity = _gravity("crop", arguments[2:]) if _at(arguments, 2) else None
    return replace(options, crop_width=width, crop_height=height, crop_gravity=gravity)


def _apply_trim(options: Options, arguments: list[str]) -> Options:
    _limit("trim", arguments, 4)
    if not arguments[0]:
        return replace(options, trim=None)
    trim = Trim(
        _number("trim", arguments[0], 0, 255),
        _color("trim", arguments[1]) if _at(arguments, 1) else None,
        _flag(_at(arguments, 2)),
        _flag(_at(arguments, 3)),
    )
    return replace(options, trim=trim)


def _apply_padding(options: Options, arguments: list[str]) -> Options:
    _limit("padding", arguments, 4)
    sides = [
        _whole("padding", text, 0, 4096) if (text := _at(arguments, index)) else None
        for index in range(4)
    ]
    top = sides[0] or 0
    right = top if sides[1] is None else sides[1]
    bottom = top if sides[2] is None else sides[2]
    left = right if sides[3] is None else sides[3]
    return replace(options, padding=(top, right, bottom, left))


def _apply_rotate(options: Options, arguments: list[str]) -> Options:
    angle = _whole("rotate", arguments[0], -36000, 36000)
    if angle % 90:
        raise _refuse("rotate", arguments[0])
    return replace(options, rotate=angle % 360)


def _apply_flip(options: Options, arguments: list[str]) -> Options:
    _limit("flip", arguments, 2)
    return replace(options, flip_x=_flag(arguments[0]), flip_y=_flag(_at(arguments, 1)))


def _apply_background(options: Options, arguments: list[str]) -> Options:
    if arguments == [""]:
        return replace(options, background=None)
    if len(arguments) == 3:
        red, green, blue = (_whole("background", text, 0, 255) for text in arguments)
        return replace(options, background=(red, green, blue))
    _limit("background", arguments, 1)
    return replace(options, background=_color("background", arguments[0]))


def _apply_watermark(options: Options, arguments: list[str]) -> Options:
    _limit("watermark", arguments, 7)
    opacity = _number("watermark", arguments[0], 0, 1)
    position = _at(arguments, 1) or "ce"
    if position not in (GRAVITIES - {"sm", "fp"}) | {"re"}:
        raise _refuse("watermark", position)
    x, y = (
        _number("watermark", text, -_SIDE_MAX, _SIDE_MAX)
        if (text := _at(arguments, index))
        else 0.0
        for index in (2, 3)
    )
    scale = _number("watermark", arguments[4], 0, 10) if _at(arguments, 4) else 0.0
    mark = Watermark(opacity, position, x, y, scale) if opacity else None
    return replace(options, watermark=mark)


def _apply_format(options: Options, arguments: list[str]) -> Options:
    _limit("format", arguments, 1)
    name = FORMAT_NAMES.get(arguments[0].lower())
    if name is None or (name not in WRITABLE and name != "svg"):
        raise _refuse("format", arguments[0])
    return replace(options, format=name)


def _apply_format_quality(options: Options, arguments: list[str]) -> Options:
    if len(arguments) % 2:
        raise _refuse("format_quality", arguments[-1])
    table = dict(options.format_quality)
    for name, text in zip(arguments[::2], arguments[1::2], strict=True):
        if name not in FORMAT_NAMES:
            raise _refuse("format_quality", name)
        table[FORMAT_NAMES[name]] = _whole("format_quality", text, 0, 100)
    return replace(options, format_quality=tuple(sorted(table.items())))


def _apply_skip(options: Options, arguments: list[str]) -> Options:
    if any(name not in FORMAT_NAMES for name in arguments):
        raise _refuse("skip_processing", ":".join(arguments))
    skipped = {*options.skip_formats, *(FORMAT_NAMES[name] for name in arguments)}
    return replace(options, skip_formats=tuple(sorted(skipped)))


def _apply_filename(options: Options, arguments: list[str]) -> Options:
    _limit("filename", arguments, 2)
    name = arguments[0]
    if _flag(_at(arguments, 1)):
        try:
            name = urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()
        except (Base64Error, ValueError):
            raise _refuse("filename", name) from None
    return replace(options, filename=name[:255])


def _apply_source_pixels(options: Options, arguments: list[str]) -> Options:
    pixels = int(_number("max_src_resolution", arguments[0], 0, 1e6) * 1_000_000)
    return replace(options, source_pixels_max=pixels)


def _one(field: str, read: Callable[[str, str], Any]) -> Callable[[Options, list[str]], Options]:
    """An option with one argument, kept in one field."""

    def apply(options: Options, arguments: list[str]) -> Options:
        _limit(field, arguments, 1)
        return replace(options, **{field: read(field, arguments[0])})

    return apply


def _between(low: float, high: float) -> Callable[[str, str], float]:
    return lambda name, text: _number(name, text, low, high)


def _whole_between(low: int, high: int) -> Callable[[str, str], int]:
    return lambda name, text: _whole(name, text, low, high)


def _truth(name: str, text: str) -> bool:
    return _flag(text)


_Apply = Callable[[Options, list[str]], Options]
_BY_NAMES: dict[tuple[str, ...], _Apply] = {
    ("resize", "rs"): _apply_resize,
    ("size", "s"): _apply_size,
    ("resizing_type", "rt"): _apply_resizing,
    ("width", "w"): _one("width", _whole_between(0, _SIDE_MAX)),
    ("height", "h"): _one("height", _whole_between(0, _SIDE_MAX)),
    ("min-width", "mw"): _one("min_width", _whole_between(0, _SIDE_MAX)),
    ("min-height", "mh"): _one("min_height", _whole_between(0, _SIDE_MAX)),
    ("zoom", "z"): _apply_zoom,
    ("dpr",): _one("dpr", _between(0.01, _DPR_MAX)),
    ("enlarge", "el"): _one("enlarge", _truth),
    ("extend", "ex"): _apply_extend,
    ("extend_aspect_ratio", "extend_ar", "exar"): _apply_extend_ratio,
    ("gravity", "g"): lambda options, args: replace(options, gravity=_gravity("gravity", args)),
    ("crop", "c"): _apply_crop,
    ("trim", "t"): _apply_trim,
    ("padding", "pd"): _apply_padding,
    ("auto_rotate", "ar"): _one("auto_rotate", _truth),
    ("rotate", "rot"): _apply_rotate,
    ("flip", "fl"): _apply_flip,
    ("background", "bg"): _apply_background,
    ("blur", "bl"): _one("blur", _between(0, _BLUR_MAX)),
    ("sharpen", "sh"): _one("sharpen", _between(0, _SHARPEN_MAX)),
    ("pixelate", "pix"): _one("pixelate", _whole_between(0, _PIXELATE_MAX)),
    ("watermark", "wm"): _apply_watermark,
    ("strip_metadata", "sm"): _one("strip_metadata", _truth),
    ("keep_copyright", "kcr"): _one("keep_copyright", _truth),
    ("strip_color_profile", "scp"): _one("strip_color_profile", _truth),
    ("quality", "q"): _one("quality", _whole_between(0, 100)),
    ("format_quality", "fq"): _apply_format_quality,
    ("max_bytes", "mb"): _one("max_bytes", _whole_between(0, 1 << 40)),
    ("format", "f", "ext"): _apply_format,
    ("skip_processing", "skp"): _apply_skip,
    ("raw",): _one("raw", _truth),
    ("cachebuster", "cb"): _one("cache_buster", lambda name, text: text),
    ("expires", "exp"): _one("expires_at_s", _whole_between(0, 1 << 40)),
    ("filename", "fn"): _apply_filename,
    ("return_attachment", "att"): _one("attachment", _truth),
    ("max_src_resolution", "msr"): _apply_source_pixels,
    ("max_src_file_size", "msfs"): _one("source_bytes_max", _whole_between(0, 1 << 40)),
    ("max_animation_frames", "maf"): _one("frames_max", _whole_between(1, 10_000)),
}
_APPLY = {name: apply for names, apply in _BY_NAMES.items() for name in names}
