"""The official quick start, with supabase-js and supabase-py as they are."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from supabase import Client, ClientOptions, create_client
from supabase_auth.errors import AuthApiError
from tests.support.installation import Installation
from tests.support.node import run_script

PASSWORD = "correct horse battery"


def client(todos: Installation, key: str = "PUBLISHABLE_KEY") -> Client:
    values = todos.status()
    options = ClientOptions(auto_refresh_token=False, persist_session=False)
    return create_client(values["API_URL"], values[key], options)


def sign_up(todos: Installation, name: str) -> Client:
    made = client(todos)
    email = f"{name}-{time.time_ns()}@example.com"
    answer = made.auth.sign_up({"email": email, "password": PASSWORD})
    assert answer.session is not None
    assert answer.user is not None
    assert answer.user.email == email
    return made


def tasks(of: Client) -> list[Any]:
    rows: list[Any] = of.table("todos").select("task").order("task").execute().data
    return [row["task"] for row in rows]


def test_supabase_js_two_users_see_their_own_rows(todos: Installation) -> None:
    seen = run_script("quickstart.mjs", todos.status())
    assert seen["alice"] == [{"task": "plants"}]
    assert seen["bob"] == [{"task": "cat"}, {"task": "dog"}]
    assert seen["anon"] == []
    assert seen["admin"] >= 3
    assert seen["stolen"] == []
    assert seen["forged"] == "42501"
    assert seen["wrong"] == "invalid_credentials"
    assert seen["refreshed"] is True
    assert seen["afterRefresh"] == [{"task": "plants"}]
    assert seen["email"] is True
    assert seen["nickname"] == "al"
    assert seen["users"] is True


def test_supabase_py_two_users_see_their_own_rows(todos: Installation) -> None:
    alice, bob = sign_up(todos, "alice"), sign_up(todos, "bob")
    alice.table("todos").insert({"task": "py plants"}).execute()
    bob.table("todos").insert([{"task": "py cat"}, {"task": "py dog"}]).execute()
    assert tasks(alice) == ["py plants"]
    assert tasks(bob) == ["py cat", "py dog"]
    assert tasks(client(todos)) == []
    assert set(tasks(client(todos, "SECRET_KEY"))) >= {"py plants", "py cat", "py dog"}
    assert set(tasks(client(todos, "SERVICE_ROLE_KEY"))) >= {"py plants"}


def test_sessions_are_refreshed_and_ended(todos: Installation) -> None:
    alice = sign_up(todos, "alice")
    first = alice.auth.get_session()
    assert first is not None
    second = alice.auth.refresh_session()
    assert second.session is not None
    assert second.session.refresh_token != first.refresh_token
    alice.auth.sign_out()
    with pytest.raises(AuthApiError):
        alice.auth.refresh_session(second.session.refresh_token)


def test_a_schema_change_is_visible_at_once(todos: Installation) -> None:
    name = f"fresh_{time.time_ns()}"
    secret = client(todos, "SECRET_KEY")
    todos.sql(f"create table {name} (id int primary key)")
    todos.sql(f"insert into {name} values (7)")
    deadline = time.monotonic() + 5
    while True:
        answer = httpx.get(
            f"{todos.status()['API_URL']}/rest/v1/{name}",
            headers={"apikey": todos.status()["SECRET_KEY"]},
        )
        if answer.status_code == 200 or time.monotonic() > deadline:
            break
    assert answer.json() == [{"id": 7}]
    assert secret.table(name).select("id").execute().data == [{"id": 7}]


def test_the_example_programs_run(todos: Installation) -> None:
    folder = Path(__file__).parents[2] / "examples" / "todos"
    done = subprocess.run(
        [sys.executable, str(folder / "todos.py")],
        env=todos.status(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "alice sees [{'task': 'water the plants', 'done': False}]",
        "bob sees [{'task': 'feed the cat', 'done': False}]",
    ]
