"""Reading XML from strangers: no entities, no network, no document types, bounded size."""

from __future__ import annotations

from typing import Any, Final

from lxml import etree

SAML: Final = "urn:oasis:names:tc:SAML:2.0:assertion"
SAMLP: Final = "urn:oasis:names:tc:SAML:2.0:protocol"
MD: Final = "urn:oasis:names:tc:SAML:2.0:metadata"
DS: Final = "http://www.w3.org/2000/09/xmldsig#"
XENC: Final = "http://www.w3.org/2001/04/xmlenc#"
NAMESPACES: Final = {"saml": SAML, "samlp": SAMLP, "md": MD, "ds": DS, "xenc": XENC}

XML_BYTES_MAX = 1024 * 1024

Element = Any  # lxml has no types of its own


class XmlInvalid(Exception):
    """Not well-formed XML, or XML with parts that have no business in SAML."""


def parse_xml(raw: bytes) -> Element:
    """The root element.  Document types are refused, so entities cannot exist; comments and
    processing instructions are dropped, so they cannot split a text.  Raises XmlInvalid."""
    if len(raw) > XML_BYTES_MAX:
        raise XmlInvalid("the XML is too large")
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(raw, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise XmlInvalid("not well-formed XML") from None
    if root.getroottree().docinfo.doctype:
        raise XmlInvalid("document types are not allowed")
    return root


def require_unique_ids(root: Element) -> None:
    """Two elements of one ID would let a signature speak of another than we read."""
    seen: set[str] = set()
    for element in root.iter():
        for name, value in element.attrib.items():
            if etree.QName(name).localname.lower() == "id":
                if value in seen:
                    raise XmlInvalid("two elements share an ID")
                seen.add(value)


def child(element: Element, path: str) -> Element | None:
    """The only child of a path such as `saml:Issuer`, or None.  Several are an error, since
    readers would disagree about which one counts."""
    found = element.findall(path, NAMESPACES)
    if len(found) > 1:
        raise XmlInvalid(f"more than one {path}")
    return found[0] if found else None


def children(element: Element, path: str) -> list[Element]:
    return list(element.findall(path, NAMESPACES))


def text_of(element: Element | None) -> str:
    """All text inside, also around nested elements, without surrounding blanks."""
    return "" if element is None else "".join(element.itertext()).strip()


def tag(namespace: str, name: str) -> str:
    return f"{{{namespace}}}{name}"
