"""HTTP: messages from servers, and what health checks and operators ask.

Source: reference/realtime.md sections 8 and 13.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

import orjson

from selfbase.http.values import BodyTooLarge, Request, Response, json_response
from selfbase.identity.tokens import TokenInvalid, TokenVerifier, key_from_secret
from selfbase.kit.failures import Failure
from selfbase.project import Health
from selfbase.realtime.authorization import Asker
from selfbase.realtime.errors import RealtimeFailure, Suspended
from selfbase.realtime.logic.frames import Broadcast, Form, render_object
from selfbase.realtime.logic.protocol import PREFIX
from selfbase.realtime.tokens import Grant

if TYPE_CHECKING:
    from selfbase.realtime.service import Realtime

BATCH_BYTES_MAX = 8_000_000
BATCH_MESSAGES_MAX = 1000
SINGLE_BYTES_MAX = 8_000_000


class Refused(Failure):
    """An HTTP answer `{"message": …}`."""

    code = "refused"


def authenticate(realtime: Realtime, request: Request) -> Grant:
    """The caller of an HTTP request.  Raises Refused."""
    bearer = request.headers.get("authorization")
    token = bearer[7:] if bearer[:7].lower() == "bearer " else ""
    if not token or token.startswith("sb_"):
        token = request.headers.get("apikey") or request.headers.get("x-api-key") or token
    try:
        return realtime.core.doorkeeper.verify(token)
    except RealtimeFailure:
        raise Refused("Unauthorized", status=401) from None


def read_headers(request: Request) -> str:
    """The `x-…` headers as policies see them in `request.headers`."""
    chosen = {name: value for name, value in request.headers if name.startswith("x-")}
    return orjson.dumps(chosen).decode()


def _check_rate(realtime: Realtime, batch: int = 0) -> list[tuple[str, str]]:
    """The headers of the answer.  Raises Refused, also when the `batch` would not fit any more."""
    core = realtime.core
    limit = core.settings.messages_per_second_max
    rate = core.meters.message_rate()
    headers = [
        ("x-rate-rolling", f"{rate:.1f}"),
        ("x-rate-limit", str(limit)),
        ("x-rate-limit-remaining", str(max(0, int(limit - rate)))),
    ]
    if limit and rate >= limit:
        raise Refused(
            "You have exceeded your rate limit",
            status=429,
            headers=[*headers, ("retry-after", "5")],
        )
    if limit and batch and rate + batch > limit:
        raise Refused(
            "Too many messages to broadcast, please reduce the batch size",
            status=429,
            headers=headers,
        )
    return headers


async def broadcast_batch(realtime: Realtime, request: Request) -> Response:
    """`{"messages": [{topic, event, payload, private?}]}`: 202, or 422 with one object a message.
    Private messages that the caller may not send are left out without a word, as upstream does."""
    grant = authenticate(realtime, request)
    core = realtime.core
    if core.settings.is_off:
        raise Suspended("Tenant is suspended")
    body = await request.json(BATCH_BYTES_MAX)
    messages = body.get("messages") if isinstance(body, dict) else None
    if not isinstance(messages, list) or len(messages) > BATCH_MESSAGES_MAX:
        return json_response({"errors": {"messages": ["is invalid"]}}, 422)
    problems = [_find_problems(item, core.settings.payload_bytes_max) for item in messages]
    if any(problems):
        return json_response({"errors": {"messages": problems}}, 422)
    headers = _check_rate(realtime, len(messages))
    allowed: dict[str, bool] = {}
    asker = Asker(grant.caller, read_headers(request))
    for item in messages:
        topic, private = item["topic"], item.get("private") is True
        if private and topic not in allowed:
            allowed[topic] = await core.authorizer.may_write(asker, topic, "broadcast")
        if not private and core.settings.private_only:
            continue
        if not private or allowed[topic]:
            core.meters.count_messages(1)
            core.rooms.send((private, topic), _make_message(item))
    return Response(202, headers)


def _make_message(item: dict[str, Any]) -> Broadcast:
    topic, event, id_ = item["topic"], item["event"], item.get("id")
    meta = orjson.dumps({"id": id_}) if isinstance(id_, str) else b""
    payload = render_object(event, orjson.dumps(item["payload"]), meta)
    return Broadcast(PREFIX + topic, event, payload, Form.OBJECT, meta, id_ if meta else None)


def _find_problems(item: Any, payload_bytes_max: int) -> dict[str, list[str]]:
    if not isinstance(item, dict):
        return {"topic": ["can't be blank"]}
    problems: dict[str, list[str]] = {}
    for name in ("topic", "event"):
        value = item.get(name)
        if value is None or value == "":
            problems[name] = ["can't be blank"]
        elif not isinstance(value, str):
            problems[name] = ["is invalid"]
    payload = item.get("payload")
    if payload is None:
        problems["payload"] = ["can't be blank"]
    elif not isinstance(payload, dict):
        problems["payload"] = ["is invalid"]
    elif len(orjson.dumps(payload)) > payload_bytes_max:
        problems["payload"] = ["Payload size exceeds tenant limit"]
    if not isinstance(item.get("private", False), (bool, type(None))):
        problems["private"] = ["is invalid"]
    return problems


async def broadcast_single(realtime: Realtime, request: Request) -> Response:
    """The body is the payload: JSON, or bytes.  202 without a body."""
    grant = authenticate(realtime, request)
    core = realtime.core
    if core.settings.is_off:
        raise Suspended("Tenant is suspended")
    named = request.headers.get("content-type").partition(";")[0].strip().lower()
    kind = named or "application/json"
    if kind not in ("application/json", "application/octet-stream"):
        error = "Content-Type must be application/json or application/octet-stream"
        return json_response({"error": error}, 415)
    payload = await request.body.read(SINGLE_BYTES_MAX)
    form = Form.JSON if kind == "application/json" else Form.RAW
    if form is Form.JSON:
        payload = payload or b"{}"
        try:
            orjson.loads(payload)
        except orjson.JSONDecodeError:
            return json_response({"errors": {"payload": ["is invalid"]}}, 422)
    if len(payload) > core.settings.payload_bytes_max:
        return json_response({"errors": {"payload": ["Payload size exceeds tenant limit"]}}, 422)
    headers = _check_rate(realtime)
    topic, event = request.params["topic"], request.params["event"]
    private = (request.query_value("private") or "").lower() == "true"
    if not private and core.settings.private_only:
        raise Refused("Unauthorized", status=403)
    asker = Asker(grant.caller, read_headers(request))
    if private and not await core.authorizer.may_write(asker, topic, "broadcast"):
        raise Refused("Unauthorized", status=403)
    core.meters.count_messages(1)
    core.rooms.send((private, topic), Broadcast(PREFIX + topic, event, payload, form))
    return Response(202, headers)


async def ping(realtime: Realtime, request: Request) -> Response:
    authenticate(realtime, request)
    return json_response({"message": "Success"})


async def check(realtime: Realtime, request: Request) -> Response:
    """The process answers."""
    return Response(200, [("content-type", "text/plain; charset=utf-8")], b"ok")


# The tenant API


def _admit(realtime: Realtime, request: Request, secret: str, *, anyone: bool = False) -> None:
    """A token signed with the operator's secret, or the project's service key; with `anyone` any
    token of the project.  Raises Refused."""
    bearer = request.headers.get("authorization")
    token = bearer[7:] if bearer[:7].lower() == "bearer " else ""
    if secret:
        if hmac.compare_digest(token.encode(), secret.encode()):
            return
        try:
            TokenVerifier([key_from_secret(secret)], cache_entries_max=0).verify(
                token, now_s=realtime.core.clock.now().timestamp()
            )
        except TokenInvalid:
            pass
        else:
            return
    try:
        grant = authenticate(realtime, request)
    except Refused:
        raise Refused("", status=403) from None
    if not anyone and not grant.caller.is_service:
        raise Refused("", status=403)


def _show_tenant(realtime: Realtime) -> dict[str, Any]:
    settings = realtime.core.settings
    return {
        "external_id": realtime.ref,
        "name": realtime.ref,
        "max_concurrent_users": settings.connections_max,
        "max_channels_per_client": settings.channels_per_socket_max,
        "max_events_per_second": settings.messages_per_second_max,
        "max_joins_per_second": settings.joins_per_second_max,
        "max_presence_events_per_second": settings.presence_per_second_max,
        "max_payload_size_in_kb": settings.payload_bytes_max // 1024,
        "private_only": settings.private_only,
        "presence_enabled": settings.presence_enabled,
        "suspend": settings.suspend,
        "extensions": [
            {
                "type": "postgres_cdc_rls",
                "settings": {
                    "publication": settings.publication,
                    "slot_name": settings.slot_name,
                    "poll_max_record_bytes": settings.change_bytes_max,
                    "region": settings.region,
                },
            }
        ],
    }


async def list_tenants(realtime: Realtime, request: Request) -> Response:
    _admit(realtime, request, realtime.core.settings.api_jwt_secret.reveal())
    return json_response({"data": [_show_tenant(realtime)]})


async def get_tenant(realtime: Realtime, request: Request) -> Response:
    _admit(realtime, request, realtime.core.settings.api_jwt_secret.reveal())
    _check_tenant(realtime, request)
    return json_response({"data": _show_tenant(realtime)})


def _check_tenant(realtime: Realtime, request: Request) -> None:
    # `realtime-dev` is what every self-hosted stack calls its only tenant.
    if request.params["id"] not in (realtime.ref, "realtime-dev"):
        raise Refused("Tenant not found", status=404)


async def get_tenant_health(realtime: Realtime, request: Request) -> Response:
    """What container health checks ask, with any key of the project."""
    secret = realtime.core.settings.api_jwt_secret.reveal()
    _admit(realtime, request, secret, anyone=True)
    _check_tenant(realtime, request)
    core = realtime.core
    connected = await realtime.is_database_up()
    healthy = connected and await realtime.health() is Health.HEALTHY
    shown = {
        "healthy": healthy,
        "db_connected": connected,
        "replication_connected": core.feed.reader.ready.is_set(),
        "connected_cluster": len(core.connections),
        "region": core.settings.region,
        "node": core.worker[:8],
    }
    return json_response({"data": shown}, 200 if healthy else 503)


async def disconnect_tenant(realtime: Realtime, request: Request) -> Response:
    """Ends every connection; clients come back by themselves."""
    _admit(realtime, request, realtime.core.settings.api_jwt_secret.reveal())
    _check_tenant(realtime, request)
    realtime.disconnect_all()
    return Response(204)


async def show_metrics(realtime: Realtime, request: Request) -> Response:
    _admit(realtime, request, realtime.core.settings.metrics_jwt_secret.reveal())
    kind = "text/plain; version=0.0.4; charset=utf-8"
    return Response(200, [("content-type", kind)], realtime.core.meters.render())


def render_failure(failure: Failure) -> Response:
    """Any expected failure as this service's clients know it."""
    if isinstance(failure, BodyTooLarge):
        return json_response({"errors": {"payload": ["Payload size exceeds tenant limit"]}}, 413)
    if failure.status == 403 and not failure.message:
        return Response(403, list(failure.headers))
    return json_response({"message": failure.message}, failure.status, list(failure.headers))
