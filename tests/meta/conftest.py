"""The metadata API on a database with a bookshop, standing alone and inside a project.

Cost: one template for the run; a clone for each test that writes, one for each module that reads.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
import psycopg
import pytest
from tests.support.postgres import DatabaseTemplates, FreshDatabase

from selfbase.database.database import Database, DatabaseSettings
from selfbase.http.testing import Client
from selfbase.identity.tokens import TokenVerifier, key_from_secret
from selfbase.kit.clock import SystemClock
from selfbase.kit.events import Event, Events
from selfbase.kit.settings import ValuesLayer
from selfbase.meta.service import Meta, make_standalone_meta
from selfbase.meta.settings import MetaSettings
from selfbase.meta.targets import ProjectTargets

JWT_SECRET = "a-secret-for-tests-that-is-long-enough"
CRYPTO_KEY = "the key of the connection header"
SCHEMA = Path(__file__).with_name("schema.sql")


@dataclass
class Api:
    """A client of one metadata service, and what the service told of itself."""

    meta: Meta
    client: Client
    events: list[Event] = field(default_factory=list)

    async def get(self, path: str, status: int = 200, **options: Any) -> Any:
        return await self._send("GET", path, status, **options)

    async def post(self, path: str, body: Any, status: int = 200, **options: Any) -> Any:
        return await self._send("POST", path, status, json=body, **options)

    async def patch(self, path: str, body: Any, status: int = 200) -> Any:
        return await self._send("PATCH", path, status, json=body)

    async def delete(self, path: str, body: Any = None, status: int = 200) -> Any:
        return await self._send("DELETE", path, status, json=body)

    async def sql(self, query: str, status: int = 200, path: str = "/query", **body: Any) -> Any:
        return await self.post(path, {"query": query, **body}, status)

    async def find(self, path: str, name: str, schema: str = "public") -> Any:
        """The one object of that name in a list."""
        found = [
            item
            for item in await self.get(path)
            if item["name"] == name and item.get("schema", schema) == schema
        ]
        assert len(found) == 1, f"{len(found)} objects called {name}"
        return found[0]

    async def _send(self, method: str, path: str, status: int, **options: Any) -> Any:
        answer = await self.client.request(method, path, **options)
        assert answer.status == status, f"{method} {path}: {answer.status} {answer.text}"
        media = answer.headers.get("content-type")
        return answer.json() if media.startswith("application/json") else answer.text


@pytest.fixture(scope="session")
def database_template(database_templates: DatabaseTemplates) -> str:
    def prepare(conninfo: str) -> None:
        with psycopg.connect(conninfo, user="postgres", autocommit=True) as connection:
            connection.execute(SCHEMA.read_text())

    return database_templates.make("meta", prepare)


def make_api(url: str, **settings: Any) -> Api:
    events: list[Event] = []
    values = {"url": url, "crypto_key": CRYPTO_KEY, **settings}
    meta = make_standalone_meta([ValuesLayer(values)], Events(events.append), SystemClock())
    return Api(meta, Client(meta), events)


@pytest.fixture
async def api(fresh_database: FreshDatabase) -> AsyncIterator[Api]:
    """Standing alone, on a database of the test's own, as `postgres`."""
    made = make_api(fresh_database.tcp_url())
    await made.meta.open()
    yield made
    await made.meta.close()


@pytest.fixture(scope="module")
def shared_database(
    database_templates: DatabaseTemplates, database_template: str
) -> Iterator[FreshDatabase]:
    """A database that the tests of one module share: they only read it."""
    name = database_templates.clone(database_template)
    yield FreshDatabase(database_templates.cluster, name)
    database_templates.drop(name)


@pytest.fixture(scope="module")
async def reading(shared_database: FreshDatabase) -> AsyncIterator[Api]:
    """Standing alone, for tests that only read."""
    made = make_api(shared_database.tcp_url())
    await made.meta.open()
    yield made
    await made.meta.close()


def make_token(role: str, **claims: Any) -> str:
    return jwt.encode({"role": role, **claims}, JWT_SECRET, algorithm="HS256")


def project_api(database: FreshDatabase, **settings: Any) -> Api:
    """As in a project: tokens are checked, and the database is always the project's."""
    events: list[Event] = []
    reporter = Events(events.append)
    own = Database(DatabaseSettings(conninfo=database.conninfo("postgres")), reporter)
    meta = Meta(
        MetaSettings(**settings),
        ProjectTargets(own.conninfo_for, CRYPTO_KEY),
        reporter,
        SystemClock(),
        TokenVerifier([key_from_secret(JWT_SECRET)]),
    )
    token = make_token("service_role")
    return Api(meta, Client(meta, {"authorization": f"Bearer {token}"}), events)


@pytest.fixture
async def project(fresh_database: FreshDatabase) -> AsyncIterator[Api]:
    made = project_api(fresh_database)
    await made.meta.open()
    yield made
    await made.meta.close()


@pytest.fixture
async def read_only(fresh_database: FreshDatabase) -> AsyncIterator[Api]:
    """As in a project whose metadata API may only read."""
    made = project_api(fresh_database, read_only=True)
    await made.meta.open()
    yield made
    await made.meta.close()
