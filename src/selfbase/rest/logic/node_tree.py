"""Where the columns of a view come from, read from the node tree of its rule.

The top-level target list of the stored query names, for each output column, the relation and column
it is taken from unchanged (`resorigtbl`, `resorigcol`).  Source: PostgreSQL, nodes/outfuncs.c.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\\.|[(){}]|:targetList ")
_ENTRY_END = re.compile(
    r":resno (\d+) :resname .*? :ressortgroupref \d+ :resorigtbl (\d+) :resorigcol (-?\d+)"
    r" :resjunk (true|false)\}$",
    re.DOTALL,
)


def find_column_origins(action: str) -> list[tuple[int, int, int]]:
    """(output column number, relation oid, column number) for each column taken over unchanged."""
    start = _find_target_list(action)
    if start < 0:
        return []
    origins: list[tuple[int, int, int]] = []
    depth = 0
    entry = 0
    for token in _TOKEN.finditer(action, start):
        text = token[0]
        if text in ("(", "{"):
            depth += 1
            if depth == 2:
                entry = token.start()
        elif text in (")", "}"):
            depth -= 1
            if depth == 1:
                _read_entry(action, entry, token.end(), origins)
            elif depth == 0:
                break
    return origins


def _find_target_list(action: str) -> int:
    # The outermost list holds one query node: its fields stand at depth 2.
    depth = 0
    for token in _TOKEN.finditer(action):
        text = token[0]
        if text in ("(", "{"):
            depth += 1
        elif text in (")", "}"):
            depth -= 1
        elif text[0] == ":" and depth == 2:
            return token.end()
    return -1


def _read_entry(action: str, start: int, end: int, origins: list[tuple[int, int, int]]) -> None:
    at = action.rfind(":resno ", start, end)
    if at < 0:
        return
    found = _ENTRY_END.match(action, at, end)
    if found is not None and found[4] == "false" and found[2] != "0":
        origins.append((int(found[1]), int(found[2]), int(found[3])))
