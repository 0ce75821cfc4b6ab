"""The metadata API of a running installation, as tools outside use it."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
from tests.support.installation import Installation


def ask(todos: Installation, method: str, path: str, key: str = "SECRET_KEY", **body: Any) -> Any:
    values = todos.status()
    return httpx.request(
        method,
        f"{values['API_URL']}/pg{path}",
        headers={"apikey": values[key]},
        json=body or None,
        timeout=30,
    )


@pytest.mark.parametrize("key", ["ANON_KEY", "PUBLISHABLE_KEY"])
def test_public_keys_are_not_enough(todos: Installation, key: str) -> None:
    for method, path in (("GET", "/tables"), ("POST", "/query"), ("GET", "/generators/go")):
        assert ask(todos, method, path, key, query="select 1").status_code == 403


@pytest.mark.parametrize("key", ["SERVICE_ROLE_KEY", "SECRET_KEY"])
def test_the_service_role_reads_the_schema(todos: Installation, key: str) -> None:
    tables = ask(todos, "GET", "/tables?included_schemas=public", key).json()
    assert "todos" in {table["name"] for table in tables}
    sql = "select rolsuper from pg_roles where rolname = current_user"
    assert ask(todos, "POST", "/query", key, query=sql).json() == [{"rolsuper": False}]


def test_a_new_table_is_served_at_once(todos: Installation) -> None:
    table = ask(todos, "POST", "/tables", name="from_meta").json()
    column = {"table_id": table["id"], "name": "id", "type": "int4", "is_primary_key": True}
    assert ask(todos, "POST", "/columns", **column).status_code == 200
    values = todos.status()
    try:
        deadline = time.monotonic() + 10
        while True:
            answer = httpx.get(
                f"{values['API_URL']}/rest/v1/from_meta", headers={"apikey": values["SECRET_KEY"]}
            )
            if answer.status_code == 200 or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        assert answer.json() == []
    finally:
        assert ask(todos, "DELETE", f"/tables/{table['id']}").status_code == 200


def test_the_command_prints_the_types(todos: Installation) -> None:
    printed = todos.run("gen", "types", "--lang", "typescript").stdout
    assert "      todos: {\n        Row: {\n" in printed
    assert printed.startswith("export type Json =\n")
