"""One transformation with libvips: header, limits, geometry, pixels, encoding.

Blocking and heavy: runs in the render pool only.  Knows no HTTP and no files but the watermark.
libvips releases the interpreter's lock while it works.  Source: libvips documentation; section 6.3
of reference/storage.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from selfbase.images.errors import (
    FrameResolutionTooLarge,
    ResultTooLarge,
    SourceResolutionTooLarge,
    SourceTooLarge,
    SourceUnsupported,
)
from selfbase.images.logic.formats import (
    ANIMATED,
    READABLE,
    WITH_ALPHA,
    WRITABLE,
    Accepted,
    decide_format,
    detect_format,
)
from selfbase.images.logic.geometry import Plan, place, plan_geometry
from selfbase.images.logic.options import Gravity, Options, Trim, Watermark

Image = Any  # pyvips.Image: the package has no type hints
Vips = Any

_WHITE = (255, 255, 255)
_COPYRIGHT = ("exif-ifd0-Copyright", "exif-ifd0-Artist")
_QUALITY_LOW = 10
_GIF_SIDE_MAX, _WEBP_SIDE_MAX = 65_535, 16_383


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a source and a result may be.  Pixels count all frames; 0 is no limit."""

    source_pixels_max: int
    frame_pixels_max: int = 0
    source_bytes_max: int
    frames_max: int
    side_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How results are written when the options do not say."""

    quality: int = 80
    format_quality: Mapping[str, int] = field(default_factory=dict)
    avif_speed: int = 8
    watermark: bytes | None = None
    watermark_opacity: float = 1.0


@dataclass(frozen=True, slots=True)
class Rendered:
    """A finished image."""

    format: str
    content: bytes


Track = Callable[[Any], None]


@cache
def load_vips() -> Vips:
    """libvips, loaded on first use (20 MB that an idle project should not pay), its state set once:
    decoders unsafe for hostile input are off, results are not remembered, one thread per job."""
    import pyvips

    pyvips.block_untrusted_set(True)
    # Counted among the unsafe ones because drawings may refer to files: ours are cleaned before.
    pyvips.operation_block_set("VipsForeignLoadSvg", False)
    pyvips.cache_set_max(0)
    pyvips.concurrency_set(1)
    return pyvips


def describe_engine() -> str:
    """The version of libvips, which is part of every ETag."""
    vips = load_vips()
    return ".".join(str(vips.version(part)) for part in range(3))


def render(
    data: bytes,
    options: Options,
    accepted: Accepted,
    limits: Limits,
    encoding: Encoding,
    track: Track,
) -> Rendered:
    """The transformed image.  `track` is handed the image whose evaluation may be killed.

    Raises the failures of `errors`.
    """
    if len(data) > limits.source_bytes_max:
        raise SourceTooLarge
    source = detect_format(data[: 64 * 1024])
    if source is None or source not in READABLE:
        raise SourceUnsupported(internal=f"format {source}")
    if source == "svg":
        # Loaded with the first drawing: few projects serve any.
        from selfbase.images.logic.svg import clean_svg

        data = clean_svg(data)
        if options.format in (None, "svg"):
            return Rendered("svg", data)
    elif source in options.skip_formats and options.format in (None, source):
        return Rendered(source, data)
    elif options.format == "svg":
        raise SourceUnsupported(internal="only an SVG becomes an SVG")
    vips = load_vips()
    try:
        return _render_pixels(vips, data, source, options, accepted, limits, encoding, track)
    except vips.Error as error:
        raise SourceUnsupported(internal=str(error)[:500]) from None


def _render_pixels(
    vips: Vips,
    data: bytes,
    source: str,
    options: Options,
    accepted: Accepted,
    limits: Limits,
    encoding: Encoding,
    track: Track,
) -> Rendered:
    header = vips.Image.new_from_buffer(data, "", access="sequential")
    frames = _count_frames(header, source, limits)
    target = decide_format(
        source,
        options.format,
        Accepted() if options.keep_format else accepted,
        alpha=bool(header.hasalpha()),
        frames=frames,
        keep=options.keep_format,
    )
    if target not in ANIMATED:
        frames = 1
    _check_source(header, frames, limits, vector=source == "svg")
    if options.trim is not None or options.crop_width or options.crop_height:
        image, plan = _open_part(vips, data, options, limits, track)
        frames = 1
    else:
        image, plan = _open_scaled(vips, data, header, source, frames, options, limits)
    track(image)
    image = _finish(vips, image, plan, frames, options, encoding, target)
    copyright_texts = _find_copyright(header) if options.keep_copyright else {}
    track(image)
    return Rendered(target, _encode(vips, image, target, options, encoding, copyright_texts))


def _page_height(image: Image) -> int:
    if image.get_typeof("page-height"):
        height = int(image.get("page-height"))
        if height > 0 and image.height % height == 0:
            return height
    return int(image.height)


def _count_frames(header: Image, source: str, limits: Limits) -> int:
    if source not in ANIMATED or not header.get_typeof("n-pages"):
        return 1
    return max(1, min(int(header.get("n-pages")), limits.frames_max))


def _check_source(header: Image, frames: int, limits: Limits, *, vector: bool) -> None:
    """A drawing has no resolution of its own: only its result is limited."""
    if vector:
        return
    pixels = int(header.width) * _page_height(header)
    if limits.source_pixels_max and pixels * frames > limits.source_pixels_max:
        raise SourceResolutionTooLarge
    if frames > 1 and limits.frame_pixels_max and pixels > limits.frame_pixels_max:
        raise FrameResolutionTooLarge


def _check_result(plan: Plan, frames: int, limits: Limits) -> None:
    width, height = plan.result
    pixels = max(width * height, plan.width * plan.height) * frames
    if limits.source_pixels_max and pixels > limits.source_pixels_max:
        raise ResultTooLarge


def _turned(width: int, height: int, image: Image, options: Options) -> tuple[int, int]:
    """Sides after the turns of orientation and options."""
    turned = False
    if options.auto_rotate and image.get_typeof("orientation"):
        turned = int(image.get("orientation")) >= 5
    if options.rotate % 180:
        turned = not turned
    return (height, width) if turned else (width, height)


def _open_scaled(
    vips: Vips,
    data: bytes,
    header: Image,
    source: str,
    frames: int,
    options: Options,
    limits: Limits,
) -> tuple[Image, Plan]:
    """Decodes straight to the size needed: JPEG, WebP and SVG are shrunk while they are read."""
    width, height = _turned(header.width, _page_height(header), header, options)
    plan = plan_geometry(width, height, options, side_max=limits.side_max, vector=source == "svg")
    _check_result(plan, frames, limits)
    wanted = (plan.width, plan.height)
    if options.rotate % 180:
        wanted = (plan.height, plan.width)
    image = vips.Image.thumbnail_buffer(
        data,
        wanted[0],
        height=wanted[1],
        size="force",
        no_rotate=not options.auto_rotate,
        option_string=f"[n={frames}]" if frames > 1 else "",
        **({"output_profile": "srgb"} if options.strip_color_profile else {}),
    )
    return _turn(image, frames, options), plan


def _open_part(
    vips: Vips, data: bytes, options: Options, limits: Limits, track: Track
) -> tuple[Image, Plan]:
    """Decodes the whole still image, trims and crops it, then scales what is left."""
    image = vips.Image.new_from_buffer(data, "")
    track(image)
    if options.auto_rotate:
        image = image.autorot()
    image = _turn(image, 1, options)
    if options.trim is not None:
        image = _trim(image, options.trim)
    plan = plan_geometry(image.width, image.height, options, side_max=limits.side_max)
    _check_result(plan, 1, limits)
    if plan.crop is not None:
        gravity = options.crop_gravity or options.gravity
        image = _cut(image, plan.crop, gravity, 1.0)
    image = image.thumbnail_image(
        plan.width,
        height=plan.height,
        size="force",
        no_rotate=True,
        **({"output_profile": "srgb"} if options.strip_color_profile else {}),
    )
    return image, plan


def _turn(image: Image, frames: int, options: Options) -> Image:
    """The turn and mirroring asked for, after the one of the EXIF orientation."""
    if not options.rotate and not options.flip_x and not options.flip_y:
        return image

    def turn(frame: Image) -> Image:
        if options.rotate:
            frame = frame.rot(f"d{options.rotate}")
        if options.flip_x:
            frame = frame.fliphor()
        return frame.flipver() if options.flip_y else frame

    return _each_frame(image.copy_memory(), frames, turn)


def _trim(image: Image, trim: Trim) -> Image:
    flat = image.flatten(background=list(trim.color or _WHITE)) if image.hasalpha() else image
    background = list(trim.color) if trim.color else flat.getpoint(0, 0)
    if len(background) != flat.bands:
        background = background[:1] * flat.bands
    left, top, width, height = flat.find_trim(threshold=trim.threshold, background=background)
    if not width or not height:
        return image
    right, bottom = image.width - left - width, image.height - top - height
    if trim.equal_x:
        left = right = min(left, right)
    if trim.equal_y:
        top = bottom = min(top, bottom)
    return image.crop(left, top, image.width - left - right, image.height - top - bottom)


def _each_frame(image: Image, frames: int, change: Callable[[Image], Image]) -> Image:
    if frames <= 1:
        return change(image)
    height = image.height // frames
    changed = [change(image.crop(0, n * height, image.width, height)) for n in range(frames)]
    vips = load_vips()
    joined = vips.Image.arrayjoin(changed, across=1).copy()
    joined.set_type(vips.GValue.gint_type, "page-height", changed[0].height)
    return joined


def _cut(image: Image, size: tuple[int, int], gravity: Gravity, dpr: float) -> Image:
    if gravity.kind == "sm":
        return image.copy_memory().smartcrop(*size, interesting="attention")
    left, top = place((image.width, image.height), size, gravity, dpr)
    return image.crop(left, top, *size)


def _finish(
    vips: Vips,
    image: Image,
    plan: Plan,
    frames: int,
    options: Options,
    encoding: Encoding,
    target: str,
) -> Image:
    """Everything after scaling: cut, filters, canvas, padding, background, watermark."""
    if image.format != "uchar" or image.interpretation not in ("srgb", "b-w"):
        image = image.colourspace("b-w" if image.interpretation == "grey16" else "srgb")
        image = image.cast("uchar")

    if frames > 1 and (plan.cut or plan.canvas or any(plan.padding) or options.watermark):
        # Frames lie below each other in one strip: each of them is read more than once from here.
        image = image.copy_memory()
    if plan.cut is not None:
        cut = plan.cut
        image = _each_frame(image, frames, lambda f: _cut(f, cut, options.gravity, plan.dpr))
    image = _filter(image, frames, options, plan.dpr)
    if plan.canvas is not None or any(plan.padding):
        image = _each_frame(image, frames, lambda f: _extend(f, plan, options, target))
    if image.hasalpha() and (options.background is not None or target not in WITH_ALPHA):
        image = image.flatten(background=list(options.background or _WHITE))
    if options.watermark is not None and encoding.watermark is not None:
        mark = _open_watermark(vips, encoding, options.watermark, image, frames)
        wanted = options.watermark
        image = _each_frame(image, frames, lambda f: _lay_over(f, mark, wanted, plan.dpr, target))
    return image


def _filter(image: Image, frames: int, options: Options, dpr: float) -> Image:
    if options.blur:
        image = _each_frame(image, frames, lambda f: f.gaussblur(options.blur * dpr))
    if options.sharpen:
        image = image.sharpen(sigma=options.sharpen * dpr)
    if options.pixelate > 1:
        size = min(max(1, round(options.pixelate * dpr)), image.width)
        image = _each_frame(image, frames, lambda f: _pixelate(f, min(size, f.height)))
    return image


def _pixelate(image: Image, size: int) -> Image:
    width, height = image.width, image.height
    wide, high = -(-width // size) * size, -(-height // size) * size
    padded = image.embed(0, 0, wide, high, extend="copy")
    return padded.shrink(size, size).zoom(size, size).crop(0, 0, width, height)


def _extend(image: Image, plan: Plan, options: Options, target: str) -> Image:
    """Lays the frame on the larger canvas and adds the padding."""
    inner = (image.width, image.height)
    canvas = plan.canvas or inner
    left, top = place(canvas, inner, plan.canvas_gravity, plan.dpr)
    pad_top, _, _, pad_left = plan.padding
    width, height = plan.result
    if image.bands < 3:
        image = image.colourspace("srgb")
    if options.background is None and target in WITH_ALPHA:
        image = image if image.hasalpha() else image.addalpha()
        background = [0.0] * image.bands
    else:
        background = [*map(float, options.background or _WHITE)]
        background += [255.0] * (image.bands - 3)
    return image.embed(
        left + pad_left, top + pad_top, width, height, extend="background", background=background
    )


def _open_watermark(
    vips: Vips, encoding: Encoding, wanted: Watermark, image: Image, frames: int
) -> Image:
    if encoding.watermark is None:
        raise SourceUnsupported(internal="no watermark is configured")
    mark = vips.Image.new_from_buffer(encoding.watermark, "")
    if wanted.scale:
        width = max(1, round(image.width * wanted.scale))
        height = max(1, round(image.height // frames * wanted.scale))
        mark = mark.thumbnail_image(width, height=height)
    mark = mark.colourspace("srgb").cast("uchar")
    mark = mark if mark.hasalpha() else mark.addalpha()
    opacity = wanted.opacity * encoding.watermark_opacity
    return (mark * [1, 1, 1, opacity]).cast("uchar").copy_memory()


def _lay_over(image: Image, mark: Image, wanted: Watermark, dpr: float, target: str) -> Image:
    if wanted.position == "re":
        across, down = -(-image.width // mark.width), -(-image.height // mark.height)
        mark = mark.replicate(across, down).crop(0, 0, image.width, image.height)
        left = top = 0
    else:
        gravity = Gravity(wanted.position, wanted.x, wanted.y)
        left, top = place(
            (image.width, image.height), (mark.width, mark.height), gravity, dpr, over=True
        )
    laid = image.colourspace("srgb").composite2(mark, "over", x=left, y=top).cast("uchar")
    if image.hasalpha() and target in WITH_ALPHA:
        return laid
    return laid.flatten() if laid.hasalpha() else laid


def _find_copyright(header: Image) -> dict[str, str]:
    return {name: str(header.get(name)) for name in _COPYRIGHT if header.get_typeof(name)}


def _encode(
    vips: Vips,
    image: Image,
    target: str,
    options: Options,
    encoding: Encoding,
    copyright_texts: Mapping[str, str],
) -> bytes:
    _check_side(image, target)
    keep = "all"
    if options.strip_metadata:
        keep = "none" if options.strip_color_profile else "icc"
        if copyright_texts:
            image = _strip_but(vips, image, copyright_texts)
            keep = "exif" if options.strip_color_profile else "exif,icc"
    quality = (
        options.quality
        or dict(options.format_quality).get(target)
        or encoding.format_quality.get(target)
        or encoding.quality
    )
    content = _save(image, target, quality, keep, encoding)
    if not options.max_bytes or target not in ("jpeg", "webp", "avif", "tiff"):
        return content
    image = image.copy_memory()
    while len(content) > options.max_bytes and quality > _QUALITY_LOW:
        over = len(content) / options.max_bytes
        quality = max(_QUALITY_LOW, min(quality - 5, int(quality / over**0.5)))
        content = _save(image, target, quality, keep, encoding)
    return content


def _check_side(image: Image, target: str) -> None:
    longest = max(image.width, _page_height(image))
    if (target == "webp" and longest > _WEBP_SIDE_MAX) or (
        target == "gif" and longest > _GIF_SIDE_MAX
    ):
        raise ResultTooLarge


def _strip_but(vips: Vips, image: Image, texts: Mapping[str, str]) -> Image:
    image = image.copy()
    for name in image.get_fields():
        if name.startswith(("exif-", "xmp-", "iptc-")) or name == "orientation":
            image.remove(name)
    for name, text in texts.items():
        image.set_type(vips.GValue.gstr_type, name, text)
    return image


def _save(image: Image, target: str, quality: int, keep: str, encoding: Encoding) -> bytes:
    content: bytes
    if target == "jpeg":
        content = image.jpegsave_buffer(Q=quality, optimize_coding=True, keep=keep)
    elif target == "webp":
        content = image.webpsave_buffer(Q=quality, keep=keep)
    elif target == "avif":
        effort = max(0, min(9, 9 - encoding.avif_speed))
        content = image.heifsave_buffer(
            Q=quality, compression="av1", effort=effort, keep=keep, encoder="auto"
        )
    elif target == "png":
        content = image.pngsave_buffer(keep=keep)
    elif target == "gif":
        content = image.gifsave_buffer(keep=keep)
    elif target in WRITABLE:
        content = image.tiffsave_buffer(Q=quality, compression="jpeg", keep=keep)
    else:
        raise SourceUnsupported(internal=f"{target} is never written")
    return content
