"""The render stage: a whole plan becomes the statements of one batch.

The main statement answers one row: total, rows on this page, body, response headers, response
status, rows inserted, location.  Checks that must undo the transaction are part of it: when one
fails, a cast of `VERDICT` and its words to integer raises an error that carries the verdict.
Source: reference/rest.md sections 3.3 and 3.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selfbase.rest.logic.catalog import Function
from selfbase.rest.logic.names import quote_ident, quote_literal, quote_name
from selfbase.rest.logic.plan import BODY, BodyColumn, Call, Handler, Plan, Source, Write
from selfbase.rest.logic.preferences import Preferences
from selfbase.rest.logic.render import SOURCE, Sink, render_conditions, render_count, render_node

VERDICT = "selfbase-verdict"
_ROW = "selfbase_row"
_BODY = "selfbase_body"
# What a function answers that is no row; clients may name it in filters.
_SCALAR = "pgrst_scalar"


@dataclass(frozen=True, slots=True)
class Rendered:
    """One statement: its text and where its parameters come from."""

    sql: bytes
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class RenderedRequest:
    """The main statement, and the one whose plan is the estimate of the total."""

    main: Rendered
    estimate: Rendered | None


def render_request(
    plan: Plan, preferences: Preferences, rows_max: int | None, *, mark: str = VERDICT
) -> RenderedRequest:
    """The SQL of a plan.  `mark` is the word the verdicts begin with."""
    if plan.write is not None:
        main = _render_write(plan, preferences, mark)
    elif plan.call is not None:
        main = _render_call(plan, preferences, mark)
    else:
        main = _render_read(plan, rows_max)
    main = _explain(plan, main)
    return RenderedRequest(main, _render_estimate(plan))


def _explain(plan: Plan, main: Rendered) -> Rendered:
    media = plan.handler.media
    if media.kind != "plan":
        return main
    form = "JSON" if "plan+json" in media.text else "TEXT"
    options = ", ".join([f"FORMAT {form}", *(option.upper() for option in media.plan_options)])
    return Rendered(f"EXPLAIN ({options}) ".encode() + main.sql, main.sources)


def _render_estimate(plan: Plan) -> Rendered | None:
    wanted = plan.count in ("planned", "estimated") and plan.write is None and plan.call is None
    if not wanted or plan.handler.media.kind == "plan":
        return None
    sink = Sink()
    sql = f"EXPLAIN (FORMAT JSON) {render_count(plan.read, sink)}"
    return Rendered(sql.encode(), tuple(sink.sources))


def _make_sink(plan: Plan) -> Sink:
    # Parity: where rows are put out as text, an embed is the text of a jsonb.
    return Sink(jsonb=plan.handler.kind in ("csv", "custom"))


# Reading


def _render_read(plan: Plan, rows_max: int | None) -> Rendered:
    sink = _make_sink(plan)
    read = render_node(plan.read, sink)
    total, counting = _render_total(plan, sink, rows_max)
    sql = (
        f"WITH {SOURCE} AS ({read}){counting}"
        f" SELECT {total}, count({_ROW}.*), {_render_body(plan.handler, None)}, {_GUCS}, NULL, NULL"
        f" FROM {SOURCE} AS {_ROW}"
    )
    return Rendered(sql.encode(), tuple(sink.sources))


def _render_total(plan: Plan, sink: Sink, rows_max: int | None) -> tuple[str, str]:
    """The total as an expression, and the common table expression it counts."""
    if plan.count not in ("exact", "estimated"):
        return "NULL::bigint", ""
    counted = render_count(plan.read, sink)
    if plan.count == "estimated" and rows_max is not None:
        counted += f" LIMIT {rows_max + 1}"
    return "(SELECT count(*) FROM _counted)", f", _counted AS ({counted})"


_GUCS = (
    "NULLIF(current_setting('response.headers', true), ''),"
    " NULLIF(current_setting('response.status', true), '')"
)


def _render_body(handler: Handler, function: Function | None) -> str:
    """The aggregate that makes the body out of the rows."""
    scalar = function is not None and (function.returns_scalar or function.returns_set_of_scalar)
    value = f"{_ROW}.{_SCALAR}" if scalar else f"{_ROW}.*"
    if handler.kind == "none":
        return "''"
    if handler.kind == "custom":
        assert handler.function is not None
        if function is not None and function.returns_scalar:
            argument = f"{_ROW}.{_SCALAR}"
        elif handler.any_element or handler.target is None:
            argument = _ROW
        else:
            argument = f"{_ROW}::{quote_name(handler.target)}"
        return f"{quote_name(handler.function)}({argument})"
    if handler.kind == "csv":
        return _CSV
    if handler.kind == "geojson":
        return (
            "json_build_object('type', 'FeatureCollection', 'features',"
            f" COALESCE(json_agg(ST_AsGeoJSON({_ROW})::json), '[]'))"
        )
    body = f"json_agg({value})"
    single = handler.kind == "object" or (
        function is not None and (function.returns_scalar or function.returns_single_composite)
    )
    if single:
        body += "->0"
    if handler.stripped:
        body = f"json_strip_nulls({body})"
    return f"COALESCE({body}, {quote_literal('null' if single else '[]')})"


_CSV = (
    "(SELECT COALESCE(string_agg(_head.key, ','), '') FROM"
    f" (SELECT json_object_keys((SELECT row_to_json(_first) FROM {SOURCE} AS _first LIMIT 1))"
    "::text AS key) AS _head)"
    f" || E'\\n' || COALESCE(string_agg(substring({_ROW}::text, 2, length({_ROW}::text) - 2),"
    " E'\\n'), '')"
)


def render_stream(plan: Plan, rows_max: int | None) -> Rendered:
    """A read whose rows come one by one: first a row with what `_render_read` answers beside the
    body, then for each row its JSON.  The rows are settled before the first one is sent."""
    sink = _make_sink(plan)
    read = render_node(plan.read, sink)
    total, counting = _render_total(plan, sink, rows_max)
    row = f"row_to_json({_ROW}.*)"
    if plan.handler.stripped:
        row = f"json_strip_nulls({row})"
    sql = (
        f"WITH {SOURCE} AS MATERIALIZED ({read}){counting}"
        f" SELECT {total}, (SELECT count(*) FROM {SOURCE}), NULL::text, {_GUCS}, NULL, NULL"
        f" UNION ALL SELECT NULL, NULL, {row}::text, NULL, NULL, NULL, NULL"
        f" FROM {SOURCE} AS {_ROW}"
    )
    return Rendered(sql.encode(), tuple(sink.sources))


# Writing


def _render_write(plan: Plan, preferences: Preferences, mark: str) -> Rendered:
    write = plan.write
    assert write is not None
    sink = _make_sink(plan)
    statement = _render_write_statement(write, sink)
    if plan.handler.kind == "none":
        rows = f"SELECT * FROM {SOURCE}"
    else:
        rows = render_node(plan.read, sink)
    verdicts = _list_verdicts(plan, preferences, mark)
    inserted = "NULLIF(current_setting('pgrst.inserted', true), '')::int" if write.merge else "NULL"
    sql = (
        f"WITH {SOURCE} AS ({statement})"
        f" SELECT NULL, count({_ROW}.*), {_render_body(plan.handler, None)}, {_GUCS},"
        f" {inserted}, {_render_location(plan)}{verdicts}"
        f" FROM ({rows}) AS {_ROW}"
    )
    return Rendered(sql.encode(), tuple(sink.sources))


def _list_verdicts(plan: Plan, preferences: Preferences, mark: str) -> str:
    """Further columns that raise when the answer must be refused and the work undone."""
    count = f"count({_ROW}.*)"
    checks: list[tuple[str, str]] = []
    media = plan.handler.media
    if media.kind == "object" and not (plan.write is not None and plan.write.put):
        checks.append((f"{count} <> 1", "PGRST116"))
    if plan.write is not None and plan.write.put:
        checks.append((f"{count} <> 1", "PGRST115"))
    limited = plan.call is not None or (plan.write is not None and plan.write.kind != "insert")
    if limited and preferences.strict and preferences.affected_max is not None:
        checks.append((f"{count} > {int(preferences.affected_max)}", "PGRST124"))
    return "".join(
        f", CASE WHEN {test} THEN ({quote_literal(f'{mark} {code} ')} || {count})::int END"
        for test, code in checks
    )


def _render_location(plan: Plan) -> str:
    if not plan.location_columns:
        return "NULL"
    names = ", ".join(quote_literal(name) for name in plan.location_columns)
    return (
        f"CASE WHEN count({_ROW}.*) = 1 THEN (SELECT json_agg(json_build_array(key, value))"
        f" FROM json_each_text((SELECT row_to_json(_first) FROM {SOURCE} AS _first LIMIT 1))"
        f" WHERE key IN ({names})) END"
    )


def _render_write_statement(write: Write, sink: Sink) -> str:
    table = quote_name(write.table)
    returning = _render_returning(write)
    if write.kind == "delete":
        return f"DELETE FROM {table}{_render_where(write, sink)} {returning}"
    if write.kind == "update":
        return _render_update(write, sink, returning)
    columns = ", ".join(quote_ident(column.name) for column in write.columns)
    listed = f"({columns}) " if columns else " "
    parts = [f"INSERT INTO {table}{listed}SELECT {_list_body(write.columns)}"]
    parts.append(_render_expansion(write, sink))
    conditions = [_COUNT_UP] if write.merge else []
    if write.put:
        conditions.append(render_conditions(write.conditions, _BODY, sink))
    if conditions:
        parts.append("WHERE " + " AND ".join(conditions))
    if write.conflict:
        parts.append(_render_conflict(write))
    parts.append(returning)
    return " ".join(parts)


def _counting(change: str) -> str:
    current = "COALESCE(NULLIF(current_setting('pgrst.inserted', true), '')::int, 0)"
    return f"set_config('pgrst.inserted', ({current} {change} 1)::text, true) IS NOT NULL"


# Each row offered counts up, each row that turns into an update counts down again.
_COUNT_UP = _counting("+")
_COUNT_DOWN = _counting("-")


def _render_conflict(write: Write) -> str:
    assert write.conflict is not None
    target = ", ".join(quote_ident(column) for column in write.conflict)
    if not write.merge or not write.columns:
        return f"ON CONFLICT ({target}) DO NOTHING"
    updates = ", ".join(
        f"{quote_ident(column.name)} = EXCLUDED.{quote_ident(column.name)}"
        for column in write.columns
    )
    return f"ON CONFLICT ({target}) DO UPDATE SET {updates} WHERE {_COUNT_DOWN}"


def _render_update(write: Write, sink: Sink, returning: str) -> str:
    table = quote_name(write.table)
    if not write.columns:
        # Nothing to set: an empty result with the right columns.
        columns = ", ".join(_column(write, name) for name in write.returning) or "NULL"
        return f"SELECT {columns} FROM {table} WHERE false"
    updates = ", ".join(
        f"{quote_ident(column.name)} = {_BODY}.{quote_ident(column.name)}"
        for column in write.columns
    )
    expansion = _render_expansion(write, sink)
    return f"UPDATE {table} SET {updates} {expansion}{_render_where(write, sink)} {returning}"


def _column(write: Write, name: str) -> str:
    table = quote_ident(write.table.name)
    return f"{table}.*" if name == "*" else f"{table}.{quote_ident(name)}"


def _render_where(write: Write, sink: Sink) -> str:
    if not write.conditions:
        return ""
    alias = quote_ident(write.table.name)
    return f" WHERE {render_conditions(write.conditions, alias, sink)}"


def _render_returning(write: Write) -> str:
    if not write.returning:
        return "RETURNING 1"
    return "RETURNING " + ", ".join(_column(write, name) for name in write.returning)


def _list_body(columns: Sequence[BodyColumn]) -> str:
    return ", ".join(f"{_BODY}.{quote_ident(column.name)}" for column in columns)


def _render_expansion(write: Write, sink: Sink) -> str:
    """FROM the rows of the body, each column with its table's type."""
    if write.defaults:
        return _render_defaulted(write, sink)
    if not write.columns:
        if write.body_is_object:
            return f"FROM (VALUES (1)) AS {_BODY}"
        return f"FROM json_array_elements({sink.bind(BODY, 'json')}) AS {_BODY}"
    function = "json_to_record" if write.body_is_object else "json_to_recordset"
    return _convert(write.columns, f"{function}({sink.bind(BODY, 'json')})")


