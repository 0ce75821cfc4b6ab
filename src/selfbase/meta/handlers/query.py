"""Running SQL, and looking at it: `/query` and its companions."""

from __future__ import annotations

import math
from typing import Any

import orjson

from selfbase.http.values import Response
from selfbase.meta.call import Call, answer_raw, answer_text
from selfbase.meta.errors import BadRequest, QueryMissing

PARAMETERS_MAX = 65_535
TIMEOUT_S_MAX = 24 * 3600


async def answer_query(call: Call) -> Response:
    """Runs the text; the rows of its last result that has any."""
    statement_timeout_s = _read_seconds(call, "statementTimeoutSecs")
    query_timeout_s = _read_query_timeout(call)
    body = await call.read_body()
    sql = _read_sql(body)
    given = body.get("parameters")
    parameters = [] if given is None else _render_parameters(given)
    if call.read_only:
        await call.parser.run("check_read_only", sql)
    async with call.connect(query_timeout_s) as connection:
        if statement_timeout_s is not None:
            milliseconds = int(statement_timeout_s * 1000)
            await connection.execute(f"SET statement_timeout = {milliseconds}")
            await connection.execute(f"SET idle_session_timeout = {milliseconds}")
        if call.read_only:
            await connection.execute("BEGIN READ ONLY")
        if parameters:
            rows = await connection.run_query(sql, parameters)
        else:
            rows = await connection.run_script(sql)
    return answer_raw(rows)


def _read_sql(body: Any) -> str:
    sql = body.get("query") if isinstance(body, dict) else None
    if not sql:
        raise QueryMissing
    if not isinstance(sql, str):
        raise BadRequest("body/query must be string")
    return sql


def _read_seconds(call: Call, name: str) -> float | None:
    value = call.find_text(name)
    if value is None or value == "":
        return None
    try:
        seconds = float(value)
    except ValueError:
        raise BadRequest(f"querystring/{name} must be number") from None
    if not math.isfinite(seconds) or not 0 <= seconds <= TIMEOUT_S_MAX:
        raise BadRequest(f"querystring/{name} must be between 0 and {TIMEOUT_S_MAX}")
    return seconds


def _read_query_timeout(call: Call) -> float | None:
    seconds = _read_seconds(call, "queryTimeoutSecs")
    if seconds is None:
        return call.settings.query_timeout_s
    return seconds or None


def _render_parameters(parameters: Any) -> list[str | None]:
    """Values as the text PostgreSQL reads for a parameter of unknown type."""
    if not isinstance(parameters, list):
        raise BadRequest("Query values must be an array")
    if len(parameters) > PARAMETERS_MAX:
        raise BadRequest(f"Query values must be at most {PARAMETERS_MAX}")
    return [_render_parameter(value) for value in parameters]


def _render_parameter(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "{" + ",".join(_render_array_item(item) for item in value) + "}"
    if isinstance(value, dict):
        return orjson.dumps(value).decode()
    return str(value)


def _render_array_item(item: Any) -> str:
    if item is None:
        return "NULL"
    text = _render_parameter(item) or ""
    if isinstance(item, list):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


async def answer_format(call: Call) -> Response:
    sql = _read_sql(await call.read_body())
    return answer_text((await call.parser.run("format", sql)).decode())


async def answer_parse(call: Call) -> Response:
    sql = _read_sql(await call.read_body())
    return answer_raw(await call.parser.run("parse", sql))


async def answer_deparse(call: Call) -> Response:
    body = await call.read_body()
    tree = body.get("ast") if isinstance(body, dict) else None
    if not isinstance(tree, dict):
        raise BadRequest("body/ast must be object")
    return answer_text((await call.parser.run("deparse", tree)).decode())


async def answer_classify(call: Call) -> Response:
    """Ours: what each statement does, for tools that want to warn before they run it."""
    sql = _read_sql(await call.read_body())
    return answer_raw(await call.parser.run("classify", sql))
