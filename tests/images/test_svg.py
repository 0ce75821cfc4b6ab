"""Cleaned drawings run nothing and load nothing."""

from __future__ import annotations

import pytest
from lxml import etree

from selfbase.images.errors import SourceUnsupported
from selfbase.images.logic.svg import clean_svg

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'

ATTACKS = [
    "<script>alert(1)</script>",
    "<SCRIPT>alert(1)</SCRIPT>",
    '<rect onload="alert(1)"/>',
    '<rect OnClick="alert(1)"/>',
    '<a href="javascript:alert(1)"><text>x</text></a>',
    '<a xlink:href=" java\nscript:alert(1)"><text>x</text></a>',
    '<use href="https://evil.test/x.svg#alert"/>',
    '<image href="https://evil.test/alert.png"/>',
    '<image href="data:image/svg+xml;base64,alert"/>',
    '<foreignObject><body xmlns="http://www.w3.org/1999/xhtml">alert</body></foreignObject>',
    '<style>@import url("https://evil.test/alert.css");</style>',
    "<style>rect { fill: url(https://evil.test/alert) }</style>",
    "<style>rect { fill: u\\72l(https://evil.test/alert) }</style>",
    '<rect style="background: url(//evil.test/alert)"/>',
    '<rect fill="url(https://evil.test/alert)"/>',
    '<set attributeName="onload" to="alert(1)"/>',
    '<animate attributeName="href" values="javascript:alert(1)"/>',
    '<iframe src="alert"/>',
    '<?xml-stylesheet href="https://evil.test/alert.css"?><rect/>',
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_left_out(attack: str) -> None:
    cleaned = clean_svg(f"{HEAD}{attack}<circle r='5'/></svg>".encode())
    assert b"alert" not in cleaned
    assert b"evil" not in cleaned
    assert b"circle" in cleaned


def test_harmless_drawings_stay_as_they_are() -> None:
    drawing = (
        f'{HEAD}<defs><linearGradient id="g"><stop offset="0"/></linearGradient></defs>'
        '<style>rect { fill: url(#g) }</style><rect fill="url(#g)" style="stroke: red"/>'
        '<use href="#g"/><image href="data:image/png;base64,AAAA"/><text>hello</text></svg>'
    )
    cleaned = clean_svg(drawing.encode()).decode()
    for kept in ("url(#g)", 'href="#g"', "data:image/png;base64,AAAA", "stroke: red", "hello"):
        assert kept in cleaned


def test_attributes_without_a_space_between_them_do_not_spoil_the_rest() -> None:
    data = f'{HEAD}<rect width="1"onload="x()"/><script>x()</script><circle r="2"/></svg>'
    root = etree.fromstring(clean_svg(data.encode()))
    assert [etree.QName(element).localname for element in root] == ["rect", "circle"]
    assert [dict(element.attrib) for element in root] == [{"width": "1"}, {"r": "2"}]


@pytest.mark.parametrize("data", [b"<svg", b"<html/>", b"<script/>"])
def test_what_is_no_drawing_is_refused(data: bytes) -> None:
    with pytest.raises(SourceUnsupported):
        clean_svg(data)
