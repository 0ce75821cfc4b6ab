"""The HTTP surface of the metadata API, as data.  Source: reference/meta.md section 2."""

from __future__ import annotations

from selfbase.kit.routes import Access, Route
from selfbase.meta import catalog as kinds
from selfbase.meta.call import Call
from selfbase.meta.handlers.generators import answer_types
from selfbase.meta.handlers.objects import (
    Handler,
    answer_column,
    answer_version,
    create_of,
    delete_of,
    list_of,
    one_of,
    rights_of,
    update_of,
)
from selfbase.meta.handlers.query import (
    answer_classify,
    answer_deparse,
    answer_format,
    answer_parse,
    answer_query,
)
from selfbase.meta.handlers.status import answer_health, answer_root
from selfbase.meta.writes.columns import COLUMN_WRITES
from selfbase.meta.writes.extensions import EXTENSION_WRITES
from selfbase.meta.writes.functions import FUNCTION_WRITES
from selfbase.meta.writes.kinds import Writes
from selfbase.meta.writes.policies import POLICY_WRITES
from selfbase.meta.writes.privileges import change_column_rights, change_table_rights
from selfbase.meta.writes.publications import PUBLICATION_WRITES
from selfbase.meta.writes.roles import ROLE_WRITES
from selfbase.meta.writes.schemas import SCHEMA_WRITES
from selfbase.meta.writes.tables import TABLE_WRITES
from selfbase.meta.writes.triggers import TRIGGER_WRITES


def _route(method: str, path: str, handler: Handler, operation: str) -> Route[Handler]:
    return Route(method, path, handler, f"meta.{operation}", Access.SERVICE)


def _reads(path: str, called: str, listing: Handler, one: Handler) -> tuple[Route[Handler], ...]:
    return (
        _route("GET", path, listing, f"{called}.list"),
        _route("GET", f"{path}/{{id}}", one, f"{called}.get"),
    )


def _writes(
    path: str, called: str, writes: Writes, *, may_cascade: bool = True
) -> tuple[Route[Handler], ...]:
    one = f"{path}/{{id}}"
    return (
        _route("POST", path, create_of(writes), f"{called}.create"),
        _route("PATCH", one, update_of(writes), f"{called}.update"),
        _route("DELETE", one, delete_of(writes, may_cascade=may_cascade), f"{called}.delete"),
    )


def _schema_params(call: Call) -> dict[str, bool]:
    return {"with_system": call.is_true("include_system_schemas")}


def _type_params(call: Call) -> dict[str, bool]:
    return {
        "with_arrays": call.is_true("include_array_types"),
        "with_rows": call.is_true("include_table_types"),
    }


def _role_params(call: Call) -> dict[str, bool]:
    return {"with_default": call.is_true("include_default_roles")}


ROUTES: tuple[Route[Handler], ...] = (
    Route("GET", "/", answer_root, "meta.root", Access.OPEN),
    Route("GET", "/health", answer_health, "meta.health", Access.OPEN),
    _route("GET", "/config", list_of(kinds.CONFIG), "config.list"),
    _route("GET", "/config/version", answer_version, "config.version"),
    *_reads(
        "/schemas",
        "schema",
        list_of(kinds.SCHEMAS, read_params=_schema_params),
        one_of(kinds.SCHEMAS),
    ),
    *_writes("/schemas", "schema", SCHEMA_WRITES),
    *_reads("/tables", "table", list_of(kinds.TABLES, with_columns=True), one_of(kinds.TABLES)),
    *_writes("/tables", "table", TABLE_WRITES),
    *_reads("/views", "view", list_of(kinds.VIEWS, with_columns=True), one_of(kinds.VIEWS)),
    *_reads(
        "/materialized-views",
        "materialized_view",
        list_of(kinds.MATERIALIZED_VIEWS),
        one_of(kinds.MATERIALIZED_VIEWS),
    ),
    *_reads(
        "/foreign-tables",
        "foreign_table",
        list_of(kinds.FOREIGN_TABLES, with_columns=True),
        one_of(kinds.FOREIGN_TABLES),
    ),
    *_reads("/columns", "column", list_of(kinds.COLUMNS), answer_column),
    *_writes("/columns", "column", COLUMN_WRITES),
    *_reads("/functions", "function", list_of(kinds.FUNCTIONS), one_of(kinds.FUNCTIONS)),
    *_writes("/functions", "function", FUNCTION_WRITES, may_cascade=False),
    *_reads("/triggers", "trigger", list_of(kinds.TRIGGERS), one_of(kinds.TRIGGERS)),
    *_writes("/triggers", "trigger", TRIGGER_WRITES),
    *_reads("/policies", "policy", list_of(kinds.POLICIES), one_of(kinds.POLICIES)),
    *_writes("/policies", "policy", POLICY_WRITES),
    *_reads("/roles", "role", list_of(kinds.ROLES, read_params=_role_params), one_of(kinds.ROLES)),
    *_writes("/roles", "role", ROLE_WRITES),
    *_reads(
        "/publications", "publication", list_of(kinds.PUBLICATIONS), one_of(kinds.PUBLICATIONS)
    ),
    *_writes("/publications", "publication", PUBLICATION_WRITES),
    *_reads("/extensions", "extension", list_of(kinds.EXTENSIONS), one_of(kinds.EXTENSIONS)),
    *_writes("/extensions", "extension", EXTENSION_WRITES),
    _route("GET", "/types", list_of(kinds.TYPES, read_params=_type_params), "type.list"),
    *_reads("/indexes", "index", list_of(kinds.INDEXES), one_of(kinds.INDEXES)),
    _route("GET", "/table-privileges", list_of(kinds.TABLE_PRIVILEGES), "table_privilege.list"),
    _route(
        "POST",
        "/table-privileges",
        rights_of(change_table_rights, grant=True),
        "table_privilege.grant",
    ),
    _route(
        "DELETE",
        "/table-privileges",
        rights_of(change_table_rights, grant=False),
        "table_privilege.revoke",
    ),
    _route("GET", "/column-privileges", list_of(kinds.COLUMN_PRIVILEGES), "column_privilege.list"),
    _route(
        "POST",
        "/column-privileges",
        rights_of(change_column_rights, grant=True),
        "column_privilege.grant",
    ),
    _route(
        "DELETE",
        "/column-privileges",
        rights_of(change_column_rights, grant=False),
        "column_privilege.revoke",
    ),
    _route("POST", "/query", answer_query, "query.run"),
    _route("POST", "/query/format", answer_format, "query.format"),
    _route("POST", "/query/parse", answer_parse, "query.parse"),
    _route("POST", "/query/deparse", answer_deparse, "query.deparse"),
    _route("POST", "/query/classify", answer_classify, "query.classify"),
    _route("GET", "/generators/{language}", answer_types, "types.generate"),
)
