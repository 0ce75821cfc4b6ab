"""Joins plan and render: a compiled request answers every request of its kind.

It holds no values, so it may be kept and shared between callers of any role.
Source: reference/rest.md section 10.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from selfbase.rest.logic.catalog import Catalog
from selfbase.rest.logic.grammar import encode_value
from selfbase.rest.logic.names import build_array_literal
from selfbase.rest.logic.payload import Payload
from selfbase.rest.logic.plan import BODY, FIELD, LIMIT, Plan, Source
from selfbase.rest.logic.plan_request import PlanOptions, plan_request
from selfbase.rest.logic.preferences import list_applied
from selfbase.rest.logic.render_request import (
    Rendered,
    RenderedRequest,
    render_request,
    render_stream,
)
from selfbase.rest.logic.request import Ask, Window


@dataclass(frozen=True, slots=True)
class Compiled:
    """What stays the same for every request of one kind.

    `address` is the path of the answer's locations, `content_headers` tell of its body, `applied` is
    the value of `Preference-Applied`, `stream` a form whose rows can be sent as they come.
    """

    ask: Ask
    plan: Plan
    rendered: RenderedRequest
    address: str
    content_headers: tuple[tuple[str, str], ...]
    applied: str
    stream: Rendered | None


def compile_request(ask: Ask, catalog: Catalog, options: PlanOptions, mark: str) -> Compiled:
    """Plans and renders.  Raises RestFailure."""
    plan = plan_request(ask, catalog, options)
    content_headers = [("Content-Type", plan.handler.media.content_type)]
    if ask.profiled:
        content_headers.append(("Content-Profile", ask.schema))
    return Compiled(
        ask,
        plan,
        render_request(plan, ask.preferences, options.rows_max, mark=mark),
        f"/{quote(ask.name)}",
        tuple(content_headers),
        _list_applied(ask, plan, options),
        _render_stream(ask, plan, options),
    )


def _render_stream(ask: Ask, plan: Plan, options: PlanOptions) -> Rendered | None:
    """The same read with its rows one by one, where the answer is an array of rows."""
    plain = plan.handler.kind == "array" and plan.handler.media.kind != "plan"
    if ask.action != "read" or not plain or plan.count in ("planned", "estimated"):
        return None
    return render_stream(plan, options.rows_max)


def _list_applied(ask: Ask, plan: Plan, options: PlanOptions) -> str:
    """The preferences that meant something for this plan."""
    return list_applied(
        ask.preferences,
        resolution=ask.action == "insert" and (bool(plan.primary_key) or plan.on_conflict),
        missing=ask.action in ("insert", "update"),
        representation=plan.write is not None,
        affected=ask.action in ("update", "delete", "call"),
        tx=options.tx_override,
    )


def bind_values(
    rendered: Rendered,
    values: list[bytes | None],
    window: Window,
    payload: Payload | None,
    *,
    octets: bool = False,
) -> tuple[bytes | None, ...]:
    """The parameters of one statement.  `octets` sends the body as bytea."""
    return tuple(_bind(source, values, window, payload, octets) for source in rendered.sources)


def _bind(
    source: Source,
    values: list[bytes | None],
    window: Window,
    payload: Payload | None,
    octets: bool,
) -> bytes | None:
    if isinstance(source, bytes):
        return source
    if isinstance(source, tuple):
        several = [_bind(one, values, window, payload, octets) or b"" for one in source]
        texts = [one.decode("utf-8", "replace") for one in several]
        return build_array_literal(texts).encode()
    if source >= 0:
        return values[source]
    if source == LIMIT:
        return None if window.limit is None else b"%d" % window.limit
    if source <= FIELD:
        assert payload is not None
        return encode_value(payload.fields[FIELD - source][1])
    if source == BODY:
        body = payload.body if payload is not None else b""
        return b"\\x" + body.hex().encode() if octets else body
    return b"%d" % window.offset
