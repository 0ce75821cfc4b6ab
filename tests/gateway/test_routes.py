"""The public route table, and paths that try to reach what they may not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfbase.gateway.routes import (
    ROUTES,
    Gate,
    PathRefused,
    RouteTable,
    Row,
    normalise_path,
)

TABLE = RouteTable()

CASES = [
    ("/auth/v1/verify", "auth", "/verify", Gate.OPEN),
    ("/auth/v1/callback", "auth", "/callback", Gate.OPEN),
    ("/auth/v1/authorize", "auth", "/authorize", Gate.OPEN),
    ("/auth/v1/.well-known/jwks.json", "auth", "/.well-known/jwks.json", Gate.OPEN),
    ("/auth/v1/verifyx", "auth", "/verifyx", Gate.KEY),
    ("/auth/v1/token", "auth", "/token", Gate.KEY),
    ("/auth/v1", "auth", "/", Gate.KEY),
    ("/sso/saml/acs", "auth", "/sso/saml/acs", Gate.OPEN),
    ("/rest/v1", "rest", "/", Gate.SERVICE),
    ("/rest/v1/", "rest", "/", Gate.SERVICE),
    ("/rest/v1/todos", "rest", "/todos", Gate.KEY),
    ("/rest/v1/rpc/f", "rest", "/rpc/f", Gate.KEY),
    ("/rest/v12/todos", "studio", "/rest/v12/todos", Gate.BASIC),
    ("/graphql/v1", "graphql", "/", Gate.KEY),
    ("/realtime/v1/api/tenants", "realtime", "/", Gate.BLOCKED),
    ("/realtime/v1/api/tenants/x/health", "realtime", "/x/health", Gate.BLOCKED),
    ("/realtime/v1/api/openapi", "realtime", "/", Gate.BLOCKED),
    ("/realtime/v1/api/broadcast", "realtime", "/api/broadcast", Gate.KEY),
    ("/realtime/v1/websocket", "realtime", "/socket/websocket", Gate.KEY),
    ("/storage/v1/object/a", "storage", "/object/a", Gate.OPEN),
    ("/functions/v1/hello", "functions", "/hello", Gate.OPEN),
    ("/pg/tables", "meta", "/tables", Gate.SERVICE),
    ("/mcp", "studio", "/", Gate.BLOCKED),
    ("/api/mcp", "studio", "/", Gate.BLOCKED),
    ("/analytics/v1/x", "logs", "/x", Gate.BLOCKED),
    ("/", "studio", "/", Gate.BASIC),
    ("/project/default", "studio", "/project/default", Gate.BASIC),
]


@pytest.mark.parametrize(("path", "service", "upstream", "gate"), CASES)
def test_each_public_path_has_its_service(
    path: str, service: str, upstream: str, gate: Gate
) -> None:
    match = TABLE.find(path)
    assert (match.row.service, match.row.gate) == (service, gate)
    if gate is not Gate.BLOCKED:
        assert match.path == upstream


@pytest.mark.parametrize(
    "path",
    [
        "//pg/tables",
        "/./pg/tables",
        "/rest/v1/../../pg/tables",
        "/rest/v1/%2e%2e/%2E%2e/pg/tables",
        "/auth/v1/verify/../../../pg/tables",
    ],
)
def test_another_spelling_of_a_path_meets_the_same_gate(path: str) -> None:
    match = TABLE.find(normalise_path(path))
    assert (match.row.service, match.row.gate) == ("meta", Gate.SERVICE)


@pytest.mark.parametrize(
    "path",
    [
        "/pg%2ftables",
        "/rest/v1/%2Fpg",
        "/rest/v1/..%5cpg",
        "/rest/v1\\pg",
        "/../etc/passwd",
        "/rest/v1/a%00b",
        "/rest/v1/a b",
        "/a\tb",
    ],
)
def test_paths_with_two_readings_are_refused(path: str) -> None:
    with pytest.raises(PathRefused):
        normalise_path(path)


def test_object_names_keep_their_spelling() -> None:
    match = TABLE.find_raw("/storage/v1/object/bucket/a//b%2Fc/../d")
    assert match is not None
    assert match.path == "/object/bucket/a//b%2Fc/../d"
    assert TABLE.find_raw("//storage/v1/object") is None


@given(st.text(alphabet="ab/.%2eF5c", max_size=40))
def test_a_normal_path_is_its_own_normal_form(text: str) -> None:
    try:
        once = normalise_path("/" + text)
    except PathRefused:
        return
    assert normalise_path(once) == once
    assert ".." not in once.split("/")
    assert "//" not in once


def test_prefixes_are_told_apart_since_what_was_judged_is_remembered_by_them() -> None:
    with pytest.raises(ValueError, match="same prefix"):
        RouteTable((Row("/pg/", "meta", "/", Gate.KEY), *ROUTES))
    with pytest.raises(ValueError, match="last row"):
        RouteTable(ROUTES[:-1])
