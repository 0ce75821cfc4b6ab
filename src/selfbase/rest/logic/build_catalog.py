"""Builds the catalog from what the catalog queries answered.

Input is the JSON of `sql/*.sql`; the shapes of its rows are told at the top of those files.
Source: reference/rest.md section 4.1.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from selfbase.rest.logic.catalog import (
    AnyRelationship,
    Cardinality,
    Catalog,
    Column,
    Columns,
    ComputedRelationship,
    Function,
    Junction,
    MediaHandler,
    Parameter,
    Relationship,
    RoleSettings,
    Table,
)
from selfbase.rest.logic.names import Name
from selfbase.rest.logic.node_tree import find_column_origins

Rows = Sequence[Any]


@dataclass(frozen=True, slots=True)
class View:
    """One row of `sql/views.sql`: column names by number (as text), and the rule's node tree."""

    oid: int
    columns: dict[str, str]
    action: str


@dataclass(frozen=True, slots=True)
class CatalogRows:
    """What the catalog queries answered, one field a query."""

    tables: Rows
    keys: Rows
    views: Sequence[View]
    computed: Rows
    functions: Rows
    representations: Rows
    handlers: Rows
    roles: Rows
    schemas: Rows


@dataclass(frozen=True, slots=True)
class _ViewKey:
    """A key of a table whose columns all appear in a view.  `choices` holds, for each column of
    the key in order, the view's names for it."""

    view: Name
    choices: tuple[tuple[str, ...], ...]


# Sources of a view's columns: (relation oid, column number) → the view's names for it.
_Origins = dict[tuple[int, int], list[str]]


def build_catalog(rows: CatalogRows, exposed: Sequence[str], generation: int) -> Catalog:
    """The catalog of the exposed schemas."""
    names = {row[0]: Name(row[1], row[2]) for row in rows.tables}
    sources = _index_sources(_trace_views(rows.views))
    primary: dict[int, tuple[str, ...]] = {
        row[0]: tuple(row[8]) for row in rows.tables if row[8] is not None
    }
    for row in rows.keys:
        if row[1] == "p":
            for oid, key in _find_in_views(row[2], row[3], sources):
                # A view over several tables has all their keys.
                columns = {*primary.get(oid, ()), *(choice[0] for choice in key)}
                primary[oid] = tuple(sorted(columns))
    tables = _build_tables(rows.tables, primary, frozenset(exposed))
    relationships = _build_relationships(rows, names, sources, primary, frozenset(exposed))
    return Catalog(
        generation=generation,
        tables=tables,
        relationships=relationships,
        functions=_build_functions(rows.functions),
        representations={(row[0], row[1]): row[2] for row in rows.representations},
        handlers=_build_handlers(rows.handlers),
        roles=_build_roles(rows.roles),
        schema_descriptions={row[0]: row[1] for row in rows.schemas if row[1]},
    )


def _build_tables(
    rows: Rows, primary: dict[int, tuple[str, ...]], exposed: frozenset[str]
) -> dict[Name, Table]:
    types: dict[str, str] = {}
    tables: dict[Name, Table] = {}
    for oid, schema, name, comment, is_view, insert, update, delete, _, columns, pages in rows:
        if schema not in exposed:
            continue
        made = {
            column[0]: Column(
                column[0],
                types.setdefault(column[1], column[1]),
                types.setdefault(column[2], column[2]),
                column[3],
                column[4],
                column[5],
                column[6],
                tuple(column[7] or ()),
            )
            for column in columns or ()
        }
        full = Name(schema, name)
        tables[full] = Table(
            full, comment, is_view, insert, update, delete, primary.get(oid, ()), made, pages
        )
    return tables


def _trace_views(views: Sequence[View]) -> dict[int, _Origins]:
    """For each view its columns' sources, followed through views of views."""
    direct = {view.oid: (view, find_column_origins(view.action)) for view in views}
    traced: dict[int, dict[int, list[tuple[int, int]]]] = {}

    def trace(oid: int, path: frozenset[int]) -> dict[int, list[tuple[int, int]]]:
        known = traced.get(oid)
        if known is not None:
            return known
        found: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for number, source, column in direct[oid][1]:
            found[number].append((source, column))
            if source in direct and source not in path:
                found[number] += trace(source, path | {source}).get(column, [])
        traced[oid] = found
        return found

    result: dict[int, _Origins] = {}
    for oid, (view, _) in direct.items():
        by_source: _Origins = defaultdict(list)
        for number, sources in sorted(trace(oid, frozenset({oid})).items()):
            name = view.columns.get(str(number))
            for source in sources:
                if name is not None and name not in by_source[source]:
                    by_source[source].append(name)
        result[oid] = by_source
    return result


