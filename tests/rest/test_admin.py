"""The admin endpoints, the configuration file, and failures of the database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfbase.http.testing import Client
from selfbase.kit.failures import ConfigurationError
from selfbase.kit.settings import EnvLayer
from selfbase.rest.admin import RestAdmin
from selfbase.rest.service import Rest
from selfbase.rest.settings import load_rest_settings, parse_config_file


async def test_the_admin_port_tells_how_it_is(rest: Rest, api: Client) -> None:
    await api.get("/films?limit=1")
    admin = Client(RestAdmin(rest))
    assert (await admin.get("/live")).status == 200
    assert (await admin.get("/ready")).status == 200
    assert (await admin.request("HEAD", "/ready")).status == 200
    assert (await admin.get("/nothing")).status == 404
    metrics = (await admin.get("/metrics")).text
    assert 'pgrst_schema_cache_loads_total{status="SUCCESS"}' in metrics
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
