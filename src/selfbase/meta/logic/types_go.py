"""Go types of a database: one struct per table and operation.  Source: reference/meta.md section 7."""

from __future__ import annotations

from collections.abc import Iterable

from selfbase.meta.logic.introspected import Introspection, Object, TypeIndex, may_be_null
from selfbase.meta.logic.type_names import exported_name, name_all, pascal_case, quote_code

_GO_TYPES = {
    "bool": "bool",
    "int2": "int16",
    "int4": "int32",
    "int8": "int64",
    "float4": "float32",
    "float8": "float64",
    "numeric": "float64",
    "bytea": "[]byte",
    **dict.fromkeys(
        (
            *("bpchar", "varchar", "date", "text", "citext", "time", "timetz", "timestamp"),
            *("timestamptz", "interval", "uuid", "vector"),
            *(
                f"{kind}{shape}"
                for kind in ("int4", "int8", "num")
                for shape in ("range", "multirange")
            ),
            *(
                f"{kind}{shape}"
                for kind in ("ts", "tstz", "date")
                for shape in ("range", "multirange")
            ),
        ),
        "string",
    ),
    **dict.fromkeys(("json", "jsonb", "void"), "interface{}"),
    "record": "map[string]interface{}",
}
# What can be nil already needs no pointer.
_NILABLE = frozenset({"[]byte", "interface{}", "map[string]interface{}"})


def render_go(found: Introspection) -> str:
    """The whole file, without a newline at its end, as upstream prints it."""
    types = TypeIndex(found.types)
    columns = found.columns_by_relation()
    exported = {schema["name"] for schema in found.schemas}

    def structs(relations: list[Object], operations: Iterable[str]) -> str:
        return "\n\n".join(
            _render_struct(
                exported_name(pascal_case(item["schema"]) + pascal_case(item["name"])) + operation,
                [
                    (c["name"], _go_type(c["format"], may_be_null(c, operation), types))
                    for c in columns.get(item["id"], [])
                ],
            )
            for item in relations
            if item["schema"] in exported
            for operation in operations
        )

    composites = "\n\n".join(
        _render_composite(item, types)
        for item in sort_by_id(found.types)
        if item["attributes"] and item["schema"] in exported
    )
    parts = [
        "package database",
        structs(sort_by_id(found.tables), ("Select", "Insert", "Update")),
        structs(found.views, ("Select",)),
        structs(sort_by_id(found.materialized_views), ("Select",)),
        composites,
    ]
    return "\n\n".join(parts).strip()


def sort_by_id(objects: Iterable[Object]) -> list[Object]:
    """In order of creation, which is the order in which upstream's queries find them."""
    return sorted(objects, key=lambda item: int(item["id"]))


def _render_composite(item: Object, types: TypeIndex) -> str:
    fields = []
    for attribute in item["attributes"]:
        known = types.by_id.get(attribute["type_id"])
        written = known["format"] if known is not None else ""
        # Parity: attributes are looked up by their SQL spelling and without other types.
        fields.append((attribute["name"], _go_type(written, False, TypeIndex([]))))
    return _render_struct(
        exported_name(pascal_case(item["schema"]) + pascal_case(item["name"])), fields
    )


def _render_struct(name: str, fields: list[tuple[str, str]]) -> str:
    """Fields aligned in columns, as gofmt does."""
    names = name_all((column for column, _ in fields), exported_name)
    rows = [
        (field, go_type, column) for field, (column, go_type) in zip(names, fields, strict=True)
    ]
    name_width = max((len(row[0]) for row in rows), default=0)
    type_width = max((len(row[1]) for row in rows), default=0)
    lines = [
        f"  {field:<{name_width}} {go_type:<{type_width}} {_render_tag(column)}"
        for field, go_type, column in rows
    ]
    return "\n".join([f"type {name} struct {{", *(lines or [""]), "}"])


def _render_tag(column: str) -> str:
    """The field's tag; a column with a back tick in its name needs the other kind of literal."""
    tag = f"json:{quote_code(column)}"
    return quote_code(tag) if "`" in tag else f"`{tag}`"


def _go_type(name: str, nullable: bool, types: TypeIndex) -> str:
    known = "string" if types.find_enum(name) is not None else _GO_TYPES.get(name)
    if known is not None:
        return f"*{known}" if nullable and known not in _NILABLE else known
    if types.find_composite(name) is not None:
        return "map[string]interface{}"
    if name.startswith("_"):
        # Parity: the space after the element is upstream's.
        return f"[]{_go_type(name[1:], nullable, types)} "
    return "interface{}"