# Table oid → the views that show any of its columns, each with all its sources.
_Sources = dict[int, dict[int, _Origins]]


def _index_sources(origins: dict[int, _Origins]) -> _Sources:
    sources: _Sources = defaultdict(dict)
    for view, by_source in origins.items():
        for table, _ in by_source:
            sources[table][view] = by_source
    return sources


def _find_in_views(
    table: int, columns: Sequence[Sequence[Any]], sources: _Sources
) -> Iterable[tuple[int, tuple[tuple[str, ...], ...]]]:
    """The views that show all columns of a key of `table`."""
    for view, by_source in sources.get(table, {}).items():
        choices = tuple(tuple(by_source.get((table, number), ())) for number, _ in columns)
        if all(choices):
            yield view, choices


def _build_relationships(
    rows: CatalogRows,
    names: dict[int, Name],
    sources: _Sources,
    primary: dict[int, tuple[str, ...]],
    exposed: frozenset[str],
) -> dict[Name, tuple[AnyRelationship, ...]]:
    views_of = _index_views(rows.keys, names, sources)
    references: list[Relationship] = []
    for row in rows.keys:
        if row[1] == "f" and not row[7] and row[2] in names and row[4] in names:
            references += _expand_reference(row, names, views_of)
    keys_by_name = {names[oid]: set(columns) for oid, columns in primary.items() if oid in names}
    found: list[Relationship] = list(references)
    found += (_invert(reference) for reference in references)
    found += _find_many_to_many(references, keys_by_name)
    kept: dict[Name, list[AnyRelationship]] = defaultdict(list)
    overridden = set()
    for schema, function, table_schema, table, target_schema, target, to_one in rows.computed:
        origin = Name(table_schema, table)
        if table_schema in exposed and target_schema in exposed:
            name = Name(schema, function)
            overridden.add((origin, name))
            kept[origin].append(
                ComputedRelationship(name, origin, Name(target_schema, target), to_one)
            )
    for relationship in found:
        if relationship.table.schema not in exposed:
            continue
        # Known to have relationships, even if none of them can be reached.
        several = kept[relationship.table]
        if (
            relationship.target.schema in exposed
            and (relationship.table, relationship.target) not in overridden
            and (relationship.junction is None or relationship.junction.table.schema in exposed)
        ):
            several.append(relationship)
    return {name: tuple(sorted(several, key=_order)) for name, several in kept.items()}


_RANK = {cardinality: rank for rank, cardinality in enumerate(Cardinality)}


def _order(relationship: AnyRelationship) -> tuple[Any, ...]:
    if isinstance(relationship, ComputedRelationship):
        return (relationship.target, -1, str(relationship.function))
    junction = relationship.junction
    detail = (
        f"{junction.table} {junction.constraint_from} {junction.constraint_to}" if junction else ""
    )
    return (
        relationship.target,
        _RANK[relationship.cardinality],
        relationship.constraint + detail,
        relationship.columns,
    )


# (table oid, constraint, whether it is the referenced end) → the views showing that end.
_ViewsOf = dict[tuple[int, str, bool], list[_ViewKey]]


def _index_views(keys: Rows, names: dict[int, Name], sources: _Sources) -> _ViewsOf:
    index: _ViewsOf = defaultdict(list)
    for name, kind, table, columns, foreign, foreign_columns, _, _ in keys:
        if kind != "f":
            continue
        for oid, pairs, referenced in ((table, columns, False), (foreign, foreign_columns, True)):
            for view, choices in _find_in_views(oid, pairs, sources):
                if view in names:
                    index[(oid, f"{table}.{name}", referenced)].append(
                        _ViewKey(names[view], choices)
                    )
    return index


