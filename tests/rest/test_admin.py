"""The admin endpoints, the configuration file, and failures of the database."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.rest.conftest import MakeRest
from tests.support.postgres import DatabaseTemplates

from selfbase.http.server import Address, Server
from selfbase.http.testing import Client
from selfbase.kit.clock import SystemClock
from selfbase.kit.events import Event, Events
from selfbase.kit.failures import ConfigurationError
from selfbase.kit.settings import EnvLayer, ValuesLayer
from selfbase.rest.admin import RestAdmin, list_addresses
from selfbase.rest.events import RequestAnswered, StatementRun
from selfbase.rest.service import Rest, make_standalone_rest
from selfbase.rest.settings import load_rest_settings, parse_config_file, pin_streams


async def test_the_admin_port_tells_how_it_is(rest: Rest, api: Client) -> None:
    await api.get("/films?limit=1")
    server = Server(rest, Events())
    main = Address("0.0.0.0", await server.listen("0.0.0.0", 0))
    admin = Client(RestAdmin(rest, main))
    assert (await admin.get("/live")).status == 200
    assert (await admin.get("/ready")).status == 200
    assert (await admin.request("HEAD", "/ready")).status == 200
    await server.close()
    assert (await admin.get("/live")).status == 500
    assert (await admin.get("/ready")).status == 500
    assert (await admin.get("/nothing")).status == 404
    metrics = (await admin.get("/metrics")).text
    assert 'pgrst_schema_cache_loads_total{status="SUCCESS"}' in metrics
    assert "pgrst_db_pool_timeouts_total 0" in metrics
    assert "pgrst_jwt_cache_evictions_total 0" in metrics
    cache = (await admin.get("/schema_cache")).json()
    assert "films" in [table["name"] for table in cache["dbTables"]]


FILE = """
# a comment
db-schemas = "api, other"   # the exposed ones
db-max-rows = 7
jwt-secret = "with \\"quotes\\" and # no comment, long enough for it"
db-plan-enabled = true
app.settings.greeting = "hello"
"""


def test_a_configuration_file_is_read_below_the_environment() -> None:
    layers = (EnvLayer({"PGRST_DB_MAX_ROWS": "3"}), parse_config_file(FILE))
    settings = load_rest_settings(layers, {"db_plan_enabled": "false"})
    assert settings.db_schemas == ("api", "other")
    assert settings.db_max_rows == 3
    assert settings.db_plan_enabled is False
    assert settings.jwt_secret.reveal() == 'with "quotes" and # no comment, long enough for it'
    assert settings.app_settings == {"greeting": "hello"}


def test_a_file_and_secrets_in_files_are_named_by_settings(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a secret in a file that is long enough\n")
    (tmp_path / "rest.conf").write_text(f'jwt-secret = "@{tmp_path}/secret"\ndb-max-rows = 9\n')
    variables = {"PGRST_CONFIG_FILE": str(tmp_path / "rest.conf")}
    settings = load_rest_settings([EnvLayer(variables)])
    assert settings.jwt_secret.reveal() == "a secret in a file that is long enough"
    assert settings.db_max_rows == 9
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_rest_settings([EnvLayer({"PGRST_CONFIG_FILE": "/no/such/file"})])


def test_what_stands_on_a_pipe_is_read_once() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"a secret from a pipe that is long enough\n")
    os.close(writing)
    layers = pin_streams([EnvLayer({"PGRST_JWT_SECRET": f"@/dev/fd/{reading}"})])
    os.close(reading)
    for _ in range(2):
        secret = load_rest_settings(layers).jwt_secret.reveal()
        assert secret == "a secret from a pipe that is long enough"


async def test_where_it_listens_is_set_as_upstream_names_it(
    make_rest: MakeRest, tmp_path: Path
) -> None:
    rest = await make_rest(server_host="*4", server_port=4321, admin_server_port=4322)
    addresses = [address for _, address in list_addresses(rest, "", None)]
    assert addresses == [Address("0.0.0.0", 4321), Address("0.0.0.0", 4322)]
    assert list_addresses(rest, "127.0.0.2", 5000)[0][1] == Address("127.0.0.2", 5000)
    with pytest.raises(ConfigurationError, match="cannot be the same"):
        list_addresses(rest, "", 4322)
    quiet = await make_rest()
    assert list_addresses(quiet, "", None) == [(quiet, Address("127.0.0.1", 3000))]


async def test_a_socket_file_is_served(make_rest: MakeRest, tmp_path: Path) -> None:
    path = tmp_path / "rest.sock"
    rest = await make_rest(server_unix_socket=str(path), server_unix_socket_mode="600")
    for _ in range(2):  # the second finds the file of the first
        [(handler, address)] = list_addresses(rest, "", None)
        server = Server(handler, Events())
        assert await server.listen_at(address) == str(path)
        assert path.stat().st_mode & 0o777 == 0o600
        transport = httpx.AsyncHTTPTransport(uds=str(path))
        async with httpx.AsyncClient(transport=transport, base_url="http://rest") as client:
            assert (await client.get("/films?id=eq.1&select=id")).json() == [{"id": 1}]
        await server.close()


async def test_requests_are_logged_as_the_level_says(
    module_database: str, database_templates: DatabaseTemplates
) -> None:
    told: list[Event] = []
    uri = database_templates.cluster.superuser_dsn(module_database, "authenticator")
    values = {"db_uri": uri, "db_anon_role": "anon", "log_level": "warn", "log_query": True}
    rest = make_standalone_rest([ValuesLayer(values)], Events(told.append), SystemClock())
    await rest.open()
    try:
        client = Client(rest)
        assert (await client.get("/films?select=id&limit=1")).status == 200
        assert (await client.get("/nowhere?a=eq.b")).status == 404
    finally:
        await rest.close()
    requests = [event for event in told if isinstance(event, RequestAnswered)]
    assert [(event.path, event.status) for event in requests] == [("/nowhere?a=eq.b", 404)]
    [statement] = [event for event in told if isinstance(event, StatementRun)]
    assert '"films"' in statement.sql


def test_a_line_that_is_no_setting_is_named() -> None:
    with pytest.raises(ConfigurationError, match="line 2"):
        parse_config_file("db-schemas = a\nnonsense\n")


async def test_a_constraint_checked_at_commit_is_no_success(
    service: Client, execute: Callable[[str], list[tuple[Any, ...]]]
) -> None:
    execute(
        "create table if not exists public.late (id int primary key,"
        " film int references films deferrable initially deferred);"
        "grant all on public.late to service_role"
    )
    answer = await service.post("/late", json={"id": 1, "film": 12345})
    while answer.status == 404:
        answer = await service.post("/late", json={"id": 1, "film": 12345})
    assert (answer.status, answer.json()["code"]) == (409, "23503")
    assert execute("select count(*) from public.late") == [(0,)]


FAILURES = [
    ("/films?id=eq.abc", 400, "22P02"),
    ("/films?nothing=eq.1", 400, "42703"),
    ("/films?select=directors(name),actor:nothing(x)", 400, "PGRST200"),
    ("/film", 404, "PGRST205"),
    ("/films/1/2", 404, "PGRST125"),
    ("/films?limit=-1", 416, "PGRST103"),
    ("/films?x.id=eq.1", 400, "PGRST108"),
    ("/films?order=roles(part)&select=roles(part)", 400, "PGRST118"),
]


@pytest.mark.parametrize(("path", "status", "code"), FAILURES)
async def test_failures_have_their_code(api: Client, path: str, status: int, code: str) -> None:
    answer = await api.get(path)
    assert (answer.status, answer.json()["code"]) == (status, code)
    assert set(answer.json()) == {"code", "details", "hint", "message"}
    assert answer.headers.get("proxy-status") == f"PostgREST; error={code}"


async def test_hints_name_what_is_near(api: Client, service: Client) -> None:
    assert (await api.get("/film")).json()["hint"] == "Perhaps you meant the table 'public.films'"
    embed = (await api.get("/films?select=director(name)")).json()
    assert embed["hint"] == "Perhaps you meant 'directors' instead of 'director'."
    column = (await service.post("/films", json={"titel": "x"})).json()
    assert (column["code"], column["hint"]) == ("PGRST204", "Perhaps you meant the column 'title'")
