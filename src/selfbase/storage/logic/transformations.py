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


_IMGPROXY_RESIZE = {"cover": "fill", "contain": "fit", "fill": "force"}


def render_transformation(wanted: Transformation) -> str:
    """The text of a signed URL's `transformations`."""
    return ",".join(_describe(wanted, "resize", wanted.resize))


def render_applied(wanted: Transformation) -> str:
    """The text of `X-Transformations`, in the words of imgproxy."""
    return ",".join(_describe(wanted, "resizing_type", _IMGPROXY_RESIZE[wanted.resize]))


def _describe(wanted: Transformation, resize_name: str, resize: str) -> list[str]:
    parts: list[str] = []
    if wanted.height:
        parts.append(f"height:{wanted.height}")
    if wanted.width:
        parts.append(f"width:{wanted.width}")
    if parts:
        parts.append(f"{resize_name}:{resize}")
    if wanted.quality:
        parts.append(f"quality:{wanted.quality}")
    if wanted.format and wanted.format != "origin":
        parts.append(f"format:{wanted.format}")
    if wanted.gravity:
        offsets = (wanted.x_offset, wanted.y_offset)
        given = wanted.gravity != "sm" and any(offset is not None for offset in offsets)
        text = "".join(f":{offset or 0:g}" for offset in offsets) if given else ""
        parts.append(f"gravity:{wanted.gravity}{text}")
    return parts


def parse_transformation(
    text: str, chosen_format: str, settings: StorageSettings
) -> Transformation:
    """The inverse of `render_transformation`; what was signed has been checked once."""
    values: dict[str, str] = {}
    for part in text.split(","):
        name, _, value = part.partition(":")
        if name == "gravity":
            value, *offsets = value.split(":")
            values.update(zip(("x_offset", "y_offset"), offsets, strict=False))
        if value:
            values[name] = value
    if chosen_format:
        values["format"] = chosen_format
    return read_transformation(Fields(values), settings)