def _expand_reference(
    row: Sequence[Any], names: dict[int, Name], views_of: _ViewsOf
) -> list[Relationship]:
    """A foreign key as seen between its tables, and between the views that show its columns."""
    constraint, _, table, columns, foreign, foreign_columns, unique, _ = row
    key = f"{table}.{constraint}"
    cardinality = Cardinality.ONE_TO_ONE if unique else Cardinality.MANY_TO_ONE
    froms: list[tuple[Name, tuple[str, ...], bool]] = [
        (names[table], tuple(name for _, name in columns), False)
    ]
    froms += [
        (view.view, choice, True)
        for view in views_of.get((table, key, False), ())
        for choice in product(*view.choices)
    ]
    tos: list[tuple[Name, tuple[str, ...], bool]] = [
        (names[foreign], tuple(name for _, name in foreign_columns), False)
    ]
    tos += [
        (view.view, choice, True)
        for view in views_of.get((foreign, key, True), ())
        for choice in product(*view.choices)
    ]
    return [
        Relationship(
            origin,
            target,
            cardinality,
            constraint,
            tuple(zip(origin_columns, target_columns, strict=True)),
            table_is_view=origin_is_view,
            target_is_view=target_is_view,
        )
        for origin, origin_columns, origin_is_view in froms
        for target, target_columns, target_is_view in tos
    ]


def _swap(columns: Columns) -> Columns:
    return tuple((second, first) for first, second in columns)


def _invert(reference: Relationship) -> Relationship:
    one = reference.cardinality is Cardinality.ONE_TO_ONE
    return Relationship(
        reference.target,
        reference.table,
        Cardinality.ONE_TO_ONE if one else Cardinality.ONE_TO_MANY,
        reference.constraint,
        _swap(reference.columns),
        table_is_view=reference.target_is_view,
        target_is_view=reference.table_is_view,
        is_parent=one,
    )


def _find_many_to_many(
    references: list[Relationship], keys: dict[Name, set[str]]
) -> Iterable[Relationship]:
    """Tables whose primary key covers two many-to-one references stand between two others."""
    by_junction: dict[Name, list[Relationship]] = defaultdict(list)
    for reference in references:
        key = keys.get(reference.table)
        if (
            key
            and reference.cardinality is Cardinality.MANY_TO_ONE
            and all(column in key for column, _ in reference.columns)
        ):
            by_junction[reference.table].append(reference)
    for table, several in by_junction.items():
        for first in several:
            for second in several:
                if first.constraint == second.constraint:
                    continue
                yield Relationship(
                    first.target,
                    second.target,
                    Cardinality.MANY_TO_MANY,
                    junction=Junction(
                        table,
                        first.constraint,
                        second.constraint,
                        _swap(first.columns),
                        _swap(second.columns),
                    ),
                    table_is_view=first.target_is_view,
                    target_is_view=second.target_is_view,
                )


def _build_functions(rows: Rows) -> dict[Name, tuple[Function, ...]]:
    found: dict[Name, list[Function]] = defaultdict(list)
    for oid, schema, function, *row in rows:
        name = Name(schema, function)
        found[name].append(
            Function(
                oid=oid,
                name=name,
                description=row[0],
                parameters=tuple(Parameter(*parameter) for parameter in row[1] or ()),
                returns=Name(row[2], row[3]),
                returns_set=row[4],
                composite=row[5],
                volatility=row[6],
                variadic=row[7],
                isolation=row[8].lower() if row[8] else None,
                settings=tuple((key, value) for key, value in row[9] or ()),
            )
        )
    return {
        name: tuple(sorted(several, key=lambda f: (len(f.parameters), repr(f.parameters))))
        for name, several in found.items()
    }


def _build_handlers(rows: Rows) -> dict[tuple[Name | None, str], MediaHandler]:
    handlers = {}
    for schema, function, target_schema, target, media, content_type, octets in rows:
        any_element = target == "anyelement" and target_schema == "pg_catalog"
        name = Name(target_schema, target)
        handlers[(None if any_element else name, media)] = MediaHandler(
            Name(schema, function), any_element, name, content_type, octets
        )
    return handlers


def _build_roles(rows: Rows) -> dict[str, RoleSettings]:
    settings: dict[str, list[tuple[str, str]]] = defaultdict(list)
    isolation: dict[str, str] = {}
    for role, name, value in rows:
        if name == "default_transaction_isolation":
            # As it was typed: PostgreSQL takes any case.
            isolation[role] = value.lower()
        else:
            settings[role].append((name, value))
    return {
        role: RoleSettings(tuple(settings[role]), isolation.get(role))
        for role in settings.keys() | isolation.keys()
    }
