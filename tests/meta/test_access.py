"""Attacks: who may call, and what hostile names, bodies and headers can do."""

from __future__ import annotations

import os
from base64 import b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives import padding
from tests.meta.conftest import CRYPTO_KEY, Api, make_api, make_token
from tests.support.postgres import PASSWORD, FreshDatabase

from selfbase.kit.routes import Access
from selfbase.meta.errors import ConnectionMissing, ConnectionUnreadable
from selfbase.meta.events import RequestRefused, SqlRun
from selfbase.meta.logic.connection_header import decrypt_connection, make_cipher
from selfbase.meta.routes import ROUTES


def encrypt_connection(url: str, passphrase: str, salt: bytes) -> str:
    """What a client of CryptoJS would send."""
    padder = padding.PKCS7(128).padder()
    encryptor = make_cipher(passphrase, salt).encryptor()
    padded = padder.update(url.encode()) + padder.finalize()
    return b64encode(b"Salted__" + salt + encryptor.update(padded) + encryptor.finalize()).decode()


CALLERS = {
    "nobody": ("", 401),
    "no scheme": (make_token("service_role"), 401),
    "not a token": ("Bearer x.y.z", 401),
    "anon": (f"Bearer {make_token('anon')}", 403),
    "a user": (f"Bearer {make_token('authenticated', sub='1')}", 403),
    "postgres": (f"Bearer {make_token('postgres')}", 403),
    "no role": (f"Bearer {make_token('')}", 403),
    "expired": (f"Bearer {make_token('service_role', exp=1)}", 401),
    "forged": (f"Bearer {make_token('service_role')[:-4]}AAAA", 401),
    "unsigned": ("Bearer eyJhbGciOiJub25lIn0.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.", 401),
}
CLOSED = [route for route in ROUTES if route.access is not Access.OPEN]


@pytest.mark.parametrize("caller", CALLERS)
async def test_only_the_service_role_may_call_any_route(project: Api, caller: str) -> None:
    authorization, status = CALLERS[caller]
    for route in CLOSED:
        answer = await project.client.request(
            route.method,
            route.path.replace("{id}", "1").replace("{language}", "go"),
            headers={"authorization": authorization},
            json={"query": "select 1"} if route.method != "GET" else None,
        )
        assert answer.status == status, route.path
        assert set(answer.json()) == {"error"}
    refused = [event for event in project.events if isinstance(event, RequestRefused)]
    assert len(refused) == len(CLOSED)
    assert not any(isinstance(event, SqlRun) for event in project.events)


async def test_every_route_but_two_is_closed() -> None:
    assert {route.path for route in ROUTES if route.access is Access.OPEN} == {"/", "/health"}


async def test_no_superuser_is_at_work(project: Api) -> None:
    sql = "select current_user as name, rolsuper from pg_roles where rolname = current_user"
    assert await project.sql(sql) == [{"name": "postgres", "rolsuper": False}]


