"""XML as S3 speaks it: answers from nested values, requests without entities or surprises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from selfbase.storage.s3.errors import MalformedXml

if TYPE_CHECKING:
    # Loaded with the first document that is read: most projects never get one.
    from lxml import etree

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_HEAD = b'<?xml version="1.0" encoding="UTF-8"?>\n'
# A sequence repeats its element; None leaves it out.
Value = str | int | bool | None | Mapping[str, "Value"] | Sequence["Value"]


def render_xml(root: str, value: Value, *, namespace: bool = True) -> bytes:
    """A document.  Characters that XML cannot hold become question marks: no parser would take
    them, and clients that need such keys ask for `encoding-type=url`."""
    pieces: list[str] = []
    attributes = f' xmlns="{NAMESPACE}"' if namespace else ""
    _render(root, value, attributes, pieces)
    return _HEAD + "".join(pieces).encode("utf-8", "replace")


def _render(name: str, value: Value, attributes: str, pieces: list[str]) -> None:
    if value is None:
        return
    if isinstance(value, Mapping):
        pieces.append(f"<{name}{attributes}>")
        for key, item in value.items():
            _render(key, item, "", pieces)
        pieces.append(f"</{name}>")
    elif isinstance(value, (str, int)):
        text = str(value).lower() if isinstance(value, bool) else str(value)
        pieces.append(f"<{name}{attributes}>{escape(_clean(text))}</{name}>")
    else:
        for item in value:
            _render(name, item, attributes, pieces)


def _clean(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        c if c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff"
        # A carriage return survives parsers only as a reference, which escape would break.
        else c if c in "\t\n" else "?"
        for c in text
    )  # fmt: skip


def parse_xml(data: bytes, root: str) -> etree._Element:
    """The root element, its tag names without namespace.  Raises MalformedXml.

    Document types are refused, so that no entity can be declared.
    """
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True,
        remove_pis=True, huge_tree=False,
    )  # fmt: skip
    try:
        element = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise MalformedXml from None
    if element.getroottree().docinfo.doctype or name_of(element) != root:
        raise MalformedXml
    return element


def name_of(element: etree._Element) -> str:
    """The tag without its namespace."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def children(element: etree._Element, name: str) -> list[etree._Element]:
    """The direct children of that name."""
    return [child for child in element if name_of(child) == name]


def text_of(element: etree._Element, name: str) -> str | None:
    """The text of the only child of that name, or None.  Raises MalformedXml for two of them."""
    found = children(element, name)
    if len(found) > 1:
        raise MalformedXml
    return (found[0].text or "") if found else None
