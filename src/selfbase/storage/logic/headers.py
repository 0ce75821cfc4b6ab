"""Header values that clients store with an object and get back on download."""

from __future__ import annotations

import re
from email.utils import format_datetime
from urllib.parse import quote

from selfbase.http.headers import Headers
from selfbase.storage.errors import InvalidContentType, InvalidHeader, InvalidXRobotsTag
from selfbase.storage.types import StoredObject

_ROBOTS_PLAIN = frozenset(
    {
        "all",
        "index",
        "follow",
        "noindex",
        "nofollow",
        "none",
        "nosnippet",
        "indexifembedded",
        "notranslate",
        "noimageindex",
        "noarchive",
        "nocache",
        "noai",
        "noimageai",
        "nositelinkssearchbox",
    }
)
_ROBOTS_VALUED = {
    "max-snippet": re.compile(r"-?\d+"),
    "max-image-preview": re.compile(r"none|standard|large"),
    "max-video-preview": re.compile(r"-?\d+"),
    "unavailable_after": re.compile(r".+"),
}
_AGENT = re.compile(r"[A-Za-z][A-Za-z0-9_*-]*")
# Types a browser would run in the page's own name.
_ACTIVE = re.compile(
    r"\s*(text/html|application/xhtml\+xml|image/svg|text/xml|application/xml|[^;]*\+xml"
    r"|text/xsl|application/mathml)",
    re.IGNORECASE,
)
# RFC 9110 section 8.3.1, without a look at parameters.
_MEDIA_TYPE = re.compile(r"\s*[\w!#$%&'*+.^`|~-]+/[\w!#$%&'*+.^`|~-]+\s*(;|$)", re.ASCII)
_HTML = re.compile(r"\s*text/html", re.IGNORECASE)
SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def is_header_value(value: str) -> bool:
    """Whether a header can carry it."""
    return not any(
        ord(char) > 255 or (ord(char) < 32 and char != "\t") or ord(char) == 127 for char in value
    )


def check_header_value(name: str, value: str) -> str:
    """The value.  Raises InvalidHeader for one that no header could carry."""
    if not is_header_value(value):
        shown = value[:50].encode("ascii", "replace").decode()
        raise InvalidHeader(f'Invalid character in response header "{name}": {shown}')
    return value


def check_content_type(value: str) -> str:
    """The value of a request's Content-Type.  Raises InvalidHeader, InvalidContentType."""
    if not _MEDIA_TYPE.match(check_header_value("content-type", value)):
        raise InvalidContentType
    return value


def check_robots_tag(value: str) -> str:
    """The value of `X-Robots-Tag`.  Raises InvalidXRobotsTag."""
    if not value.strip():
        raise InvalidXRobotsTag("Invalid X-Robots-Tag header: empty value")
    for index, part in enumerate(_split_robots(value)):
        rule = part.strip()
        name, colon, rest = rule.partition(":")
        if colon and name.strip().lower() not in _ROBOTS_VALUED:
            if index and not _AGENT.fullmatch(name.strip()):
                raise InvalidXRobotsTag(
                    f"Invalid X-Robots-Tag header: invalid directive {rule[:50]}"
                )
            # A rule for one crawler: "googlebot: noindex".
            rule = rest.strip()
            name, colon, rest = rule.partition(":")
        known = name.strip().lower()
        if colon:
            pattern = _ROBOTS_VALUED.get(known)
            if pattern is None or not pattern.fullmatch(rest.strip()):
                raise InvalidXRobotsTag(
                    f"Invalid X-Robots-Tag header: invalid value for {known[:50]}"
                )
        elif known not in _ROBOTS_PLAIN:
            raise InvalidXRobotsTag(
                f'Invalid X-Robots-Tag header: Invalid X-Robots-Tag rule: "{rule[:50]}"'
            )
    return check_header_value("x-robots-tag", value)


def _split_robots(value: str) -> list[str]:
    """Rules are separated by commas, but the date of `unavailable_after` may hold one."""
    parts: list[str] = []
    for part in value.split(","):
        if parts and "unavailable_after" in parts[-1].lower() and re.match(r"\s*\d", part):
            parts[-1] += "," + part
        else:
            parts.append(part)
    return parts


def render_content_type(mime_type: str, *, html_as_text: bool) -> str:
    """The type to send: HTML as plain text, so that nobody hosts pages in a bucket."""
    if html_as_text and _HTML.match(mime_type):
        return _HTML.sub("text/plain", mime_type, count=1)
    return mime_type


def is_active(mime_type: str) -> bool:
    """Whether a browser would run this as a document of its own."""
    return _ACTIVE.match(mime_type) is not None


def render_disposition(download: str) -> str:
    """Content-Disposition for `?download` and `?download=name`."""
    if not download:
        return "attachment;"
    encoded = quote(download, safe="!'()*-._~")
    return f"attachment; filename={encoded}; filename*=UTF-8''{encoded}"


def render_cache_control(
    found: StoredObject, headers: Headers, etag_header: str, s_maxage: int
) -> str:
    """Cache-Control as stored; an edge that revalidates is told how long it may go on."""
    parts = [found.cache_control]
    names = [name.strip().lower() for name in etag_header.split(",")]
    given = next((headers.get(name) for name in names if headers.get(name)), "")
    if given:
        if s_maxage > 0:
            parts.append(f"s-maxage={s_maxage}")
        if given != found.etag:
            parts.append("stale-while-revalidate=30")
    return ", ".join(part for part in parts if part)


def render_last_modified(found: StoredObject) -> str:
    return format_datetime(found.modified_at, usegmt=True)
