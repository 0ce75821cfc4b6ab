"""Python types of a database: pydantic models to read, typed dictionaries to write.

Source: reference/meta.md section 7.
"""

from __future__ import annotations

import re

from selfbase.meta.logic.introspected import Introspection, Object
from selfbase.meta.logic.type_names import (
    exported_name,
    name_all,
    pascal_case,
    python_attribute,
    quote_code,
)
from selfbase.meta.logic.types_go import sort_by_id

_HEAD = """\
from __future__ import annotations

import datetime
import uuid
from typing import (
    Annotated,
    Any,
    List,
    Literal,
    NotRequired,
    Optional,
    TypeAlias,
    TypedDict,
)

from pydantic import BaseModel, Field, Json"""

_PYTHON_TYPES = {
    "bool": "bool",
    **dict.fromkeys(("int2", "int4", "int8"), "int"),
    **dict.fromkeys(("float4", "float8", "numeric"), "float"),
    "bytea": "bytes",
    **dict.fromkeys(("bpchar", "varchar", "string", "text", "citext", "interval"), "str"),
    "date": "datetime.date",
    **dict.fromkeys(("time", "timetz"), "datetime.time"),
    **dict.fromkeys(("timestamp", "timestamptz"), "datetime.datetime"),
    "uuid": "uuid.UUID",
    "vector": "list[Any]",
    **dict.fromkeys(("json", "jsonb"), "Json[Any]"),
    **dict.fromkeys(
        (
            f"{kind}{shape}"
            for kind in ("int4", "int8", "num", "ts", "tstz", "date")
            for shape in ("range", "multirange")
        ),
        "str",
    ),
    "void": "None",
    "record": "dict[str, Any]",
}


def render_python(found: Introspection) -> str:
    """The whole file, without a newline at its end, as upstream prints it."""
    generator = _Generator(found)
    exported = {schema["name"] for schema in found.schemas}
    sections = [
        [generator.render_enum(item) for item in generator.enums.values()],
        [text for table in sort_by_id(found.tables) for text in generator.render_table(table)],
        [generator.render_relation(view) for view in found.views],
        [generator.render_relation(view) for view in sort_by_id(found.materialized_views)],
        [
            generator.render_composite(item)
            for item in sort_by_id(found.types)
            if item["attributes"] and item["schema"] in exported
        ],
    ]
    return "\n\n".join([_HEAD, *("\n\n".join(section) for section in sections)]).strip()


class _Generator:
    def __init__(self, found: Introspection) -> None:
        types = sort_by_id(found.types)
        # Of several types with one name the last one counts.
        self._types = {item["name"]: item for item in types}
        self._by_id = {item["id"]: item for item in types}
        self.enums = {item["name"]: item for item in types if item["enums"]}
        self._columns = found.columns_by_relation()
        exported = {schema["name"] for schema in found.schemas}
        printed = [*found.tables, *found.views, *found.materialized_views]
        printed += [t for t in types if t["attributes"] and t["schema"] in exported]
        self._classes = {_class_name(item) for item in printed}

    def render_enum(self, item: Object) -> str:
        values = ", ".join(quote_code(value) for value in item["enums"])
        return f"{_class_name(item)}: TypeAlias = Literal[{values}]"

    def render_table(self, table: Object) -> list[str]:
        return [
            self.render_relation(table),
            self._render_dict(table, "Insert", every_optional=False),
            self._render_dict(table, "Update", every_optional=True),
        ]

    def render_relation(self, relation: Object) -> str:
        fields = [
            (column["name"], self._type(column["format"]), column["is_nullable"])
            for column in self._columns.get(relation["id"], [])
        ]
        return _render_model(_class_name(relation), fields)

    def render_composite(self, item: Object) -> str:
        fields = []
        for attribute in item["attributes"]:
            known = self._by_id.get(attribute["type_id"])
            written = self._type(known["name"]) if known is not None else "Any"
            fields.append((attribute["name"], written, False))
        return _render_model(_class_name(item), fields)

    def _render_dict(self, table: Object, operation: str, *, every_optional: bool) -> str:
        lines = []
        columns = self._columns.get(table["id"], [])
        types = [self._type(column["format"]) for column in columns]
        names = _name_attributes([column["name"] for column in columns], types)
        for name, column, written in zip(names, columns, types, strict=True):
            if column["is_nullable"]:
                written = f"Optional[{written}]"
            annotated = f"Annotated[{written}, Field(alias={quote_code(column['name'])})]"
            may_be_absent = (
                every_optional
                or column["is_nullable"]
                or column["is_identity"]
                or column["default_value"] is not None
            )
            if may_be_absent:
                annotated = f"NotRequired[{annotated}]"
            lines.append(f"    {name}: {annotated}")
        head = f"class {_class_name(table)}{operation}(TypedDict):"
        return "\n".join([head, *(lines or ["    pass"])])

    def _type(self, name: str) -> str:
        if name.startswith("_"):
            return f"List[{self._type(name[1:])}]"
        if name in self.enums:
            return _class_name(self.enums[name])
        if name in _PYTHON_TYPES:
            return _PYTHON_TYPES[name]
        # Upstream names classes that the file does not hold, such as that of `inet`.
        known = _class_name(self._types[name]) if name in self._types else ""
        return known if known in self._classes else "Any"


def _name_attributes(columns: list[str], types: list[str]) -> list[str]:
    """A column `uuid` would hide the module of that name from the other annotations of its class."""
    used = {word for written in types for word in re.findall(r"\w+", written)}

    def convert(column: str) -> str:
        name = python_attribute(column)
        return f"{name}_" if name in used else name

    return name_all(columns, convert)


def _render_model(name: str, fields: list[tuple[str, str, bool]]) -> str:
    names = _name_attributes(
        [column for column, _, _ in fields], [written for _, written, _ in fields]
    )
    lines = [
        f"    {attribute}: {f'Optional[{written}]' if nullable else written}"
        f" = Field(alias={quote_code(column)})"
        for attribute, (column, written, nullable) in zip(names, fields, strict=True)
    ]
    return "\n".join([f"class {name}(BaseModel):", *(lines or ["    pass"])])


def _class_name(item: Object) -> str:
    return exported_name(pascal_case(item["schema"]) + pascal_case(item["name"]))