HOSTILE = [
    'x"; drop table author; --',
    "x'; drop table author; --",
    "$$",
    "\\",
    'a"b.c',
    "--",
    "é 💥",
]


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_names_are_names(api: Api, name: str) -> None:
    schema = await api.post("/schemas", {"name": name})
    table = await api.post("/tables", {"name": name, "schema": name, "comment": name})
    assert (table["name"], table["comment"]) == (name, name)
    column = {"table_id": table["id"], "name": name, "type": "text", "comment": name}
    column = await api.post("/columns", {**column, "default_value": name})
    assert (column["name"], column["comment"]) == (name, name)
    await api.patch(f"/columns/{column['id']}", {"is_unique": True, "is_nullable": False})
    await api.patch(f"/tables/{table['id']}", {"primary_keys": [{"name": name}]})
    function = await api.post(
        "/functions",
        {
            "name": name,
            "schema": name,
            "definition": f"begin return new; end -- {name}",
            "return_type": "trigger",
            "language": "plpgsql",
        },
    )
    trigger = await api.post(
        "/triggers",
        {
            "name": name,
            "table": name,
            "schema": name,
            "function_name": name,
            "function_schema": name,
            "function_args": [name],
            "activation": "BEFORE",
            "events": ["INSERT"],
        },
    )
    assert (trigger["name"], trigger["function_args"]) == (name, [name])
    policy = await api.post("/policies", {"name": name, "table": name, "schema": name})
    assert policy["name"] == name
    publication = await api.post("/publications", {"name": name, "tables": [f"{name}x"]}, 400)
    assert "does not exist" in publication["error"]
    grant = {"relation_id": table["id"], "grantee": name, "privilege_type": "SELECT"}
    assert "does not exist" in (await api.post("/table-privileges", [grant], 400))["error"]
    for path, item in (("policies", policy), ("triggers", trigger), ("functions", function)):
        assert (await api.delete(f"/{path}/{item['id']}"))["name"] == name
    for language in ("typescript", "go", "swift", "python"):
        await api.get(f"/generators/{language}")
    await api.delete(f"/schemas/{schema['id']}?cascade=true")
    assert await api.sql("select count(*) as n from author") == [{"n": 2}]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/columns", {"name": "c", "type": "int4", "check": "true); drop table author; --"}),
        (
            "/columns",
            {
                "name": "c",
                "type": "int4",
                "default_value": "1); drop table author; --",
                "default_value_format": "expression",
            },
        ),
        ("/columns", {"name": "c", "type": "a.b; drop table author; --"}),
        (
            "/policies",
            {"name": "p", "table": "author", "definition": "true); drop table author; --"},
        ),
        (
            "/functions",
            {
                "name": "f",
                "definition": "",
                "args": ["a int) returns int as '' language sql; drop table author; --"],
            },
        ),
        ("/functions", {"name": "f", "definition": "", "return_type": "void; drop table author"}),
        (
            "/triggers",
            {
                "name": "t",
                "table": "author",
                "function_name": "note_change",
                "activation": "BEFORE",
                "events": ["UPDATE OF name on author execute function f(); drop table author; --"],
            },
        ),
        ("/roles", {"name": "r", "config": {"x = 1; drop table author; --": "1"}}),
        ("/roles", {"name": "r", "config": {"search_path": "x'; drop table author; --"}}),
    ],
)
async def test_a_fragment_of_sql_stays_one_statement(
    api: Api, path: str, body: dict[str, Any]
) -> None:
    if path == "/columns":
        body = {**body, "table_id": (await api.find("/tables", "empty"))["id"]}
    answer = await api.client.post(path, json=body)
    assert answer.status in {200, 400}, answer.text
    if path == "/roles" and answer.status == 200:
        await api.delete(f"/roles/{answer.json()['id']}")
    assert await api.sql("select count(*) as n from author") == [{"n": 2}]


@pytest.mark.parametrize(
    "query",
    [
        "included_schemas=public' or 1=1 --",
        "excluded_schemas='); drop table author; --",
        "limit=1; drop table author",
    ],
)
async def test_filters_are_values(api: Api, query: str) -> None:
    for path in ("/tables", "/columns", "/functions", "/generators/go"):
        assert (await api.client.get(f"{path}?{query}")).status in {200, 400}
    assert await api.sql("select count(*) as n from author") == [{"n": 2}]


async def test_a_header_cannot_lead_a_project_elsewhere(
    project: Api, fresh_database: FreshDatabase
) -> None:
    url = "postgresql://supabase_admin:x@example.com:5432/other"
    headers = {"x-connection-encrypted": encrypt_connection(url, CRYPTO_KEY, os.urandom(8))}
    body = {"query": "select current_user as u, current_database() as d"}
    answer = await project.post("/query", body, headers=headers)
    assert answer == [{"u": "postgres", "d": fresh_database.name}]


async def test_a_header_may_ask_for_the_reading_login(project: Api) -> None:
    url = "postgresql://supabase_read_only_user:x@db:5432/postgres"
    headers = {"x-connection-encrypted": encrypt_connection(url, CRYPTO_KEY, os.urandom(8))}
    body = {"query": "select current_user as u"}
    answer = await project.post("/query", body, headers=headers)
    assert answer == [{"u": "supabase_read_only_user"}]
    await project.post("/query", {"query": "delete from author"}, 403, headers=headers)
    await project.post("/tables", {"name": "t"}, 403, headers=headers)


