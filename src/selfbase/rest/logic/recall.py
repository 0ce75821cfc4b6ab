"""Reads whose like was answered before, found by their text alone.

Most requests of a program differ from earlier ones in an operand only: `id=eq.7` after `id=eq.3`.
The text without such operands leads straight to what the stages parse and plan made of the first
of its kind.  There is no second grammar here: a kind is remembered only when the first one, scanned
once more with other operands, differs in exactly these.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from selfbase.http.headers import Headers
from selfbase.http.values import Request
from selfbase.rest.errors import RestFailure
from selfbase.rest.logic.compile import Compiled
from selfbase.rest.logic.grammar import encode_value
from selfbase.rest.logic.request import Window
from selfbase.rest.logic.scan import Scan, Shape, render_canonical, scan_query

# Operands of these letters are bound as they stand and need no encoding in an address.
_OPERAND = re.compile(r"(=(?:not\.)?(?:eq|neq|gte|gt|lte|lt)\.)([A-Za-z0-9_-]+)(?=&|\Z)")
_STAND_IN = re.compile(r"operand([0-9]{4})end")
_OPERANDS_MAX = 20
_TEXT_MAX = 1024
_KINDS_MAX = 2000

Key = tuple[str | None, ...]


class Sighting(NamedTuple):
    """A request as it looks: what it has in common with others of its kind, and its operands."""

    key: Key
    operands: list[str]


class Prepared(NamedTuple):
    """A read that is ready to be run; `canonical` is its query for `Content-Location`."""

    compiled: Compiled
    scan: Scan
    window: Window
    canonical: str


class _Kind(NamedTuple):
    """`pieces` of the canonical query stand around the operands, which `order` names."""

    compiled: Compiled
    window: Window
    shape: Shape
    limit: int | None
    offset: int | None
    pieces: tuple[str, ...]
    order: tuple[int, ...]


def sight(request: Request) -> Sighting | None:
    """What a GET or HEAD looks like: everything of it that decides how it is read and planned."""
    if request.method != "GET" and request.method != "HEAD":
        return None
    pieces = _OPERAND.split(request.query)
    operands = pieces[2::3]
    del pieces[2::3]
    notes = request.headers.notes
    wishes: Key | None = notes.get("rest.wishes") if notes is not None else None
    if wishes is None:
        wishes = _read_wishes(request.headers)
        if notes is not None:
            notes["rest.wishes"] = wishes
    return Sighting((request.method, request.path, *wishes, *pieces), operands)


def _read_wishes(headers: Headers) -> Key:
    """What of the header fields decides how a request is read and planned."""
    prefer = ",".join(headers.get_all("prefer")) if "prefer" in headers else None
    find = headers.find
    return (
        find("accept"),
        find("accept-profile"),
        find("content-type"),
        find("range"),
        prefer,
    )


class Memory:
    """The kinds of reads seen since the catalog was loaded; bounded in number and size."""

    def __init__(self) -> None:
        self._kinds: dict[Key, _Kind] = {}

    def recall(self, sighting: Sighting) -> Prepared | None:
        """The request made ready as before, or None when its kind is new."""
        kind = self._kinds.get(sighting.key)
        if kind is None:
            return None
        operands = sighting.operands
        canonical = kind.pieces[0]
        for index, piece in zip(kind.order, kind.pieces[1:], strict=True):
            canonical += operands[index] + piece
        values: list[bytes | None] = [operand.encode() for operand in operands]
        scan = Scan(kind.shape, values, kind.limit, kind.offset)
        return Prepared(kind.compiled, scan, kind.window, canonical)

    def keep(self, sighting: Sighting, query: str, prepared: Prepared) -> None:
        """Remembers the kind of a read of a relation, if its text allows that."""
        kind = _make_kind(sighting, query, prepared)
        if kind is None:
            return
        self._kinds[sighting.key] = kind
        if len(self._kinds) > _KINDS_MAX:
            del self._kinds[next(iter(self._kinds))]


def _make_kind(sighting: Sighting, query: str, prepared: Prepared) -> _Kind | None:
    compiled, scan = prepared.compiled, prepared.scan
    operands = sighting.operands
    if compiled.ask.action != "read" or len(operands) > _OPERANDS_MAX or _STAND_IN.search(query):
        return None
    if sum(len(text or "") for text in sighting.key) > _TEXT_MAX:
        return None
    if scan.values != [encode_value(operand) for operand in operands]:
        return None
    stand_ins = [f"operand{index:04}end" for index in range(len(operands))]
    left = iter(stand_ins)
    other = _OPERAND.sub(lambda match: match[1] + next(left), query)
    try:
        again = scan_query(other)
    except RestFailure:
        return None
    expected = Scan(scan.shape, [encode_value(text) for text in stand_ins], scan.limit, scan.offset)
    parts = _STAND_IN.split(render_canonical(other))
    order = tuple(map(int, parts[1::2]))
    if again != expected or sorted(order) != list(range(len(operands))):
        return None
    return _Kind(
        compiled,
        prepared.window,
        scan.shape,
        scan.limit,
        scan.offset,
        tuple(parts[::2]),
        order,
    )
