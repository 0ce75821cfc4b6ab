"""TypeScript types of a database, byte for byte as postgres-meta prints them.

The file's frame is fixed text; its middle is one member per schema.  Source: reference/meta.md
section 6.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from selfbase.meta.logic.collation import sort_key
from selfbase.meta.logic.introspected import (
    Introspection,
    Relationship,
    TypeIndex,
    prefer_schema,
    sort_by_name,
)
from selfbase.meta.logic.introspected import (
    Object as Catalogued,
)
from selfbase.meta.logic.layout import Doc, Indent, Line, join, render
from selfbase.meta.logic.typescript_frame import HEAD, INTERNAL, render_helpers
from selfbase.meta.logic.typescript_functions import Callables
from selfbase.meta.logic.typescript_syntax import (
    NEVER,
    UNKNOWN,
    ArrayOf,
    Generic,
    Member,
    NeverMap,
    Object,
    Plain,
    TsType,
    Tuple,
    Union,
    nullable,
    print_list,
    print_type,
    quote_key,
    quote_string,
)

_SCALARS: dict[str, TsType] = {
    "bool": Plain("boolean"),
    **dict.fromkeys(("int2", "int4", "int8", "float4", "float8", "numeric"), Plain("number")),
    **dict.fromkeys(
        (
            *("bytea", "bpchar", "varchar", "date", "text", "citext", "time", "timetz"),
            *("timestamp", "timestamptz", "uuid", "vector", "interval"),
        ),
        Plain("string"),
    ),
    **dict.fromkeys(("json", "jsonb"), Plain("Json")),
    "void": Plain("undefined"),
    "record": Generic("Record", ("string", "unknown")),
}


def render_typescript(
    found: Introspection,
    *,
    one_to_one: bool = False,
    postgrest_version: str | None = None,
    default_schema: str = "public",
) -> str:
    """The whole file, ending with a newline."""
    generator = _Generator(found, one_to_one)
    schemas = sort_by_name(found.schemas)
    members: list[Doc] = []
    if postgrest_version is not None:
        version = quote_string(postgrest_version)
        lines: list[Doc] = [part.format(version=version) for part in INTERNAL.splitlines()]
        members.append(join(Line.HARD, lines))
    members += [
        [quote_key(schema["name"]), ": ", print_type(generator.describe_schema(schema["name"]))]
        for schema in schemas
    ]
    body = render(["export type Database = ", _braces(members, Line.HARD)])
    constants = render(
        [
            "export const Constants = ",
            _braces([[generator.list_constants(s["name"]), ","] for s in schemas], Line.HARD),
            " as const",
        ]
    )
    helpers = render_helpers(quote_string(default_schema))
    return f"{HEAD}\n{body}\n\n{helpers}\n{constants}\n"


def _braces(members: list[Doc], separator: Doc) -> Doc:
    if not members:
        return "{}"
    return ["{", Indent([Line.HARD, *join(separator, members)]), Line.HARD, "}"]


class _Generator:
    """Turns catalog objects into types.  Holds indexes only."""

    def __init__(self, found: Introspection, one_to_one: bool) -> None:
        self._found = found
        self._one_to_one = one_to_one
        self._types = TypeIndex(found.types)
        self._exported = {schema["name"] for schema in found.schemas}
        self._columns = found.columns_by_relation()
        self._tables_by_name = _group(found.tables, "name")
        self._views_by_name = _group(found.views, "name")
        self._relationships: dict[tuple[str, str], list[Relationship]] = {}
        for item in sorted(found.relationships, key=_relationship_order):
            self._relationships.setdefault((item.schema, item.relation), []).append(item)
        self._tables = _group([*found.tables, *found.foreign_tables], "schema")
        # A materialized view cannot be written to.
        fixed = [{**view, "is_updatable": False} for view in found.materialized_views]
        self._views = _group([*found.views, *fixed], "schema")
        self._enums = _group((t for t in found.types if t["enums"]), "schema")
        self._composites = _group((t for t in found.types if t["attributes"]), "schema")
        self._callables = Callables(found, self._types, self.resolve, self.describe_row)

    def describe_schema(self, schema: str) -> TsType:
        sections = {
            "Tables": [
                Member(table["name"], self._describe_table(schema, table))
                for table in sort_by_name(self._tables.get(schema, []))
            ],
            "Views": [
                Member(view["name"], self._describe_view(schema, view))
                for view in sort_by_name(self._views.get(schema, []))
            ],
            "Functions": self._callables.describe(schema),
            "Enums": [
                Member(item["name"], _literals(item["enums"]))
                for item in sort_by_name(self._enums.get(schema, []))
            ],
            "CompositeTypes": [
                Member(item["name"], self._describe_composite(schema, item))
                for item in sort_by_name(self._composites.get(schema, []))
            ],
        }
        return Object(
            tuple(
                Member(name, Object(tuple(members)) if members else NeverMap())
                for name, members in sections.items()
            )
        )

    def list_constants(self, schema: str) -> Doc:
        """`schema: { Enums: { name: ["a", "b"] } }`."""
        enums: list[Doc] = [
            [
                quote_key(item["name"]),
                ": ",
                print_list([quote_string(v) for v in item["enums"]]),
                ",",
            ]
            for item in sort_by_name(self._enums.get(schema, []))
        ]
        section: Doc = ["Enums: ", _braces(enums, Line.HARD), ","]
        return [quote_key(schema), ": ", _braces([section], Line.HARD)]

    def describe_row(self, schema: str, relation: int) -> list[Member]:
        """The columns of a relation as they are read."""
        return [
            self._column(schema, column, optional=False)
            for column in self._columns.get(relation, [])
        ]

    def _describe_table(self, schema: str, table: Catalogued) -> TsType:
        columns = self._columns.get(table["id"], [])
        inserted = [
            self._column(
                schema,
                column,
                optional=column["is_nullable"]
                or column["is_identity"]
                or column["default_value"] is not None,
            )
            for column in columns
        ]
        updated = [self._column(schema, column, optional=True) for column in columns]
        fixed = {c["name"] for c in columns if c["identity_generation"] == "ALWAYS"}
        return Object(
            (
                Member("Row", Object(self._row(schema, table))),
                Member("Insert", Object(_forbid(inserted, fixed))),
                Member("Update", Object(_forbid(updated, fixed))),
                Member("Relationships", self._list_relationships(schema, table["name"])),
            )
        )

    def _describe_view(self, schema: str, view: Catalogued) -> TsType:
        members = [Member("Row", Object(self._row(schema, view)))]
        if view["is_updatable"]:
            columns = self._columns.get(view["id"], [])
            written = [
                self._column(schema, {**column, "is_nullable": True}, optional=True)
                for column in columns
            ]
            fixed = {column["name"] for column in columns if not column["is_updatable"]}
            members += [
                Member(name, Object(_forbid(written, fixed))) for name in ("Insert", "Update")
            ]
        members.append(Member("Relationships", self._list_relationships(schema, view["name"])))
        return Object(tuple(members))

    def _row(self, schema: str, relation: Catalogued) -> tuple[Member, ...]:
        computed = self._callables.describe_computed(schema, relation["name"])
        return (*self.describe_row(schema, relation["id"]), *computed)

    def _column(self, schema: str, column: Catalogued, *, optional: bool) -> Member:
        value = self.resolve(schema, column["format"])
        return Member(column["name"], nullable(value) if column["is_nullable"] else value, optional)

    def _list_relationships(self, schema: str, name: str) -> TsType:
        return Tuple(
            tuple(
                self._describe_relationship(item)
                for item in self._relationships.get((schema, name), [])
                if item.referenced_schema == schema
            )
        )

    def _describe_relationship(self, item: Relationship) -> TsType:
        members = [
            Member("foreignKeyName", Plain(quote_string(item.foreign_key_name))),
            Member("columns", _strings(item.columns)),
        ]
        if self._one_to_one:
            members.append(Member("isOneToOne", Plain("true" if item.is_one_to_one else "false")))
        members += [
            Member("referencedRelation", Plain(quote_string(item.referenced_relation))),
            Member("referencedColumns", _strings(item.referenced_columns)),
        ]
        return Object(tuple(members))

    def _describe_composite(self, schema: str, item: Catalogued) -> TsType:
        members = []
        for attribute in item["attributes"]:
            known = self._types.by_id.get(attribute["type_id"])
            value = UNKNOWN if known is None else nullable(self.resolve(schema, known["name"]))
            members.append(Member(attribute["name"], value))
        return Object(tuple(members))

    def resolve(self, schema: str, name: str) -> TsType:
        """The type of a `pg_type.typname`, as seen from `schema`."""
        if name in _SCALARS:
            return _SCALARS[name]
        if name.startswith("_"):
            return ArrayOf(self.resolve(schema, name[1:]))
        enum = self._types.find_enum(name, schema)
        if enum is not None:
            exported = enum["schema"] in self._exported
            return _access(enum, "Enums") if exported else _literals(enum["enums"])
        for candidate, section, suffix in (
            (self._types.find_composite(name, schema), "CompositeTypes", ""),
            (prefer_schema(self._tables_by_name.get(name, []), schema), "Tables", '["Row"]'),
            (prefer_schema(self._views_by_name.get(name, []), schema), "Views", '["Row"]'),
        ):
            if candidate is not None:
                exported = candidate["schema"] in self._exported
                return _access(candidate, section, suffix) if exported else UNKNOWN
        return UNKNOWN


def _access(item: Catalogued, section: str, suffix: str = "") -> Plain:
    schema, name = quote_string(item["schema"]), quote_string(item["name"])
    return Plain(f'Database[{schema}]["{section}"][{name}]{suffix}')


def _literals(values: list[str]) -> TsType:
    literals = tuple(Plain(quote_string(value)) for value in values)
    return literals[0] if len(literals) == 1 else Union(literals)


def _strings(values: Iterable[str]) -> TsType:
    return Tuple(tuple(Plain(quote_string(value)) for value in values))


def _forbid(members: list[Member], names: set[str]) -> tuple[Member, ...]:
    return tuple(
        Member(member.key, NEVER, optional=True) if member.key in names else member
        for member in members
    )


def _group(objects: Iterable[Catalogued], key: str) -> dict[str, list[Catalogued]]:
    grouped: dict[str, list[Catalogued]] = {}
    for item in objects:
        grouped.setdefault(item[key], []).append(item)
    return grouped


def _relationship_order(item: Relationship) -> tuple[object, ...]:
    columns = orjson.dumps(list(item.referenced_columns)).decode()
    return (
        sort_key(item.foreign_key_name),
        sort_key(item.referenced_relation),
        sort_key(columns),
    )