@pytest.mark.parametrize(
    "sql",
    [
        "insert into author (name) values ('x')",
        "with d as (delete from author returning *) select * from d",
        "commit; delete from author",
        "set transaction read write; delete from author",
        "set default_transaction_read_only = off",
        "do $$ begin delete from author; end $$",
        "explain analyze delete from author",
        "create table t ()",
        "select * into t from author",
        "reset role; truncate author cascade",
        "call nothing()",
    ],
)
async def test_read_only_reads_only(read_only: Api, sql: str) -> None:
    assert "read-only" in (await read_only.sql(sql, 403))["error"]
    assert await read_only.sql("select count(*) as n from author") == [{"n": 2}]


async def test_read_only_stops_functions_that_write(read_only: Api, project: Api) -> None:
    await project.sql(
        "create function sneak() returns void language sql as 'delete from cover; delete from book'"
    )
    answer = await read_only.sql("select sneak()", 400)
    assert answer["code"] == "25006"
    answer = await read_only.sql(
        "select set_config('transaction_read_only', 'off', true), sneak()", 400
    )
    assert answer["code"] in {"25001", "25006"}


async def test_read_only_lists_and_refuses_writes(read_only: Api) -> None:
    assert await read_only.find("/tables", "author")
    assert await read_only.get("/generators/go")
    table = {"name": "t"}
    assert await read_only.post("/tables", table, 403) == {"error": "This connection is read-only"}


MADE_BY_CRYPTO_JS = (
    "U2FsdGVkX18Dunsz22e9KzyZo98849+02bWsmsgl11oVnqYzHtMjlGCkZfQHpYkEqFBdRdr+hbZP5nSytbsPqOWhl391"
    "gXXU1sR6mt4FmRs="
)
URL = "postgresql://postgres:a b@db.example.com:5432/postgres"


def test_the_header_is_openssls_format() -> None:
    """The value was made with crypto-js 4: `CryptoJS.AES.encrypt(url, "SAMPLE_KEY").toString()`."""
    assert decrypt_connection(MADE_BY_CRYPTO_JS, "SAMPLE_KEY") == URL
    assert decrypt_connection(encrypt_connection(URL, "k", b"12345678"), "k") == URL


@pytest.mark.parametrize(
    "value", ["", "x", "U2FsdGVkX18=", "U2FsdGVkX18BAgMEBQYHCA==", "é", "A" * 10_000]
)
def test_a_broken_header_is_refused(value: str) -> None:
    with pytest.raises(ConnectionUnreadable):
        decrypt_connection(value, "SAMPLE_KEY")


@pytest.mark.parametrize(
    ("plain", "failure"),
    [
        ("", ConnectionMissing),
        ("  ", ConnectionMissing),
        ("postgres://name:password@:5432/postgres", ConnectionUnreadable),
        ("http://db:5432/postgres", ConnectionUnreadable),
        ("postgres://db:port/postgres", ConnectionUnreadable),
        ("host=db user=postgres", ConnectionUnreadable),
    ],
)
def test_a_header_must_hold_a_url(plain: str, failure: type[Exception]) -> None:
    with pytest.raises(failure):
        decrypt_connection(encrypt_connection(plain, "k", b"12345678"), "k")


async def test_alone_the_header_names_the_database(fresh_database: FreshDatabase) -> None:
    api = make_api("postgresql://nobody:x@127.0.0.1:1/nowhere")
    url = fresh_database.tcp_url("authenticator", PASSWORD)
    headers = {"x-connection-encrypted": encrypt_connection(url, CRYPTO_KEY, b"12345678")}
    answer = await api.post("/query", {"query": "select current_user as u"}, headers=headers)
    assert answer == [{"u": "authenticator"}]
    other = {"x-connection-encrypted": encrypt_connection(url, "another key", b"12345678")}
    answer = await api.post("/query", {"query": "select 1"}, 500, headers=other)
    assert answer == {"error": "failed to process upstream connection details"}