def _convert(columns: Sequence[BodyColumn], rows: str) -> str:
    typed = ", ".join(f"{quote_ident(column.name)} {column.type}" for column in columns)
    if not any(column.transform for column in columns):
        return f"FROM {rows} AS {_BODY}({typed})"
    converted = ", ".join(
        f"{column.transform}({quote_ident(column.name)}) AS {quote_ident(column.name)}"
        if column.transform
        else quote_ident(column.name)
        for column in columns
    )
    return f"FROM (SELECT {converted} FROM {rows} AS _raw({typed})) AS {_BODY}"


def _render_defaulted(write: Write, sink: Sink) -> str:
    """As above, a missing key standing for the column's default."""
    pairs = ", ".join(
        f"{quote_literal(column.name)}, {column.default}"
        for column in write.columns
        if column.default is not None
    )
    defaults = f"jsonb_build_object({pairs})"
    body = sink.bind(BODY, "jsonb")
    elements = body if write.body_is_object else f"jsonb_array_elements({body})"
    source = f"(SELECT {elements} AS item OFFSET 0) AS _items"
    if not write.columns:
        return f"FROM {source} CROSS JOIN LATERAL (SELECT 1) AS {_BODY}"
    typed = ", ".join(f"{quote_ident(column.name)} {column.type}" for column in write.columns)
    converted = ", ".join(
        f"{column.transform}({quote_ident(column.name)}) AS {quote_ident(column.name)}"
        if column.transform
        else quote_ident(column.name)
        for column in write.columns
    )
    return (
        f"FROM (SELECT {converted} FROM {source},"
        f" LATERAL jsonb_to_record({defaults} || _items.item) AS _raw({typed})) AS {_BODY}"
    )


