"""What clients ask of an image: read, clamped, and as text inside a signed URL.

Source: reference/storage.md section 6.1.
"""

from __future__ import annotations

from selfbase.storage.errors import SchemaInvalid
from selfbase.storage.logic.fields import Fields
from selfbase.storage.ports import Transformation
from selfbase.storage.settings import StorageSettings

RESIZES = ("cover", "contain", "fill")
FORMATS = ("origin", "avif", "webp")
GRAVITIES = ("no", "so", "ea", "we", "noea", "nowe", "soea", "sowe", "ce", "sm", "fp")


def read_transformation(fields: Fields, settings: StorageSettings) -> Transformation:
    """The wanted transformation.  Sizes are clamped, not refused.  Raises SchemaInvalid."""
    quality = fields.integer("quality", 0, least=20) or None
    if quality is not None and quality > 100:
        raise SchemaInvalid("querystring/quality must be <= 100")
    gravity = fields.choice("gravity", GRAVITIES, "") or None
    x_offset, y_offset = _number(fields, "x_offset"), _number(fields, "y_offset")
    if gravity == "fp" and not all(
        value is not None and 0 <= value <= 1 for value in (x_offset, y_offset)
    ):
        raise SchemaInvalid("gravity fp needs x_offset and y_offset between 0 and 1")
    return Transformation(
        width=_size(fields, "width", settings),
        height=_size(fields, "height", settings),
        resize=fields.choice("resize", RESIZES, "cover"),
        quality=quality,
        format=fields.choice("format", FORMATS, "") or None,
        gravity=gravity,
        x_offset=x_offset,
        y_offset=y_offset,
    )


def _size(fields: Fields, name: str, settings: StorageSettings) -> int | None:
    if not fields.has(name) or fields.is_null(name):
        return None
    wanted = fields.integer(name, 0, least=0)
    return max(settings.image_size_min, min(settings.image_size_max, wanted)) if wanted else None


def _number(fields: Fields, name: str) -> float | None:
    text = fields.text_or_none(name)
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        raise SchemaInvalid(f"querystring/{name} must be number") from None


def render_transformation(wanted: Transformation) -> str:
    """The text of a signed URL's `transformations`, and of `X-Transformations`."""
    parts = [
        ("height", wanted.height),
        ("width", wanted.width),
        ("resize", wanted.resize),
        ("quality", wanted.quality),
        ("format", wanted.format),
        ("gravity", wanted.gravity),
        ("x_offset", wanted.x_offset),
        ("y_offset", wanted.y_offset),
    ]
    return ",".join(
        f"{name}:{value:g}" if isinstance(value, float) else f"{name}:{value}"
        for name, value in parts
        if value is not None
    )


def parse_transformation(text: str, settings: StorageSettings) -> Transformation:
    """The inverse of `render_transformation`; what was signed has been checked once."""
    pairs = (part.partition(":") for part in text.split(",") if part)
    return read_transformation(Fields({name: value for name, _, value in pairs}), settings)
