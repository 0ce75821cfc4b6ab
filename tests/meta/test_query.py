"""`/query`: rows, values, several statements, parameters, errors, timeouts, limits."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from tempfile import NamedTemporaryFile
from typing import Any

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from tests.meta.conftest import Api, make_api
from tests.support.postgres import FreshDatabase

from selfbase.meta.events import SqlRun


@asynccontextmanager
async def refusable_server() -> AsyncIterator[int]:
    """A server that agrees to TLS and shows a certificate nobody vouches for: its port."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with NamedTemporaryFile(suffix=".pem") as file:
        plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write(plain + certificate)
        file.flush()
        context.load_cert_chain(file.name)

    async def shake_hands(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"S")
        with suppress(OSError):
            await writer.start_tls(context)
        writer.close()

    server = await asyncio.start_server(shake_hands, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_rows_are_objects(reading: Api) -> None:
    assert await reading.sql("select id, name from author order by id") == [
        {"id": 1, "name": "Ann"},
        {"id": 2, "name": "Bob"},
    ]


async def test_the_last_result_with_rows_counts(reading: Api) -> None:
    assert await reading.sql("select 1 as a; select 2 as b; select 3 as c where false") == [
        {"b": 2}
    ]
    assert await reading.sql("set work_mem = '1MB'") == []
    assert await reading.sql("-- nothing") == []


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("9007199254740991::int8", 9007199254740991),
        ("9007199254740992::int8", "9007199254740992"),
        ("array[1, null, 9007199254740992]::int8[]", ["1", None, "9007199254740992"]),
        ("1.50::numeric", "1.50"),
        ("array[1.5, 2]::numeric[]", [1.5, 2.0]),
        ("'NaN'::float8", None),
        ("0.1::float4", 0.1),
        ("true", True),
        ("'\\x00ff'::bytea", {"type": "Buffer", "data": [0, 255]}),
        ("'2026-11-20'::date", "2026-11-20"),
        ("'2026-11-20 10:00+02'::timestamptz at time zone 'utc'", "2026-11-20 08:00:00"),
        ("interval '1 day 2 hours'", "1 day 02:00:00"),
        ("point(1, 2)", "(1,2)"),
        ("'{\"a\": [1, null]}'::jsonb", {"a": [1, None]}),
        ("array['{\"a\": 1}']::json[]", [{"a": 1}]),
        ("array[['a', 'b,c'], ['\"', null]]", [["a", "b,c"], ['"', None]]),
        ("'{}'::text[]", []),
        ("'[0:1]={1,2}'::int4[]", [1, 2]),
        ("array['novel'::genre]", "{novel}"),
        ("null", None),
        ("'💥 \u0001'", "💥 \u0001"),
    ],
)
async def test_values_become_json(reading: Api, expression: str, value: Any) -> None:
    assert await reading.sql(f"select {expression} as v") == [{"v": value}]


async def test_of_columns_with_one_name_the_last_counts(reading: Api) -> None:
    assert await reading.sql("select 1 as a, 2 as b, 3 as a") == [{"a": 3, "b": 2}]


async def test_many_rows_arrive_whole(reading: Api) -> None:
    rows = await reading.sql("select i, repeat('x', 100) as t from generate_series(1, 20000) i")
    assert len(rows) == 20000
    assert rows[-1]["i"] == 20000


async def test_parameters_are_bound(reading: Api) -> None:
    sql = "select $1::int as a, $2::text as b, $3::jsonb as c, $4::int[] as d, $5::bool as e"
    values = [1, "it's; --", {"k": [1]}, [1, None, 3], True]
    answer = await reading.sql(sql, parameters=values)
    assert answer == [{"a": 1, "b": "it's; --", "c": {"k": [1]}, "d": [1, None, 3], "e": True}]
    nested = await reading.sql("select $1::text[] as a", parameters=[['a"b', "c\\d", ""]])
    assert nested == [{"a": ['a"b', "c\\d", ""]}]
    refused = await reading.sql("select 1; select $1::int", 400, parameters=[1])
    assert refused["code"] == "42601"
    for no_list in ({}, "x", False):
        refused = await reading.sql("select 1", 400, parameters=no_list)
        assert refused == {"error": "Query values must be an array"}


async def test_an_error_says_where(reading: Api) -> None:
    answer = await reading.sql("select id\nfrom author\nwhere nome = 'é'", 400)
    assert answer["code"] == "42703"
    assert answer["position"] == "29"
    assert answer["formattedError"] == answer["error"]
    assert answer["error"].splitlines()[:3] == [
        'ERROR:  42703: column "nome" does not exist',
        "LINE 3: where nome = 'é'",
        "              ^",
    ]
    assert {"severity", "file", "line", "routine", "length", "name"} <= answer.keys()


async def test_an_error_carries_detail_hint_and_context(reading: Api) -> None:
    raised = (
        "raise exception 'no' using detail = 'why', hint = 'try', errcode = 'P0009', table = 't'"
    )
    answer = await reading.sql(f"do $$ begin {raised}; end $$", 400)
    assert (answer["detail"], answer["hint"], answer["table"]) == ("why", "try", "t")
    assert "DETAIL:  why\nHINT:  try\nCONTEXT:  PL/pgSQL function" in answer["error"]


async def test_a_failed_script_leaves_nothing(api: Api) -> None:
    await api.sql("create table made (a int); select 1/0", 400)
    assert await api.sql("select to_regclass('made') as r") == [{"r": None}]


@pytest.mark.parametrize("body", [{}, {"query": ""}, {"query": None}, []])
async def test_a_query_must_be_there(reading: Api, body: Any) -> None:
    assert await reading.post("/query", body, 500) == {"error": "query not found"}