# Calling


def _render_call(plan: Plan, preferences: Preferences, mark: str) -> Rendered:
    call = plan.call
    assert call is not None
    sink = _make_sink(plan)
    function = call.function
    called = _render_call_source(call, sink)
    if function.returns_scalar or function.returns_set_of_scalar:
        source = f"SELECT {called} AS {_SCALAR}"
        if call.arguments is None and call.parameters and not call.whole_body:
            source = f"SELECT {_name_call(function)}({_pass_body(call)}) AS {_SCALAR} FROM {called}"
    elif call.arguments is None and call.parameters and not call.whole_body:
        rows = f"LATERAL {_name_call(function)}({_pass_body(call)}) AS _call"
        source = f"SELECT {_list_returned(call)} FROM {called}, {rows}"
    else:
        source = f"SELECT {_list_returned(call)} FROM {called} AS _call"
    read = render_node(plan.read, sink)
    total, counting = "NULL", ""
    if plan.count in ("exact", "estimated"):
        counting = f", _counted AS ({render_count(plan.read, sink)})"
        total = "(SELECT count(*) FROM _counted)"
    page = "1" if function.returns_single else f"count({_ROW}.*)"
    sql = (
        f"WITH {SOURCE} AS ({source}){counting}"
        f" SELECT {total}, {page}, {_render_body(plan.handler, function)}, {_GUCS}, NULL, NULL"
        f"{_list_verdicts(plan, preferences, mark) if not function.returns_single else ''}"
        f" FROM ({read}) AS {_ROW}"
    )
    return Rendered(sql.encode(), tuple(sink.sources))


