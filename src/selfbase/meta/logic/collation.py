"""Sorting names as a browser does, so that generated types keep upstream's order.

Upstream sorts with `localeCompare`, the root order of the Unicode collation algorithm: punctuation
before digits before letters, case only as a tie-break, lower case first.  This covers ASCII
exactly; other letters sort by their base letter after ASCII ones, with accents as a tie-break.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

# Printable ASCII in root order (CLDR); a letter's two cases share a place.
_ORDER = "_-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$0123456789abcdefghijklmnopqrstuvwxyz"
_PLACE = {character: place for place, character in enumerate(_ORDER, start=2)}
_PLACE[" "] = 1

SortKey = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


@lru_cache(maxsize=20_000)
def sort_key(text: str) -> SortKey:
    """Compares like `localeCompare`: letters, then accents, then case."""
    letters: list[int] = []
    accents: list[int] = []
    cases: list[int] = []
    for character in unicodedata.normalize("NFD", text):
        if unicodedata.combining(character):
            accents.append(ord(character))
            continue
        lower = character.lower()
        if ord(character) < 32 or ord(character) == 127:
            continue
        letters.append(_PLACE.get(lower, 1000 + ord(lower[0])))
        accents.append(0)
        cases.append(int(character != lower))
    return tuple(letters), tuple(accents), tuple(cases)
