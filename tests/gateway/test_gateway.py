"""The gateway as callers meet it: keys, gates, paths, CORS, limits, health, and its own errors."""

from __future__ import annotations

import asyncio
import dataclasses
from base64 import b64encode
from pathlib import Path

import pytest

from selfbase.database.database import Database, DatabaseSettings
from selfbase.gateway.events import RequestServed, ServiceFailed
from selfbase.gateway.gateway import Gateway, OneProject
from selfbase.gateway.routes import ROUTES, Gate, Row
from selfbase.gateway.settings import GatewaySettings
from selfbase.http.headers import Headers
from selfbase.http.testing import Answer, Client
from selfbase.http.values import Request, Response, WebSocket, json_response
from selfbase.identity.secrets import make_secrets
from selfbase.identity.tokens import sign_token
from selfbase.kit.events import Event, Events
from selfbase.project import Health, Project

SECRETS = make_secrets("test")
ANON = {"apikey": SECRETS.publishable_key}
SERVICE = {"apikey": SECRETS.secret_key}


class Mirror:
    """A service that tells what reached it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = Health.HEALTHY

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def answer(self, request: Request) -> Response:
        if request.path == "/crash":
            raise RuntimeError("a secret detail")
        seen = {
            "service": self.name,
            "path": request.path,
            "prefix": request.prefix,
            "query": request.query,
            "authorization": request.headers.find("authorization"),
            "apikey": request.headers.find("apikey"),
            "sb_api_key": request.headers.find("sb-api-key"),
            "client": request.client,
            "scheme": request.scheme,
            "host": request.host,
        }
        return json_response(seen, 200, [("access-control-allow-origin", "https://own.test")])

    async def connect(self, socket: WebSocket) -> None: ...

    async def health(self) -> Health:
        return self.state


class Stack:
    def __init__(
        self, settings: GatewaySettings | None = None, routes: tuple[Row, ...] = ROUTES
    ) -> None:
        self.events: list[Event] = []
        events = Events(self.events.append)
        database = Database(DatabaseSettings(conninfo="host=/nowhere"), events)
        self.project = Project(
            ref="test",
            api_url="http://localhost",
            data_dir=Path("/nowhere"),
            database=database,
            secrets=SECRETS,
            events=events,
        )
        for name in ("auth", "rest", "storage", "meta", "functions", "studio"):
            self.project.services[name] = Mirror(name)
        gateway = Gateway(OneProject(self.project), settings or GatewaySettings(), events, routes)
        self.gateway = gateway
        self.client = Client(gateway)

    async def get(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        return await self.client.get(path, headers=headers or {})


@pytest.fixture
def stack() -> Stack:
    return Stack()


async def test_an_opaque_key_becomes_a_token_and_the_prefix_goes(stack: Stack) -> None:
    seen = (await stack.get("/rest/v1/todos?select=id", ANON)).json()
    assert seen["service"] == "rest"
    assert (seen["path"], seen["prefix"], seen["query"]) == ("/todos", "/rest/v1", "select=id")
    assert seen["authorization"] == f"Bearer {SECRETS.anon_key_asymmetric}"
    assert seen["apikey"] == SECRETS.anon_key_asymmetric
    verified = stack.project.tokens.verify(SECRETS.anon_key_asymmetric)
    assert verified["role"] == "anon"


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "No API key found in request"),
        ({"apikey": ""}, "No API key found in request"),
        ({"authorization": "Bearer x.y.z"}, "No API key found in request"),
        ({"apikey": "nonsense"}, "Invalid API key"),
        ({"apikey": SECRETS.secret_key[:-1] + "~"}, "Invalid API key"),
        ({"apikey": SECRETS.jwt_secret}, "Invalid API key"),
    ],
)
async def test_without_a_key_nothing_passes(
    stack: Stack, headers: dict[str, str], message: str
) -> None:
    for path in ("/rest/v1/todos", "/auth/v1/user", "/graphql/v1", "/pg/tables", "/rest/v1/"):
        answer = await stack.get(path, headers)
        assert (answer.status, answer.json()["message"]) == (401, message)
        assert answer.json()["hint"]


async def test_a_signed_key_is_judged_anew_where_a_lasting_one_is_remembered(stack: Stack) -> None:
    signed = sign_token(SECRETS.keys()[0], {"role": "anon"})
    for key, after in ((signed, 401), (SECRETS.publishable_key, 200)):
        fields = Headers([("apikey", key)])

        async def ask(fields: Headers = fields) -> int:
            request = Request("GET", "/rest/v1/todos", headers=fields.share())
            return (await stack.gateway.answer(request)).status

        stack.project.tokens.replace(SECRETS.keys())
        assert [await ask(), await ask()] == [200, 200]
        stack.project.tokens.replace(())
        assert await ask() == after


async def test_where_no_key_is_required_a_false_one_and_administration_still_are_refused() -> None:
    stack = Stack(dataclasses.replace(GatewaySettings(), key_required=False))
    seen = (await stack.get("/rest/v1/todos")).json()
    assert (seen["path"], seen["authorization"], seen["apikey"]) == ("/todos", None, None)
    token = {"authorization": "Bearer a.b.c"}
    assert (await stack.get("/auth/v1/user", token)).json()["authorization"] == "Bearer a.b.c"
    assert (await stack.get("/rest/v1/todos", {"apikey": "nonsense"})).status == 401
    for path in ("/pg/tables", "/rest/v1/"):
        assert (await stack.get(path)).status == 401
        assert (await stack.get(path, ANON)).status == 403


@pytest.mark.parametrize("path", ["/pg/tables", "//pg/tables", "/rest/v1/../../pg/x", "/rest/v1/"])
async def test_the_anon_key_does_not_open_administration(stack: Stack, path: str) -> None:
    for headers in (ANON, {"apikey": SECRETS.anon_key}):
        assert (await stack.get(path, headers)).status == 403
    assert (await stack.get(path, SERVICE)).status == 200


@pytest.mark.parametrize("path", ["/pg%2ftables", "/rest/v1/..%5c..%5cpg", "/..", "/rest/v1/%00"])
async def test_paths_with_two_readings_are_refused(stack: Stack, path: str) -> None:
    answer = await stack.get(path, SERVICE)
    assert (answer.status, answer.json()["code"]) == (400, "bad_request")


async def test_blocked_routes_stay_blocked_for_everyone(stack: Stack) -> None:
    for path in ("/realtime/v1/api/tenants", "/mcp", "/api/mcp", "/analytics/v1/query"):
        assert (await stack.get(path, SERVICE)).status == 403


async def test_open_routes_need_no_key_but_refuse_a_false_one(stack: Stack) -> None:
    assert (await stack.get("/auth/v1/verify?token=x")).json()["service"] == "auth"
    assert (await stack.get("/auth/v1/verify", {"apikey": "sb_secret_x"})).status == 401


async def test_a_signature_for_storage_is_left_alone_and_an_empty_one_goes(stack: Stack) -> None:
    signed = "AWS4-HMAC-SHA256 Credential=x"
    seen = (await stack.get("/storage/v1/s3/bucket", {"authorization": signed})).json()
    assert seen["authorization"] == signed
    seen = (await stack.get("/storage/v1/s3/bucket", {"authorization": ""})).json()
    assert seen["authorization"] is None


async def test_object_names_reach_storage_as_they_were_spelt(stack: Stack) -> None:
    seen = (await stack.get("/storage/v1/object/b/a%2Fb//c")).json()
    assert seen["path"] == "/object/b/a%2Fb//c"


async def test_a_client_cannot_bring_headers_of_the_gateway(stack: Stack) -> None:
    seen = (await stack.get("/functions/v1/f", {"sb-api-key": "forged"})).json()
    assert seen["sb_api_key"] is None


async def test_a_service_that_is_not_there_is_named(stack: Stack) -> None:
    answer = await stack.get("/graphql/v1", ANON)
    assert answer.status == 501
    assert answer.json()["service"] == "graphql"


async def test_studio_asks_for_its_login(stack: Stack) -> None:
    refused = await stack.get("/")
    assert refused.status == 401
    assert refused.headers.get("www-authenticate").startswith("Basic ")
    wrong = b64encode(f"{SECRETS.dashboard_username}:wrong".encode()).decode()
    for value in (f"Basic {wrong}", "Basic !!!", "Bearer x", "Basic "):
        assert (await stack.get("/", {"authorization": value})).status == 401
    right = b64encode(
        f"{SECRETS.dashboard_username}:{SECRETS.dashboard_password}".encode()
    ).decode()
    seen = (await stack.get("/project", {"authorization": f"Basic {right}"})).json()
    assert (seen["service"], seen["authorization"]) == ("studio", None)


async def test_a_crash_is_a_plain_500_and_an_event(stack: Stack) -> None:
    answer = await stack.get("/rest/v1/crash", ANON)
    assert answer.status == 500
    assert b"secret detail" not in answer.body
    assert any(isinstance(event, ServiceFailed) for event in stack.events)


async def test_every_request_is_logged_without_its_query_or_key(stack: Stack) -> None:
    await stack.get(f"/rest/v1/todos?apikey={SECRETS.secret_key}&email=eq.a@b.test")
    [served] = [event for event in stack.events if isinstance(event, RequestServed)]
    assert list(served.fields()) == [field.name for field in dataclasses.fields(served)]
    assert (served.path, served.status, served.key) == ("/rest/v1/todos", 200, "secret")
    assert SECRETS.secret_key not in repr(served)
    assert "a@b.test" not in repr(served)


async def test_cors_is_the_gateways_own(stack: Stack) -> None:
    asked = {
        "origin": "https://app.test",
        "access-control-request-method": "PATCH",
        "access-control-request-headers": "authorization, x-anything",
    }
    preflight = await stack.client.request("OPTIONS", "/rest/v1/todos", headers=asked)
    assert preflight.status == 200
    assert preflight.headers.get("access-control-allow-headers") == "authorization, x-anything"
    assert "PATCH" in preflight.headers.get("access-control-allow-methods")
    for path in ("/rest/v1/todos", "/nothing"):
        answer = await stack.get(path, {"origin": "https://app.test", **ANON})
        assert answer.headers.get_all("access-control-allow-origin") == ["*"]
        assert "content-range" in answer.headers.get("access-control-expose-headers")


async def test_addresses_are_believed_only_from_a_trusted_proxy() -> None:
    stack = Stack(GatewaySettings(trusted_proxies=("10.0.0.0/8",)))
    told = {
        "x-forwarded-for": "6.6.6.6, 203.0.113.9, 10.0.0.2",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "api.example.test",
        **ANON,
    }
    stack.client.client = "10.0.0.1"
    seen = (await stack.get("/rest/v1/t", told)).json()
    assert (seen["client"], seen["scheme"], seen["host"]) == (
        "203.0.113.9",
        "https",
        "api.example.test",
    )
    stack.client.client = "198.51.100.1"
    seen = (await stack.get("/rest/v1/t", told)).json()
    assert (seen["client"], seen["scheme"]) == ("198.51.100.1", "http")


async def test_the_rate_limit_is_off_by_default_and_tells_when_to_come_back() -> None:
    for _ in range(50):
        assert (await Stack().get("/rest/v1/t", ANON)).status == 200
    limited = Stack(GatewaySettings(rate_limit_per_s=0.01, rate_limit_burst=2))
    statuses = [(await limited.get("/rest/v1/t", ANON)).status for _ in range(3)]
    assert statuses == [200, 200, 429]
    last = await limited.get("/rest/v1/t", ANON)
    assert int(last.headers.get("retry-after")) > 0
    assert last.headers.get("x-ratelimit-limit") == "2"
    assert (await limited.get("/rest/v1/t", SERVICE)).status == 200


async def test_health_is_the_sum_of_all_services(stack: Stack) -> None:
    answer = await stack.get("/health")
    assert answer.status == 503
    report = answer.json()
    assert report["status"] == "UNHEALTHY"
    assert report["services"]["database"]["status"] == "UNHEALTHY"
    assert report["services"]["rest"]["status"] == "HEALTHY"
    assert (await stack.get("/ready")).status == 503
    assert (await stack.get("/live")).status == 200
    assert (await stack.client.post("/health")).status == 405


async def test_a_service_that_takes_too_long_is_a_504() -> None:
    stack = Stack(routes=(Row("/", "auth", "/", Gate.KEY, timeout_s=0.01),))
    never = asyncio.Event()

    class Slow(Mirror):
        async def answer(self, request: Request) -> Response:
            await never.wait()
            return Response(200)

    stack.project.services["auth"] = Slow("auth")
    answer = await stack.get("/user", ANON)
    assert (answer.status, answer.json()["code"]) == (504, "timeout")
