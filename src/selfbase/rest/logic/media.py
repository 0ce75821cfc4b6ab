"""Media types: reading `Accept` and `Content-Type`, and naming what is sent.

Source: RFC 9110 section 12.5.1; reference/rest.md section 2.7.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_TOKEN = re.compile(r"^([A-Za-z0-9.*]+)/([A-Za-z0-9.*+-]+)")
_PARAMETER = re.compile(r'\s*;\s*([A-Za-z0-9-]+)\s*=\s*(?:"([^"]*)"|([A-Za-z0-9|.-]+))')
_ACCEPT_ITEM = re.compile(r'(?:[^,"]|"[^"]*")+')
_QUALITY = re.compile(r";\s*q\s*=\s*([0-9.]+)", re.IGNORECASE)
_PLAN_OPTIONS = ("analyze", "verbose", "settings", "buffers", "wal")
_CHARSET = frozenset(
    {
        "application/json",
        "application/geo+json",
        "text/csv",
        "text/plain",
        "text/xml",
        "application/openapi+json",
        "application/x-www-form-urlencoded",
    }
)


class MediaType(NamedTuple):
    """`kind` is any, array, object or plan for the types with a meaning of their own, else plain.
    `stripped` leaves nulls out.  `plan_for` and `plan_options` belong to execution plans."""

    text: str
    kind: str = "plain"
    stripped: bool = False
    plan_for: MediaType | None = None
    plan_options: tuple[str, ...] = ()

    @property
    def content_type(self) -> str:
        named = self.kind != "plain" or self.text in _CHARSET
        return f"{self.text}; charset=utf-8" if named and self.kind != "any" else self.text


JSON = MediaType("application/json")
ANY = MediaType("*/*", "any")
CSV = MediaType("text/csv")
GEOJSON = MediaType("application/geo+json")
OPENAPI = MediaType("application/openapi+json")
OCTETS = MediaType("application/octet-stream")
PLAIN = MediaType("text/plain")
XML = MediaType("text/xml")
FORM = MediaType("application/x-www-form-urlencoded")
_PLAIN_TYPES = {m.text: m for m in (JSON, CSV, GEOJSON, OPENAPI, OCTETS, PLAIN, XML, FORM, ANY)}


@lru_cache(maxsize=512)
def parse_media_type(text: str) -> MediaType:
    """One media type with its parameters; what cannot be read keeps its own text."""
    found = _TOKEN.match(text.strip())
    if found is None:
        return MediaType(text)
    name = found[0].lower()
    plain = _PLAIN_TYPES.get(name)
    if plain is not None:
        return plain
    parameters = {
        key.lower(): quoted or bare for key, quoted, bare in _PARAMETER.findall(text.strip())
    }
    stripped = parameters.get("nulls") == "stripped"
    suffix = ";nulls=stripped" if stripped else ""
    if name in ("application/vnd.pgrst.object", "application/vnd.pgrst.object+json"):
        return MediaType("application/vnd.pgrst.object+json" + suffix, "object", stripped)
    if name in ("application/vnd.pgrst.array", "application/vnd.pgrst.array+json"):
        return (
            MediaType("application/vnd.pgrst.array+json" + suffix, "array", True)
            if stripped
            else JSON
        )
    if name.startswith("application/vnd.pgrst.plan") and name[26:] in ("", "+text", "+json"):
        return _make_plan_type(name[26:] or "+text", parameters)
    return MediaType(text)


def _make_plan_type(suffix: str, parameters: dict[str, str]) -> MediaType:
    inner = parse_media_type(parameters.get("for", "application/json"))
    asked = parameters.get("options", "").split("|")
    options = tuple(option for option in _PLAN_OPTIONS if option in asked)
    text = f'application/vnd.pgrst.plan{suffix}; for="{inner.text}"'
    if options:
        text += "; options=" + "|".join(options)
    return MediaType(text, "plan", plan_for=inner, plan_options=options)


@lru_cache(maxsize=512)
def parse_accept(header: str) -> tuple[MediaType, ...]:
    """The accepted types, best first; equal ones in the order given.  Empty means anything."""
    ranked: list[tuple[float, int, MediaType]] = []
    for position, match in enumerate(_ACCEPT_ITEM.finditer(header)):
        item = match[0].strip()
        if not item:
            continue
        quality = _QUALITY.search(item)
        try:
            weight = float(quality[1]) if quality else 1.0
        except ValueError:
            weight = 0.0
        if quality:
            item = item[: quality.start()] + item[quality.end() :]
        ranked.append((-weight, position, parse_media_type(item.strip())))
    ranked.sort(key=lambda entry: (entry[0], entry[1]))
    return tuple(entry[2] for entry in ranked) or (ANY,)
