"""Makes an SVG safe to hand to a browser: no scripts, no handlers, no outside references.

What is left out: script-like elements and embedded documents, `on…` attributes, links that are
not fragments or embedded raster images, style sheets that import or point outside, processing
instructions and the document type with its entities.
Source: W3C SVG 2, chapter on scripting and linking.
"""

from __future__ import annotations

import re

from lxml import etree

from selfbase.images.errors import SourceUnsupported

SVG_NAMESPACE = "http://www.w3.org/2000/svg"
_FORBIDDEN = frozenset(
    {
        "script",
        "foreignobject",
        "iframe",
        "embed",
        "object",
        "handler",
        "listener",
        "audio",
        "video",
    }
)
# Animation may write an attribute later: one that names a link or a handler is dropped.
_ANIMATION = frozenset({"set", "animate", "animatetransform", "animatemotion"})
_LINKS = frozenset({"href", "src", "action", "formaction", "data", "from", "to", "values", "by"})
_SAFE_LINK = re.compile(r"^\s*(?:#|data:image/(?:png|jpe?g|gif|webp|avif);base64,)", re.IGNORECASE)
_UNSAFE_CSS = re.compile(
    r"@import|expression\s*\(|javascript:"
    r"|url\s*\(\s*(?!['\"]?(?:#|data:image/(?:png|jpe?g|gif|webp);))",
    re.IGNORECASE,
)
_CSS_ESCAPE = re.compile(r"\\|/\*")
_DEPTH_MAX = 200


def clean_svg(data: bytes) -> bytes:
    """The same drawing without anything that runs or loads.  Raises SourceUnsupported."""
    try:
        root = etree.fromstring(data, _make_parser(recover=False))
    except etree.XMLSyntaxError as error:
        # Attributes without a space between them are written by hand often enough to be read as far
        # as they go. What is sent is made from the tree, so that nothing slips through.
        if error.code != etree.ErrorTypes.ERR_SPACE_REQUIRED:
            raise SourceUnsupported(internal="the SVG is not well-formed") from None
        root = etree.fromstring(data, _make_parser(recover=True))
    if root is None:
        raise SourceUnsupported(internal="the SVG is empty")
    if etree.QName(root).localname != "svg":
        raise SourceUnsupported(internal="the root element is not svg")
    for element in list(root.iter()):
        if not isinstance(element.tag, str) or _is_forbidden(element):
            _drop(element)
        else:
            _clean_attributes(element)
    cleaned: bytes = etree.tostring(root, encoding="utf-8", xml_declaration=True)
    return cleaned


def _make_parser(*, recover: bool) -> etree.XMLParser:
    return etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_pis=True,
        remove_comments=True, recover=recover,
    )  # fmt: skip


def _is_forbidden(element: etree._Element) -> bool:
    name = etree.QName(element).localname.lower()
    if name in _FORBIDDEN:
        return True
    if name == "style":
        return _is_unsafe_css("".join(element.itertext()))
    if name in _ANIMATION:
        target = element.get("attributeName", "").lower().rpartition(":")[2]
        return target.startswith("on") or target in _LINKS
    return False


def _clean_attributes(element: etree._Element) -> None:
    for key, value in list(element.attrib.items()):
        name = etree.QName(key).localname.lower()
        unsafe = (
            name.startswith("on")
            or (
                name in ("href", "src", "action", "formaction", "data")
                and not _SAFE_LINK.match(value)
            )
            or (("url" in value.lower() or name == "style") and _is_unsafe_css(value))
            or "javascript:" in re.sub(r"\s", "", value).lower()
        )
        if unsafe:
            del element.attrib[key]


def _is_unsafe_css(text: str) -> bool:
    # An escape or a comment could hide any of the words looked for.
    return bool(_UNSAFE_CSS.search(text) or _CSS_ESCAPE.search(text))


def _drop(element: etree._Element) -> None:
    parent = element.getparent()
    if parent is None:
        raise SourceUnsupported(internal="the root element is not allowed")
    parent.remove(element)
