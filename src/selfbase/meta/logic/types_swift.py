"""Swift types of a database: a namespace per schema, Codable structs per table and operation.

Source: reference/meta.md section 7.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from selfbase.meta.logic.introspected import (
    Introspection,
    Object,
    TypeIndex,
    may_be_null,
    prefer_schema,
    sort_by_name,
)
from selfbase.meta.logic.type_names import name_all, pascal_case, quote_code

_SWIFT_TYPES = {
    "bool": "Bool",
    "int2": "Int16",
    "int4": "Int32",
    "int8": "Int64",
    "float4": "Float",
    "float8": "Double",
    **dict.fromkeys(("numeric", "decimal"), "Decimal"),
    "uuid": "UUID",
    **dict.fromkeys(
        (
            *("bytea", "bpchar", "varchar", "date", "text", "citext", "time", "timetz"),
            *("timestamp", "timestamptz", "interval", "vector"),
        ),
        "String",
    ),
    **dict.fromkeys(("json", "jsonb"), "AnyJSON"),
    "void": "Void",
    "record": "JSONObject",
}
_KEYWORDS = frozenset({"in", "default", "case"})
_CODABLE = ("Codable", "Hashable", "Sendable")


@dataclass(frozen=True, slots=True)
class _Attribute:
    name: str
    type: str
    column: str
    is_identity: bool = False


def render_swift(found: Introspection, access: str = "internal") -> str:
    """The whole file, without a newline at its end, as upstream prints it."""
    generator = _Generator(found, access)
    lines = ["import Foundation", "import Supabase", ""]
    for schema in sort_by_name(found.schemas):
        lines += generator.render_schema(schema["name"])
    return "\n".join(lines)


class _Generator:
    def __init__(self, found: Introspection, access: str) -> None:
        self._found = found
        self._access = access
        self._types = TypeIndex(found.types)
        self._columns = found.columns_by_relation()
        self._exported = {schema["name"] for schema in found.schemas}
        self._relations: dict[str, list[Object]] = {}
        for item in (
            *(*found.views, *found.materialized_views),
            *(*found.tables, *found.foreign_tables),
        ):
            self._relations.setdefault(item["name"], []).append(item)

    def render_schema(self, schema: str) -> list[str]:
        def here(*lists: list[Object]) -> list[Object]:
            return sort_by_name(item for some in lists for item in some if item["schema"] == schema)

        found = self._found
        lines = [f"{self._access} enum {_type_name(schema)}Schema {{"]
        for item in here([t for t in found.types if t["enums"]]):
            names = name_all(item["enums"], _property_name)
            cases = list(zip(names, item["enums"], strict=True))
            protocols = ("String", *_CODABLE)
            lines += self._render_enum(_type_name(item["name"]), protocols, cases, 1)
        for table in here(found.tables, found.foreign_tables):
            for operation in ("Select", "Insert", "Update"):
                lines += self._render_relation(table, operation)
        for view in here(found.views, found.materialized_views):
            lines += self._render_relation(view, "Select")
        for item in here([t for t in found.types if t["attributes"]]):
            lines += self._render_struct(_type_name(item["name"]), self._list_attributes(item))
        return [*lines, "}"]

    def _render_relation(self, relation: Object, operation: str) -> list[str]:
        schema = relation["schema"]
        columns = self._columns.get(relation["id"], [])
        names = name_all((column["name"] for column in columns), _property_name)
        attributes = [
            _Attribute(
                name,
                self._type(schema, column["format"], may_be_null(column, operation)),
                column["name"],
                column["is_identity"],
            )
            for name, column in zip(names, columns, strict=True)
        ]
        return self._render_struct(f"{_type_name(relation['name'])}{operation}", attributes)

    def _list_attributes(self, item: Object) -> list[_Attribute]:
        attributes = []
        for attribute in item["attributes"]:
            known = self._types.by_id.get(attribute["type_id"])
            written = self._type(item["schema"], known["format"] if known else "", False)
            # Parity: attributes of composite types are capitalised as types are.
            name = attribute["name"]
            attributes.append(_Attribute(_type_name(name), written, name))
        return attributes

    def _render_struct(self, name: str, attributes: list[_Attribute]) -> list[str]:
        identity = next((item for item in attributes if item.is_identity), None)
        protocols = ", ".join((*_CODABLE, *(("Identifiable",) if identity else ())))
        lines = [f"  {self._access} struct {name}: {protocols} {{"]
        if identity is not None and identity.name != "id":
            lines.append(f"    {self._access} var id: {identity.type} {{ {identity.name} }}")
        lines += [f"    {self._access} let {item.name}: {item.type}" for item in attributes]
        if attributes:
            cases = [(item.name, item.column) for item in attributes]
            lines += self._render_enum("CodingKeys", ("String", "CodingKey"), cases, 2)
        return [*lines, "  }"]

    def _render_enum(
        self, name: str, protocols: tuple[str, ...], cases: list[tuple[str, str]], level: int
    ) -> list[str]:
        space = "  " * level
        return [
            f"{space}{self._access} enum {name}: {', '.join(protocols)} {{",
            *(f"{space}  case {case} = {quote_code(value)}" for case, value in cases),
            f"{space}}}",
        ]

    def _type(self, schema: str, name: str, nullable: bool) -> str:
        mark = "?" if nullable else ""
        if name in _SWIFT_TYPES:
            return _SWIFT_TYPES[name] + mark
        if name.startswith("_"):
            return f"[{self._type(schema, name[1:], False)}]{mark}"
        return self._named(schema, name) + mark

    def _named(self, schema: str, name: str) -> str:
        """A type this file holds, as seen from a schema; upstream names others as well, which
        nobody can compile."""
        enum = self._types.find_enum(name, schema)
        if enum is not None:
            return self._place(schema, enum) if enum["schema"] in self._exported else "String"
        composite = self._types.find_composite(name, schema)
        if composite is not None:
            exported = composite["schema"] in self._exported
            return self._place(schema, composite) if exported else "AnyJSON"
        relation = prefer_schema(self._relations.get(name, []), schema)
        return "AnyJSON" if relation is None else f"{self._place(schema, relation)}Select"

    def _place(self, schema: str, item: Object) -> str:
        name = _type_name(item["name"])
        if item["schema"] == schema:
            return name
        return f"{_type_name(item['schema'])}Schema.{name}"


def _type_name(name: str) -> str:
    """`victory-road` becomes `VictoryRoad`; an underscore in front stays."""
    prefix = "_" if name.startswith("_") else ""
    text = pascal_case(name.removeprefix("_"))
    return prefix + text if text[:1].isalpha() or prefix else f"_{text}"


def _property_name(name: str) -> str:
    """`victory-road` becomes `victoryRoad`; words of the language are put in back ticks."""
    words = [word.lower() for word in re.split(r"[^a-zA-Z0-9]", name)]
    joined = words[0] + "".join(word[:1].upper() + word[1:] for word in words[1:])
    if not joined[:1].isalpha():
        return f"_{joined}"
    return f"`{joined}`" if joined in _KEYWORDS else joined
