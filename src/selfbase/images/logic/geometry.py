"""How large, which part, where: sizes and boxes of a transformation, computed before any pixel.

All sizes are those of one frame, after the turn its EXIF orientation and the options ask for.
Source: reference/storage.md section 6.2; imgproxy processing pipeline.
"""

from __future__ import annotations

from dataclasses import dataclass

from selfbase.images.logic.options import Gravity, Options


@dataclass(frozen=True, slots=True)
class Box:
    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Plan:
    """`crop` comes before scaling to (`width`, `height`), `cut` after it, then `canvas` (the image
    centred by the gravity of extend on a larger one), then padding (top, right, bottom, left)."""

    crop: tuple[int, int] | None
    width: int
    height: int
    cut: tuple[int, int] | None
    canvas: tuple[int, int] | None
    canvas_gravity: Gravity
    padding: tuple[int, int, int, int]
    dpr: float

    @property
    def result(self) -> tuple[int, int]:
        """The sides of the finished image."""
        width, height = self.canvas or self.cut or (self.width, self.height)
        top, right, bottom, left = self.padding
        return width + left + right, height + top + bottom


def plan_geometry(
    source_width: int, source_height: int, options: Options, *, side_max: int, vector: bool = False
) -> Plan:
    """Never enlarges unless told; a result longer than `side_max` is scaled down whole."""
    crop = _crop_size(source_width, source_height, options)
    width, height = crop or (source_width, source_height)
    scale_x, scale_y, dpr = _scales(width, height, options, free=vector)
    plan = _lay_out(width, height, crop, scale_x, scale_y, dpr, options)
    longest = max(plan.result)
    if side_max and longest > side_max:
        down = side_max / longest
        plan = _lay_out(width, height, crop, scale_x * down, scale_y * down, dpr * down, options)
    return plan


def _crop_size(width: int, height: int, options: Options) -> tuple[int, int] | None:
    wanted_width = _crop_side(width, options.crop_width)
    wanted_height = _crop_side(height, options.crop_height)
    if (wanted_width, wanted_height) == (width, height):
        return None
    return wanted_width, wanted_height


def _crop_side(side: int, wanted: float) -> int:
    if wanted <= 0:
        return side
    return min(side, max(1, round(wanted if wanted >= 1 else side * wanted)))


def _scales(width: int, height: int, options: Options, *, free: bool) -> tuple[float, float, float]:
    """Factors for both axes and the device pixel ratio that is really reached."""
    scale_x = options.width / width if options.width else 1.0
    scale_y = options.height / height if options.height else 1.0
    resizing = options.resizing
    if resizing == "auto":
        same = (width >= height) == ((options.width or width) >= (options.height or height))
        resizing = "fill" if same else "fit"
    if resizing != "force":
        if not options.width:
            scale_x = scale_y
        elif not options.height:
            scale_y = scale_x
        elif resizing == "fit":
            scale_x = scale_y = min(scale_x, scale_y)
        else:
            scale_x = scale_y = max(scale_x, scale_y)
    scale_x, scale_y = scale_x * options.zoom_x, scale_y * options.zoom_y
    dpr = options.dpr
    if not options.enlarge and not free:
        # Both axes shrink together, so that the ratio asked for survives the limit.
        over = max(scale_x, scale_y)
        if over > 1:
            scale_x, scale_y = scale_x / over, scale_y / over
            if options.extend is None:
                dpr *= over
        dpr = min(dpr, 1 / max(scale_x, scale_y))
    if options.min_width and scale_x * width < options.min_width:
        grow = options.min_width / (scale_x * width)
        scale_x, scale_y = scale_x * grow, scale_y * grow
    if options.min_height and scale_y * height < options.min_height:
        grow = options.min_height / (scale_y * height)
        scale_x, scale_y = scale_x * grow, scale_y * grow
    return scale_x * dpr, scale_y * dpr, dpr


def _lay_out(
    width: int,
    height: int,
    crop: tuple[int, int] | None,
    scale_x: float,
    scale_y: float,
    dpr: float,
    options: Options,
) -> Plan:
    scaled = (max(1, round(width * scale_x)), max(1, round(height * scale_y)))
    # A side asked for stays one, however far it is scaled down: 0 would mean "any length".
    target = (
        max(1, round(options.width * dpr * options.zoom_x)) if options.width else 0,
        max(1, round(options.height * dpr * options.zoom_y)) if options.height else 0,
    )
    wanted = target
    if options.resizing == "fill-down" and not options.enlarge and all(target):
        wanted = _shrink_to_ratio(scaled, target)
    cut = (min(wanted[0] or scaled[0], scaled[0]), min(wanted[1] or scaled[1], scaled[1]))
    canvas, gravity = _canvas(cut, target, options)
    top, right, bottom, left = (round(side * dpr) for side in options.padding)
    return Plan(
        crop,
        *scaled,
        cut if cut != scaled else None,
        canvas,
        gravity,
        (top, right, bottom, left),
        dpr,
    )


def _shrink_to_ratio(scaled: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """The largest box of the target's ratio inside `scaled`, when the target itself is larger."""
    over = max(target[0] / scaled[0], target[1] / scaled[1])
    if over <= 1:
        return target
    return max(1, round(target[0] / over)), max(1, round(target[1] / over))


def _canvas(
    cut: tuple[int, int], target: tuple[int, int], options: Options
) -> tuple[tuple[int, int] | None, Gravity]:
    if options.extend is not None:
        canvas = (max(cut[0], target[0]), max(cut[1], target[1]))
        return (canvas if canvas != cut else None), options.extend
    if options.extend_ratio is not None and all(target):
        ratio = target[0] / target[1]
        canvas = (max(cut[0], round(cut[1] * ratio)), max(cut[1], round(cut[0] / ratio)))
        return (canvas if canvas != cut else None), options.extend_ratio
    return None, Gravity()


def place(
    outer: tuple[int, int],
    inner: tuple[int, int],
    gravity: Gravity,
    dpr: float,
    *,
    over: bool = False,
) -> tuple[int, int]:
    """Left and top of `inner` within `outer`.  `over` lets it stick out as long as it shows."""
    (width, height), (inner_width, inner_height) = outer, inner
    if gravity.kind == "fp":
        left = round(width * gravity.x) - inner_width // 2
        top = round(height * gravity.y) - inner_height // 2
    else:
        shift_x = round(gravity.x * dpr) if abs(gravity.x) >= 1 else round(width * gravity.x)
        shift_y = round(gravity.y * dpr) if abs(gravity.y) >= 1 else round(height * gravity.y)
        left = (width - inner_width + 1) // 2 + shift_x
        top = (height - inner_height + 1) // 2 + shift_y
        if "we" in gravity.kind:
            left = shift_x
        elif "ea" in gravity.kind:
            left = width - inner_width - shift_x
        if gravity.kind.startswith("no"):
            top = shift_y
        elif gravity.kind.startswith("so"):
            top = height - inner_height - shift_y
    if over:
        return (
            max(1 - inner_width, min(left, width - 1)),
            max(1 - inner_height, min(top, height - 1)),
        )
    return max(0, min(left, width - inner_width)), max(0, min(top, height - inner_height))
