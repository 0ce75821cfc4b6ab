"""Promises of the geometry that hold for every image and every option."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from selfbase.images.logic.geometry import place, plan_geometry
from selfbase.images.logic.options import Gravity, Options

SIDES = st.integers(1, 5000)
ASKED = st.integers(0, 3000)
RESIZING = st.sampled_from(["fit", "fill", "fill-down", "force", "auto"])


@st.composite
def options(draw: st.DrawFn) -> Options:
    return Options(
        resizing=draw(RESIZING),
        width=draw(ASKED),
        height=draw(ASKED),
        dpr=draw(st.sampled_from([0.5, 1.0, 2.0, 3.0])),
        crop_width=draw(st.sampled_from([0.0, 0.3, 1.0, 50.0, 9000.0])),
        crop_height=draw(st.sampled_from([0.0, 0.3, 1.0, 50.0, 9000.0])),
    )


@given(SIDES, SIDES, options())
def test_nothing_is_enlarged_unasked(width: int, height: int, wanted: Options) -> None:
    plan = plan_geometry(width, height, wanted, side_max=0)
    before = plan.crop or (width, height)
    assert 1 <= plan.width <= before[0]
    assert 1 <= plan.height <= before[1]


@example(1, 2734, Options(resizing="fill-down", width=2746, height=1, crop_height=0.3))
@given(SIDES, SIDES, options())
def test_results_fit_the_box_and_the_limit(width: int, height: int, wanted: Options) -> None:
    wanted = replace(wanted, dpr=1.0, enlarge=True)
    result = plan_geometry(width, height, wanted, side_max=1000).result
    assert min(result) >= 1
    assert max(result) <= 1001
    if wanted.width:
        assert result[0] <= wanted.width + 1
    if wanted.height:
        assert result[1] <= wanted.height + 1


@given(SIDES, SIDES, st.integers(1, 3000), st.integers(1, 3000))
def test_fit_keeps_the_ratio(width: int, height: int, box_width: int, box_height: int) -> None:
    plan = plan_geometry(width, height, Options(width=box_width, height=box_height), side_max=0)
    scale = min(1.0, box_width / width, box_height / height)
    assert abs(plan.width - width * scale) <= 1
    assert abs(plan.height - height * scale) <= 1
    assert plan.cut is None


@given(
    SIDES,
    SIDES,
    st.sampled_from(["no", "so", "ea", "we", "noea", "nowe", "soea", "sowe", "ce", "fp"]),
    st.floats(-2000, 2000),
    st.floats(-2000, 2000),
    st.data(),
)
def test_a_cut_never_leaves_the_image(
    width: int, height: int, kind: str, x: float, y: float, data: st.DataObject
) -> None:
    inner = (data.draw(st.integers(1, width)), data.draw(st.integers(1, height)))
    left, top = place((width, height), inner, Gravity(kind, x, y), 1.0)
    assert 0 <= left <= width - inner[0]
    assert 0 <= top <= height - inner[1]
