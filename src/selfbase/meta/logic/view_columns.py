"""Where the columns of views come from: foreign keys seen through views.

PostgreSQL keeps the query of a view as a node tree in which each column names the relation and
column it was taken from.  The text format is that of `pg_node_tree` (PostgreSQL sources,
`outfuncs.c`): `{NODE :field value …}`, lists in parentheses, a backslash before special characters.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selfbase.meta.logic.introspected import Relationship

_TOKEN = re.compile(r"[{}()]|(?:\\.|[^\s(){}\\])+", re.DOTALL)
# Depth of the members of a target entry: list, query, target list, entry.
_ENTRY_DEPTH = 4
_WANTED = {":resno", ":resorigtbl", ":resorigcol"}


def read_origins(tree: str) -> list[tuple[int, int, int]]:
    """`(column, relation, column there)` of each column that is taken from a relation as it is."""
    origins: list[tuple[int, int, int]] = []
    entry: dict[str, int] = {}
    depth = 0
    section = ""
    words = iter(_TOKEN.findall(tree))
    for word in words:
        if word in "{(":
            depth += 1
            if depth == _ENTRY_DEPTH:
                entry = {}
            continue
        if word in "})":
            if depth == _ENTRY_DEPTH and section == ":targetList" and entry.get(":resorigtbl"):
                origins.append((entry[":resno"], entry[":resorigtbl"], entry[":resorigcol"]))
            depth -= 1
            continue
        if not word.startswith(":"):
            continue
        # The token after a field is its value, even when it looks like another field.
        value = next(words, "")
        if depth == 2:
            section = word
        elif depth == _ENTRY_DEPTH and section == ":targetList" and word in _WANTED:
            entry[word] = int(value)
        if value in {"{", "("}:
            depth += 1
            if depth == _ENTRY_DEPTH:
                entry = {}
        elif value in {"}", ")"}:
            depth -= 1
    return origins


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A view's columns by number, and its origins as `read_origins` gives them."""

    id: int
    schema: str
    name: str
    column_names: Mapping[int, str]
    origins: Sequence[tuple[int, int, int]]


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A view that shows all columns of one side of a key: every way to name them."""

    view: View
    columns: tuple[tuple[str, ...], ...]


def trace_columns(views: Iterable[View]) -> dict[tuple[int, int], list[tuple[View, int]]]:
    """For each column of a relation, the columns of views that show it, through views as well."""
    by_id = {view.id: view for view in views}
    shown: dict[tuple[int, int], list[tuple[View, int]]] = {}
    for view in by_id.values():
        for number, relation, column in view.origins:
            for origin in _follow(by_id, relation, column):
                uses = shown.setdefault(origin, [])
                if (view, number) not in uses:
                    uses.append((view, number))
    return shown


def _follow(by_id: Mapping[int, View], relation: int, column: int) -> Iterator[tuple[int, int]]:
    seen: set[tuple[int, int]] = set()
    pending = [(relation, column)]
    while pending:
        origin = pending.pop()
        if origin in seen:
            continue
        seen.add(origin)
        yield origin
        inner = by_id.get(origin[0])
        if inner is not None:
            pending += [(r, c) for number, r, c in inner.origins if number == origin[1]]


def list_relationships(
    keys: Sequence[Mapping[str, Any]], views: Sequence[View]
) -> list[Relationship]:
    """The foreign keys themselves, then each seen from views, to views, and between views."""
    shown = trace_columns(views)
    direct = [_relationship(key) for key in keys]
    derived: list[Relationship] = []
    for key in keys:
        sources = _list_uses(shown, key["relation_id"], key["column_numbers"])
        targets = _list_uses(shown, key["referenced_relation_id"], key["referenced_column_numbers"])
        for use in sources:
            derived += [_relationship(key, source=(use.view, names)) for names in use.columns]
        for use in targets:
            derived += [_relationship(key, target=(use.view, names)) for names in use.columns]
        for source, target in itertools.product(sources, targets):
            derived += [
                _relationship(key, source=(source.view, names), target=(target.view, others))
                for names, others in itertools.product(source.columns, target.columns)
            ]
    return direct + derived


def _list_uses(
    shown: Mapping[tuple[int, int], list[tuple[View, int]]], relation: int, numbers: Sequence[int]
) -> list[KeyUse]:
    """Views that show every one of the columns."""
    per_column = [shown.get((relation, number), []) for number in numbers]
    views = dict.fromkeys(view.id for view, _ in per_column[0])
    by_id = {view.id: view for uses in per_column for view, _ in uses}
    found: list[KeyUse] = []
    for view_id in views:
        names = [
            [view.column_names[number] for view, number in uses if view.id == view_id]
            for uses in per_column
        ]
        if all(names):
            found.append(KeyUse(by_id[view_id], tuple(itertools.product(*names))))
    return found


def _relationship(
    key: Mapping[str, Any],
    source: tuple[View, tuple[str, ...]] | None = None,
    target: tuple[View, tuple[str, ...]] | None = None,
) -> Relationship:
    return Relationship(
        foreign_key_name=key["foreign_key_name"],
        schema=source[0].schema if source else key["schema"],
        relation=source[0].name if source else key["relation"],
        columns=source[1] if source else tuple(key["columns"]),
        is_one_to_one=key["is_one_to_one"],
        referenced_schema=target[0].schema if target else key["referenced_schema"],
        referenced_relation=target[0].name if target else key["referenced_relation"],
        referenced_columns=target[1] if target else tuple(key["referenced_columns"]),
    )
