"""An ordered multi-map of header fields with case-insensitive names (RFC 9110 section 5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any


class Headers:
    """Header fields in order of arrival; names are lower case, values are text (latin-1).

    Fields may be shared by several requests, as clients repeat them: see `share`.
    """

    __slots__ = ("_first", "_pairs", "notes")

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._pairs = [(name.lower(), value) for name, value in pairs]
        self._first: dict[str, str] | None = None
        self.notes: dict[Any, Any] | None = None

    @classmethod
    def from_lower(cls, pairs: list[tuple[str, str]]) -> Headers:
        """Takes over a list whose names are lower case already: for the shells."""
        headers = cls.__new__(cls)
        headers._pairs = pairs
        headers._first = None
        headers.notes = None
        return headers

    def share(self) -> Headers:
        """The same fields for one more request.  A change of one leaves the others as they are.

        `notes` holds what readers made of shared fields, by a key of theirs, so that it is made
        once for all requests that bring them; it is None where the fields are one request's own.
        """
        if self.notes is None:
            self.notes = {}
        shared = Headers.__new__(Headers)
        shared._pairs = self._pairs
        shared._first = self._index()
        shared.notes = self.notes
        return shared

    def _index(self) -> dict[str, str]:
        if self._first is None:
            first: dict[str, str] = {}
            for name, value in self._pairs:
                first.setdefault(name, value)
            self._first = first
        return self._first

    def get(self, name: str, default: str = "") -> str:
        """The first value of `name` (lower case), or `default`."""
        first = self._first
        return (self._index() if first is None else first).get(name, default)

    def find(self, name: str) -> str | None:
        first = self._first
        return (self._index() if first is None else first).get(name)

    def get_all(self, name: str) -> list[str]:
        return [value for key, value in self._pairs if key == name]

    def has_any(self, names: frozenset[str]) -> bool:
        """Whether one of these (lower case) names is there."""
        first = self._first
        return not names.isdisjoint(self._index() if first is None else first)

    def __contains__(self, name: object) -> bool:
        first = self._first
        return name in (self._index() if first is None else first)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def replace(self, name: str, value: str | None) -> None:
        """Sets the only value of `name`, or removes it with None."""
        index = self._index()
        known = name in index
        if value is None and not known:
            return
        if self.notes is not None:
            self._first = index = dict(index)
            self.notes = None
            self._pairs = list(self._pairs)
        if known:
            self._pairs = [pair for pair in self._pairs if pair[0] != name]
            del index[name]
        if value is not None:
            self._pairs.append((name, value))
            index[name] = value
