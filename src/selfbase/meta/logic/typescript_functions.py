"""Functions as PostgREST lets clients call them, in TypeScript.

Which functions can be called, what they take and return, which result rows can be embedded, and
which overloads PostgREST cannot tell apart.  Source: reference/meta.md section 6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from selfbase.meta.logic.collation import sort_key
from selfbase.meta.logic.introspected import Introspection, TypeIndex
from selfbase.meta.logic.introspected import Object as Catalogued
from selfbase.meta.logic.typescript_syntax import (
    NEVER,
    UNKNOWN,
    ErrorWith,
    Member,
    Object,
    Plain,
    TsType,
    Union,
    array_of,
    nullable,
    quote_string,
)

_INPUT_MODES = frozenset({"in", "inout", "variadic"})
# json, jsonb and text: what PostgREST passes a whole body to as a single unnamed argument.
_BODY_TYPES = frozenset({114, 3802, 25})

Arguments = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Function:
    """`arguments` are all of them by name, `inputs` those a caller passes."""

    function: Catalogued
    arguments: Arguments
    inputs: Arguments


class Callables:
    """The functions of a database that can be called through PostgREST."""

    def __init__(
        self,
        found: Introspection,
        types: TypeIndex,
        resolve: Callable[[str, str], TsType],
        describe_row: Callable[[str, int], list[Member]],
    ) -> None:
        self._types = types
        self._resolve = resolve
        self._describe_row = describe_row
        relations = [
            *(*found.tables, *found.foreign_tables),
            *(*found.views, *found.materialized_views),
        ]
        self._relation_names = {item["id"]: item["name"] for item in relations}
        self._relation_schemas = {item["id"]: item["schema"] for item in relations}
        self._by_schema: dict[str, list[_Function]] = {}
        self._by_arguments: dict[tuple[str, str], list[_Function]] = {}
        for function in sorted(found.functions, key=lambda item: sort_key(item["name"])):
            arguments = sorted(function["args"], key=lambda item: sort_key(item["name"]))
            inputs = [item for item in arguments if item["mode"] in _INPUT_MODES]
            if self._is_callable(inputs):
                one = _Function(function, arguments, inputs)
                self._by_schema.setdefault(function["schema"], []).append(one)
                place = (function["schema"], function["argument_types"])
                self._by_arguments.setdefault(place, []).append(one)

    def _is_callable(self, inputs: Arguments) -> bool:
        unnamed = [item for item in inputs if item["name"] == ""]
        if not unnamed:
            return True
        if all(item["has_default"] and item["type_id"] in _BODY_TYPES for item in unnamed):
            return True
        if len(inputs) > 1:
            return False
        return inputs[0]["type_id"] in _BODY_TYPES or self._row_type(inputs[0]) is not None

    def _row_type(self, argument: dict[str, Any]) -> Catalogued | None:
        """The type of the argument when it is a row of something."""
        known = self._types.by_id.get(argument["type_id"])
        return known if known is not None and known["type_relation_id"] else None

    def describe_computed(self, schema: str, relation: str) -> list[Member]:
        """Computed fields: functions of the schema whose only argument is a row of the relation."""
        return [
            Member(one.function["name"], nullable(self._describe_result(schema, one)))
            for one in self._by_arguments.get((schema, relation), [])
        ]

    def describe(self, schema: str) -> list[Member]:
        """The `Functions` section; overloads of one name are a union."""
        named: dict[str, list[_Function]] = {}
        for one in self._by_schema.get(schema, []):
            named.setdefault(one.function["name"], []).append(one)
        members = []
        for name, overloads in named.items():
            overloads.sort(
                key=lambda one: (
                    sort_key(one.function["argument_types"]),
                    sort_key(one.function["return_type"]),
                )
            )
            signatures = tuple(self._describe_one(schema, overloads, one) for one in overloads)
            value = signatures[0] if len(signatures) == 1 else Union(signatures)
            members.append(Member(name, value))
        return members

    def _describe_one(self, schema: str, overloads: list[_Function], one: _Function) -> TsType:
        message = self._find_conflict(schema, overloads, one)
        if message is None and self._is_scalar_of_row(one):
            message = (
                f"the function {schema}.{one.function['name']} with parameter or with a single"
                " unnamed json/jsonb parameter, but no matches were found in the schema cache"
            )
        result: TsType = (
            self._describe_result(schema, one)
            if message is None
            else ErrorWith(Plain(quote_string(message)))
        )
        target = self._result_relation(one.function)
        several = (one.function["prorows"] or 0) > 1
        if one.function["is_set_returning_function"] and (several or target is None):
            result = array_of(result)
        members = [Member("Args", self._describe_inputs(schema, one)), Member("Returns", result)]
        if target is not None:
            options = self._describe_options(one, target, one_row=not several)
            members.append(Member("SetofOptions", options))
        return Object(tuple(members), expanded=False)

    def _describe_inputs(self, schema: str, one: _Function) -> TsType:
        if not one.inputs:
            return NEVER
        members = tuple(
            Member(item["name"], self._resolve_id(schema, item["type_id"]), item["has_default"])
            for item in one.inputs
        )
        return Object(members, expanded=False)

    def _resolve_id(self, schema: str, type_id: int) -> TsType:
        known = self._types.by_id.get(type_id)
        return UNKNOWN if known is None else self._resolve(schema, known["name"])

    def _describe_result(self, schema: str, one: _Function) -> TsType:
        columns = [item for item in one.arguments if item["mode"] == "table"]
        if columns:
            return Object(
                tuple(
                    Member(item["name"], self._resolve_id(schema, item["type_id"]))
                    for item in columns
                )
            )
        relation = one.function["return_type_relation_id"]
        if relation is not None and self._relation_schemas.get(relation) == schema:
            return Object(tuple(self._describe_row(schema, relation)))
        return self._resolve_id(schema, one.function["return_type_id"])

    def _result_relation(self, function: Catalogued) -> str | None:
        """The name of the relation or composite type the function returns rows of."""
        relation = function["return_type_relation_id"]
        if not relation:
            return None
        if relation in self._relation_names:
            return str(self._relation_names[relation])
        known = self._types.by_id.get(function["return_type_id"])
        return str(known["name"]) if known is not None and known["type_relation_id"] else None

    def _is_scalar_of_row(self, one: _Function) -> bool:
        """Takes one unnamed row and returns none: a computed field, not to be called by itself."""
        return (
            len(one.inputs) == 1
            and one.inputs[0]["name"] == ""
            and self._row_type(one.inputs[0]) is not None
            and self._result_relation(one.function) is None
        )

    def _describe_options(self, one: _Function, target: str, *, one_row: bool) -> TsType:
        is_set = one.function["is_set_returning_function"]
        source = "*"
        if len(one.arguments) == 1 and (row := self._row_type(one.arguments[0])) is not None:
            source = row["format"]
            one_row = one_row or not is_set
        return Object(
            (
                Member("from", Plain(quote_string(source))),
                Member("to", Plain(quote_string(target))),
                Member("isOneToOne", Plain("true" if one_row else "false")),
                Member("isSetofReturn", Plain("true" if is_set else "false")),
            )
        )

    def _find_conflict(self, schema: str, overloads: list[_Function], one: _Function) -> str | None:
        """PostgREST's complaint about overloads it cannot choose between."""
        name = f"{schema}.{one.function['name']}"
        others = [other for other in overloads if other is not one and len(other.inputs) == 1]
        if not one.inputs:
            for other in others:
                if other.inputs[0]["name"] == "" and other.inputs[0]["has_default"]:
                    result = self._type_name(other.function["return_type_id"])
                    return _complain(f"{name}(), {name}( => {result})")
        if len(one.inputs) == 1 and one.inputs[0]["name"] != "":
            mine = one.inputs[0]
            rivals = [
                other.inputs[0]
                for other in others
                if other.inputs[0]["name"] == mine["name"]
                and other.inputs[0]["type_id"] != mine["type_id"]
            ]
            if rivals:
                known = sorted([mine, *rivals], key=lambda item: int(item["type_id"]))
                return _complain(
                    ", ".join(
                        f"{name}({item['name']} => {self._type_name(item['type_id'])})"
                        for item in known
                    )
                )
        return None

    def _type_name(self, type_id: int) -> str:
        known = self._types.by_id.get(type_id)
        return known["name"] if known is not None else "unknown"


def _complain(candidates: str) -> str:
    return (
        f"Could not choose the best candidate function between: {candidates}. Try renaming the"
        " parameters or the function itself in the database so function overloading can be resolved"
    )
