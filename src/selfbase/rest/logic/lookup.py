"""Finding what a request names in the catalog: tables, relationships, functions.

When it is not there the failure says what is near.  Source: reference/rest.md sections 1.3, 2.4,
4.3 and 5.2.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from selfbase.rest.errors import RestFailure
from selfbase.rest.logic.catalog import (
    AnyRelationship,
    Cardinality,
    Catalog,
    ComputedRelationship,
    Function,
    Relationship,
    Table,
)
from selfbase.rest.logic.hints import CANDIDATES_MAX, find_closest
from selfbase.rest.logic.media import JSON, OCTETS, PLAIN, XML, MediaType
from selfbase.rest.logic.names import Name

_UNNAMED_TYPES = {
    JSON.text: ("json", "jsonb"),
    PLAIN.text: ("text",),
    XML.text: ("xml",),
    OCTETS.text: ("bytea",),
}
_RAW_TYPES = {PLAIN.text: "text", XML.text: "xml", OCTETS.text: "bytea"}


def get_table(catalog: Catalog, name: Name) -> Table:
    """Raises RestFailure PGRST205."""
    table = catalog.tables.get(name)
    if table is not None:
        return table
    siblings = [known.name for known in catalog.tables if known.schema == name.schema]
    near = find_closest(name.name, siblings, 0.75) if len(siblings) < CANDIDATES_MAX else None
    raise RestFailure(
        "PGRST205",
        404,
        f"Could not find the table '{name}' in the schema cache",
        None,
        f"Perhaps you meant the table '{name.schema}.{near}'" if near else None,
    )


def missing_column(table: Table, column: str) -> RestFailure:
    near = find_closest(column, table.columns, 0.6)
    return RestFailure(
        "PGRST204",
        400,
        f"Could not find the '{column}' column of '{table.name.name}' in the schema cache",
        None,
        f"Perhaps you meant the column '{near}'" if near else None,
    )


def get_relationship(
    catalog: Catalog, schema: str, origin: str, target: str, hint: str | None
) -> AnyRelationship:
    """How `origin` reaches `target`.  Raises RestFailure PGRST200, PGRST201."""
    known = [
        relationship
        for relationship in catalog.relationships.get(Name(schema, origin), ())
        if relationship.target.schema == schema
    ]
    matching = [relationship for relationship in known if _matches(relationship, target, hint)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise _ambiguous(origin, target, matching)
    raise _unrelated(catalog, schema, origin, target, hint, known)


def _single(relationship: Relationship, side: int) -> str | None:
    if relationship.junction is None and len(relationship.columns) == 1:
        return relationship.columns[0][side]
    return None


def _matches(relationship: AnyRelationship, target: str, hint: str | None) -> bool:
    if isinstance(relationship, ComputedRelationship):
        return target == relationship.function.name
    by_name = target == relationship.target.name
    cardinality = relationship.cardinality
    if relationship.is_self:
        one_to_many = cardinality is Cardinality.ONE_TO_MANY
        if hint is None:
            by_column = target == _single(relationship, 0)
            return (by_name and one_to_many) or (
                by_column and cardinality is Cardinality.MANY_TO_ONE
            )
        return by_name and one_to_many and hint == _single(relationship, 1)
    if hint is None:
        return by_name or (
            not relationship.target_is_view
            and (
                (relationship.junction is None and target == relationship.constraint)
                or target == _single(relationship, 0)
            )
        )
    if not by_name:
        return False
    if relationship.junction is not None:
        return hint == relationship.junction.table.name
    return hint in (
        relationship.constraint,
        _single(relationship, 0),
        _single(relationship, 1),
    )


def _unrelated(
    catalog: Catalog,
    schema: str,
    origin: str,
    target: str,
    hint: str | None,
    known: Sequence[AnyRelationship],
) -> RestFailure:
    using = f" using the hint '{hint}'" if hint is not None else ""
    advice = None
    if Name(schema, origin) in catalog.relationships:
        names = {relationship.target.name for relationship in known}
        near = None if target in names else find_closest(target, sorted(names), 0.33)
        if near:
            advice = f"Perhaps you meant '{near}' instead of '{target}'."
    else:
        origins = sorted(name.name for name in catalog.relationships if name.schema == schema)
        near = find_closest(origin, origins, 0.33)
        if near:
            advice = f"Perhaps you meant '{near}' instead of '{origin}'."
    return RestFailure(
        "PGRST200",
        400,
        f"Could not find a relationship between '{origin}' and '{target}' in the schema cache",
        f"Searched for a foreign key relationship between '{origin}' and '{target}'{using} in the"
        f" schema '{schema}', but no matches were found.",
        advice,
    )


def _ambiguous(origin: str, target: str, several: Sequence[AnyRelationship]) -> RestFailure:
    detected = [one for one in several if isinstance(one, Relationship)]
    choices = ", ".join(
        f"'{one.target.name}!{one.junction.table.name if one.junction else one.constraint}'"
        for one in detected
    )
    return RestFailure(
        "PGRST201",
        300,
        "Could not embed because more than one relationship was found for"
        f" '{origin}' and '{target}'",
        [_describe(one) for one in detected],
        f"Try changing '{target}' to one of the following: {choices}."
        " Find the desired relationship in the 'details' key.",
    )


def _describe(one: Relationship) -> dict[str, str]:
    def listed(columns: Sequence[tuple[str, str]], side: int) -> str:
        return "(" + ", ".join(pair[side] for pair in columns) + ")"

    if one.junction is not None:
        junction = one.junction
        how = (
            f"{junction.table.name} using"
            f" {junction.constraint_from}{listed(junction.columns_from, 1)} and"
            f" {junction.constraint_to}{listed(junction.columns_to, 1)}"
        )
    else:
        how = (
            f"{one.constraint} using {one.table.name}{listed(one.columns, 0)} and"
            f" {one.target.name}{listed(one.columns, 1)}"
        )
    return {
        "cardinality": one.cardinality.value,
        "embedding": f"{one.table.name} with {one.target.name}",
        "relationship": how,
    }


def get_function(
    catalog: Catalog, name: Name, keys: Collection[str], media: MediaType, posted: bool
) -> Function:
    """The overload that takes exactly these arguments.  Raises RestFailure PGRST202, PGRST203."""
    overloads = catalog.functions.get(name, ())
    given = frozenset(keys)
    matching = [one for one in overloads if _takes(one, given, media, posted)]
    if not matching and posted:
        matching = [one for one in overloads if _takes_whole_body(one, media)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise _ambiguous_function(matching)
    raise _missing_function(catalog, name, sorted(given), media, posted)


def _takes(function: Function, given: frozenset[str], media: MediaType, posted: bool) -> bool:
    if not function.parameters:
        return not given and not (posted and media.text in _RAW_TYPES)
    required = {parameter.name for parameter in function.parameters if parameter.required}
    known = {parameter.name for parameter in function.parameters}
    return required <= given <= known


def _takes_whole_body(function: Function, media: MediaType) -> bool:
    if len(function.parameters) != 1 or function.parameters[0].name:
        return False
    return function.parameters[0].type in _UNNAMED_TYPES.get(media.text, ())


def _ambiguous_function(several: Sequence[Function]) -> RestFailure:
    listed = ", ".join(
        f"{one.name}({', '.join(f'{p.name} => {p.type}' for p in one.parameters)})"
        for one in several
    )
    return RestFailure(
        "PGRST203",
        300,
        f"Could not choose the best candidate function between: {listed}",
        None,
        "Try renaming the parameters or the function itself in the database so function"
        " overloading can be resolved",
    )


def _missing_function(
    catalog: Catalog, name: Name, keys: list[str], media: MediaType, posted: bool
) -> RestFailure:
    listed = ", ".join(keys)
    raw = _RAW_TYPES.get(media.text) if posted else None
    if raw is not None:
        message_part, details_part, advice = "", f" with a single unnamed {raw} parameter", None
    else:
        several = "s" if len(keys) > 1 else ""
        message_part = f"({listed})" if keys else " without parameters"
        details_part = f" with parameter{several} {listed}" if keys else " without parameters"
        if posted and media == JSON:
            details_part += " or with a single unnamed json/jsonb parameter"
        advice = _advise_function(catalog, name, listed)
    return RestFailure(
        "PGRST202",
        404,
        f"Could not find the function {name}{message_part} in the schema cache",
        f"Searched for the function {name}{details_part}, but no matches were found in the"
        " schema cache.",
        advice,
    )


def _advise_function(catalog: Catalog, name: Name, listed: str) -> str | None:
    overloads = catalog.functions.get(name, ())
    if overloads:
        lists = ["(" + ", ".join(sorted(p.name for p in one.parameters)) + ")" for one in overloads]
        near = find_closest(f"({listed})", lists, 0.33)
        return f"Perhaps you meant to call the function {name}{near}" if near else None
    siblings = sorted(known.name for known in catalog.functions if known.schema == name.schema)
    near = find_closest(name.name, siblings, 0.75)
    return f"Perhaps you meant to call the function {name.schema}.{near}" if near else None