def _name_call(function: Function) -> str:
    return quote_name(function.name)


def _render_call_source(call: Call, sink: Sink) -> str:
    """The call itself, or for a JSON body the expansion its arguments are taken from."""
    function = call.function
    if call.whole_body:
        body = sink.bind(BODY, function.parameters[0].type)
        return f"{_name_call(function)}({body})"
    if call.arguments is None:
        if not call.parameters:
            return f"{_name_call(function)}()"
        typed = ", ".join(
            f"{quote_ident(function.parameters[i].name)} {function.parameters[i].wide_type}"
            for i in call.parameters
        )
        expand = "json_to_record" if call.body_is_object else "json_to_recordset"
        limit = "" if call.body_is_object else " LIMIT 1"
        rows = f"{expand}({sink.bind(BODY, 'json')}) AS _raw({typed}){limit}"
        return f"(SELECT * FROM {rows}) AS {_BODY}"
    passed = []
    for index, source in zip(call.parameters, call.arguments, strict=True):
        parameter = function.parameters[index]
        variadic = "VARIADIC " if parameter.variadic else ""
        value = sink.bind(source, parameter.wide_type)
        passed.append(f"{variadic}{quote_ident(parameter.name)} := {value}")
    return f"{_name_call(function)}({', '.join(passed)})"


def _pass_body(call: Call) -> str:
    parameters = call.function.parameters
    return ", ".join(
        f"{'VARIADIC ' if parameters[i].variadic else ''}{quote_ident(parameters[i].name)} :="
        f" {_BODY}.{quote_ident(parameters[i].name)}"
        for i in call.parameters
    )


def _list_returned(call: Call) -> str:
    if not call.returning or call.returning == ("*",):
        return "_call.*"
    return ", ".join(f"_call.{quote_ident(name)}" for name in call.returning)
