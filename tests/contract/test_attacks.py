"""Attacks on a running installation from outside, with nothing but bytes."""

from __future__ import annotations

import hmac
import socket
import time
from base64 import urlsafe_b64encode
from typing import Any

import httpx
import jwt
import orjson
import pytest
from tests.support.installation import Installation

ROUTES = [
    ("GET", "/rest/v1/todos"),
    ("GET", "/auth/v1/user"),
    ("POST", "/storage/v1/bucket"),
    ("GET", "/auth/v1/admin/users"),
    ("POST", "/realtime/v1/api/broadcast"),
]


def part(value: dict[str, Any]) -> str:
    return urlsafe_b64encode(orjson.dumps(value)).decode().rstrip("=")


def forge(name: str, values: dict[str, str]) -> str:
    """A token that claims to be the service role."""
    now = int(time.time())
    claims = {"role": "service_role", "sub": "x", "aud": "authenticated", "exp": now + 3600}
    secret = values["JWT_SECRET"]
    match name:
        case "alg none":
            return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."
        case "another secret":
            return jwt.encode(claims, "x" * 40, "HS256")
        case "expired":
            return jwt.encode({**claims, "exp": now - 3600}, secret, "HS256")
        case "not yet valid":
            return jwt.encode({**claims, "nbf": now + 3600}, secret, "HS256")
        case "foreign kid":
            return jwt.encode(claims, secret, "HS256", headers={"kid": "../../etc/passwd"})
        case "payload exchanged":
            head, _, signature = values["ANON_KEY"].split(".")
            return f"{head}.{part(claims)}.{signature}"
        case "public key as secret":
            keys = httpx.get(f"{values['API_URL']}/auth/v1/.well-known/jwks.json").json()["keys"]
            key = next(item for item in keys if item["kty"] == "EC")
            signed = f"{part({'alg': 'HS256', 'kid': key['kid']})}.{part(claims)}"
            digest = hmac.digest(orjson.dumps(key), signed.encode(), "sha256")
            return f"{signed}.{urlsafe_b64encode(digest).decode().rstrip('=')}"
        case "no JWT":
            return "a.b.c"
    raise AssertionError(name)


@pytest.mark.parametrize(
    "name",
    [
        "alg none",
        "another secret",
        "expired",
        "not yet valid",
        "foreign kid",
        "payload exchanged",
        "public key as secret",
        "no JWT",
    ],
)
def test_a_forged_token_opens_nothing(todos: Installation, name: str) -> None:
    values = todos.status()
    token = forge(name, values)
    headers = {"apikey": values["PUBLISHABLE_KEY"], "authorization": f"Bearer {token}"}
    for method, path in ROUTES:
        answer = httpx.request(
            method, values["API_URL"] + path, headers=headers, json={"messages": [], "name": "b"}
        )
        assert answer.status_code in (400, 401, 403), f"{path}: {answer.status_code}"
        assert "Traceback" not in answer.text
        assert token not in answer.text


def test_a_role_of_ones_own_choice_is_refused_by_the_database(todos: Installation) -> None:
    values = todos.status()
    for role in ("postgres", "supabase_admin", "authenticator", 'anon"; drop table todos; --'):
        token = jwt.encode({"role": role, "exp": int(time.time()) + 60}, values["JWT_SECRET"])
        answer = httpx.get(
            f"{values['API_URL']}/rest/v1/todos",
            headers={"apikey": values["PUBLISHABLE_KEY"], "authorization": f"Bearer {token}"},
        )
        assert answer.status_code in (401, 403)
    assert todos.sql("select to_regclass('public.todos') is not null") == [(True,)]


def raw(values: dict[str, str], data: bytes) -> bytes:
    host, port = values["API_URL"].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(data)
        pieces = []
        while piece := connection.recv(65536):
            pieces.append(piece)
        return b"".join(pieces)


def test_too_much_of_anything_is_refused(todos: Installation) -> None:
    values = todos.status()
    host = b"Host: a\r\nConnection: close\r\n"
    long_url = b"GET /rest/v1/todos?select=" + b"a" * 300_000 + b" HTTP/1.1\r\n" + host + b"\r\n"
    assert raw(values, long_url).startswith(b"HTTP/1.1 414 ")
    wide = b"GET / HTTP/1.1\r\n" + host + b"X-A: " + b"a" * 100_000 + b"\r\n\r\n"
    assert raw(values, wide).startswith(b"HTTP/1.1 431 ")
    many = b"GET / HTTP/1.1\r\n" + host + b"x: y\r\n" * 500 + b"\r\n"
    assert raw(values, many).startswith(b"HTTP/1.1 431 ")


def test_a_long_list_still_fits_into_the_address(todos: Installation) -> None:
    values = todos.status()
    ids = ",".join(str(number) for number in range(30_000))
    head = (
        f"GET /rest/v1/todos?select=id&id=in.({ids}) HTTP/1.1\r\nHost: a\r\n"
        f"apikey: {values['SECRET_KEY']}\r\nConnection: close\r\n\r\n"
    )
    assert raw(values, head.encode()).startswith(b"HTTP/1.1 200 ")


def test_a_body_that_is_too_large_is_refused_by_every_service(todos: Installation) -> None:
    values = todos.status()
    headers = {"apikey": values["SECRET_KEY"], "content-type": "application/json"}
    body = b'{"a":"' + b"x" * 60 * 1024 * 1024 + b'"}'
    for path in ("/auth/v1/signup", "/realtime/v1/api/broadcast", "/pg/query"):
        answer = httpx.post(values["API_URL"] + path, headers=headers, content=body, timeout=60)
        assert answer.status_code in (400, 413), path


def test_one_slow_client_keeps_nobody_waiting(todos: Installation) -> None:
    values = todos.status()
    host, port = values["API_URL"].removeprefix("http://").split(":")
    slow = [socket.create_connection((host, int(port))) for _ in range(200)]
    try:
        for connection in slow:
            connection.sendall(b"POST /auth/v1/token HTTP/1.1\r\nHost: a\r\nContent-Le")
        answer = httpx.get(
            f"{values['API_URL']}/rest/v1/todos", headers={"apikey": values["SECRET_KEY"]}
        )
        assert answer.status_code == 200
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 100,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xff" * 200,
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /rest/v1/todos HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
    ],
)
def test_bytes_that_are_no_request_are_refused(todos: Installation, data: bytes) -> None:
    answer = raw(todos.status(), data)
    assert answer.startswith(b"HTTP/1.1 4")
    assert b"Traceback" not in answer


def test_nothing_hidden_is_left_in_the_logs(todos: Installation) -> None:
    values = todos.status()
    httpx.get(f"{values['API_URL']}/rest/v1/todos?apikey={values['SECRET_KEY']}")
    httpx.post(
        f"{values['API_URL']}/auth/v1/token?grant_type=password",
        headers={"apikey": values["PUBLISHABLE_KEY"]},
        json={"email": "someone@example.com", "password": "a very secret password"},
    )
    text = todos.run("logs", "--json", "-n", "100000").stdout
    assert "gateway.request" in text
    for secret in (values["SECRET_KEY"], values["JWT_SECRET"], "a very secret password"):
        assert secret not in text
