"""The REST service on a database of its own, with a small schema that has a bit of everything.

Cost: one template for the run; a clone and a loaded schema cache for each module.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import psycopg
import pytest
from tests.support.postgres import DatabaseTemplates

from selfbase.http.testing import Client
from selfbase.kit.clock import SystemClock
from selfbase.kit.events import Events
from selfbase.kit.settings import ValuesLayer
from selfbase.rest.service import Rest, make_standalone_rest

JWT_SECRET = "a-secret-for-tests-that-is-long-enough"
SCHEMA = Path(__file__).with_name("schema.sql")


def make_token(role: str, **claims: Any) -> str:
    return jwt.encode({"role": role, **claims}, JWT_SECRET, algorithm="HS256")


@pytest.fixture(scope="session")
def database_template(database_templates: DatabaseTemplates) -> str:
    def prepare(conninfo: str) -> None:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute(SCHEMA.read_text())

    return database_templates.make("rest", prepare)


@pytest.fixture(scope="module")
def module_database(database_templates: DatabaseTemplates, database_template: str) -> Iterator[str]:
    """The name of a database that the tests of one module share."""
    name = database_templates.clone(database_template)
    yield name
    database_templates.drop(name)


MakeRest = Callable[..., Awaitable[Rest]]


@pytest.fixture(scope="module")
async def make_rest(
    module_database: str, database_templates: DatabaseTemplates
) -> AsyncIterator[MakeRest]:
    """Opens REST services on the module's database with the settings given."""
    opened: list[Rest] = []
    uri = database_templates.cluster.superuser_dsn(module_database, "authenticator")

    async def make(**settings: Any) -> Rest:
        values = {
            "db_uri": uri,
            "db_schemas": ("public", "private_api"),
            "db_extra_search_path": ("public", "extensions"),
            "db_anon_role": "anon",
            "jwt_secret": JWT_SECRET,
            **settings,
        }
        rest = make_standalone_rest([ValuesLayer(values)], Events(), SystemClock())
        await rest.open()
        opened.append(rest)
        return rest

    yield make
    for rest in opened:
        await rest.close()


@pytest.fixture(scope="module")
async def rest(make_rest: MakeRest) -> Rest:
    return await make_rest()


@pytest.fixture(scope="module")
def api(rest: Rest) -> Client:
    """A caller without a token."""
    return Client(rest)


@pytest.fixture(scope="module")
def service(rest: Rest) -> Client:
    """A caller past row level security."""
    return Client(rest, {"authorization": f"Bearer {make_token('service_role')}"})


@pytest.fixture
def execute(
    module_database: str, database_templates: DatabaseTemplates
) -> Callable[[str], list[tuple[Any, ...]]]:
    """Runs SQL as the superuser, past REST."""

    def run(statement: str) -> list[tuple[Any, ...]]:
        conninfo = database_templates.cluster.superuser_dsn(module_database)
        with psycopg.connect(conninfo, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    return run