async def test_a_body_must_be_json(reading: Api) -> None:
    for media in ("text/plain", "application/x-www-form-urlencoded", ""):
        headers = {"content-type": media}
        sent = await reading.client.post("/query", content=b'{"query": "x"}', headers=headers)
        assert sent.status == 415
    headers = {"content-type": "application/json"}
    answer = await reading.client.post("/query", content=b"{", headers=headers)
    assert answer.status == 400


async def test_copy_does_not_hang(reading: Api) -> None:
    assert await reading.sql("copy (select 1) to stdout; select 2 as a") == [{"a": 2}]
    answer = await reading.sql("copy author from stdin", 400)
    assert "COPY" in answer["error"]


async def test_a_statement_timeout_is_postgresqls(reading: Api) -> None:
    answer = await reading.sql("select pg_sleep(30)", 400, "/query?statementTimeoutSecs=0.1")
    assert answer["code"] == "57014"


async def test_a_query_timeout_is_ours(reading: Api) -> None:
    path = "/query?queryTimeoutSecs=0.1&statementTimeoutSecs=5"
    answer = await reading.sql("select pg_sleep(30)", 408, path)
    assert answer == {"error": "Query read timeout", "message": "Query read timeout"}


@pytest.mark.parametrize("value", ["x", "-1", "nan", "inf", "1;drop table author"])
async def test_a_timeout_must_be_a_number(reading: Api, value: str) -> None:
    await reading.sql("select 1", 400, f"/query?statementTimeoutSecs={value}")


async def test_a_large_result_is_refused_while_it_comes(shared_database: FreshDatabase) -> None:
    api = make_api(shared_database.tcp_url(), result_mb_max=1)
    sql = "select repeat('x', 1000) from generate_series(1, 10000000)"
    answer = await api.sql(sql, 400)
    assert answer["code"] == "RESULT_SIZE_EXCEEDED"
    assert answer["maxResultSize"] == 1024 * 1024 < answer["resultSize"] < 4 * 1024 * 1024
    assert await api.sql("select 1 as a") == [{"a": 1}]


async def test_a_large_body_is_refused(shared_database: FreshDatabase) -> None:
    api = make_api(shared_database.tcp_url(), body_mb_max=1)
    await api.sql("select '" + "x" * 1024 * 1024 + "'", 413)


async def test_overload_is_refused_instead_of_queued(shared_database: FreshDatabase) -> None:
    api = make_api(shared_database.tcp_url(), requests_max=1, waiting_max=1)
    calls = [
        asyncio.ensure_future(api.client.post("/query", json={"query": "select pg_sleep(0.2)"}))
        for _ in range(5)
    ]
    statuses = sorted(answer.status for answer in await asyncio.gather(*calls))
    assert statuses == [200, 200, 503, 503, 503]


async def test_a_database_that_is_away(reading: Api) -> None:
    api = make_api("postgresql://postgres:wrong-password@127.0.0.1:1/postgres")
    answer = await api.sql("select 1", 400)
    assert "refused" in answer["message"]
    assert "wrong-password" not in str(answer)
    assert "refused" in (await api.get("/tables", 500))["error"]
    runs = [event for event in api.events if isinstance(event, SqlRun)]
    assert [(run.outcome, run.sql_digest) for run in runs] == [("connect_refused", "")] * 2


async def test_a_login_that_is_refused(shared_database: FreshDatabase) -> None:
    api = make_api(shared_database.tcp_url("postgres", "wrong"))
    said = 'password authentication failed for user "postgres"'
    assert await api.sql("select 1", 400) == {"error": said, "message": said}
    assert await api.get("/tables", 500) == {"error": said}


async def test_a_certificate_that_is_refused_says_why() -> None:
    async with refusable_server() as port:
        api = make_api(f"postgresql://postgres:x@127.0.0.1:{port}/postgres?sslmode=verify-full")
        assert (await api.sql("select 1", 400))["error"] == "self-signed certificate"


async def test_a_killed_backend_is_an_error_not_a_hang(api: Api) -> None:
    answer = await api.client.post(
        "/query", json={"query": "select pg_terminate_backend(pg_backend_pid())"}
    )
    assert answer.status in {400, 500}
    assert await api.sql("select 1 as a") == [{"a": 1}]


async def test_the_application_name_is_the_clients(reading: Api) -> None:
    headers = {"x-pg-application-name": "studio"}
    answer = await reading.post("/query", {"query": "show application_name"}, headers=headers)
    assert answer == [{"application_name": "studio"}]


async def test_no_connection_stays_open(api: Api, fresh_database: FreshDatabase) -> None:
    await asyncio.gather(*(api.sql("select 1") for _ in range(5)))
    await api.sql("select 1/0", 400)
    with psycopg.connect(fresh_database.conninfo(), autocommit=True) as watcher:
        for _ in range(100):
            left = watcher.execute(
                "select count(*) from pg_stat_activity where datname = current_database()"
                " and application_name like 'postgres-meta%'"
            ).fetchone()
            if left == (0,):
                break
            await asyncio.sleep(0.02)
        assert left == (0,)


async def test_what_ran_is_told_by_digest_only(api: Api) -> None:
    await api.sql("select 'a secret value'")
    await api.sql("select 1/0 as secret", 400)
    runs = [event for event in api.events if isinstance(event, SqlRun)]
    assert [run.outcome for run in runs] == ["ok", "22012"]
    assert runs[0].sql_digest != runs[1].sql_digest
    assert len(runs[0].sql_digest) == 16
    assert all("secret" not in str(event.fields()) for event in api.events)
