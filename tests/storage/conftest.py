"""A storage service on a database and a folder of the test's own, and clients who call it."""

import dataclasses
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.support.postgres import DatabaseTemplates, FreshDatabase

from selfbase.database.database import Database, DatabaseSettings
from selfbase.http.testing import Client
from selfbase.identity.secrets import Secrets, make_secrets
from selfbase.identity.tokens import key_from_secret, sign_token
from selfbase.kit.events import Event, Events
from selfbase.kit.settings import ValuesLayer
from selfbase.project import Project
from selfbase.storage.faults import Faults
from selfbase.storage.schema import migrate_storage
from selfbase.storage.service import Storage, make_storage

ALICE = "11111111-1111-4111-8111-111111111111"
BOB = "22222222-2222-4222-8222-222222222222"


@pytest.fixture(scope="session")
def database_template(database_templates: DatabaseTemplates) -> str:
    return database_templates.make("storage", migrate_storage)


@pytest.fixture(scope="session")
def secrets() -> Secrets:
    return make_secrets("test")


def make_token(secrets: Secrets, role: str, **claims: Any) -> str:
    now_s = int(time.time())
    given = {"role": role, "iat": now_s, "exp": now_s + 3600, **claims}
    return sign_token(key_from_secret(secrets.jwt_secret), given)


@dataclasses.dataclass
class Site:
    """One service and everything a test wants to know about it."""

    storage: Storage
    project: Project
    database: FreshDatabase
    root: Path
    events: list[Event]

    def client(self, role: str | None, **claims: Any) -> Client:
        """Someone who calls; with None, without a token."""
        if role is None:
            return Client(self.storage)
        token = make_token(self.project.secrets, role, **claims)
        return Client(self.storage, {"authorization": f"Bearer {token}"})

    @property
    def service(self) -> Client:
        return self.client("service_role")

    def user(self, user_id: str) -> Client:
        return self.client("authenticated", sub=user_id)

    async def make_bucket(self, name: str = "b", **options: Any) -> None:
        answer = await self.service.post("/bucket", json={"name": name, **options})
        assert answer.status == 200, answer.text

    def execute(self, sql: str, user: str = "postgres") -> list[tuple[Any, ...]]:
        """Runs SQL as the owner of the project does."""
        with psycopg.connect(self.database.conninfo(user), autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def files(self, area: str = "objects") -> set[str]:
        """Names of the files that lie in an area."""
        return {path.name for path in (self.root / area).rglob("*") if path.is_file()}


def make_site(
    database: FreshDatabase,
    root: Path,
    secrets: Secrets,
    *,
    faults: Faults | None = None,
    **settings: Any,
) -> Site:
    seen: list[Event] = []
    events = Events(seen.append)
    values = {"file_sync": False, "collect_every_s": 0, **settings}
    project = Project(
        ref="test",
        api_url="http://localhost:54321",
        data_dir=root,
        database=Database(DatabaseSettings(conninfo=database.conninfo()), events),
        secrets=secrets,
        layers=(ValuesLayer(values),),
        events=events,
    )
    storage = make_storage(project, faults=faults)
    return Site(storage, project, database, root / "storage", seen)


SiteMaker = Callable[..., Any]


@pytest.fixture
async def open_site(
    fresh_database: FreshDatabase, tmp_path: Path, secrets: Secrets
) -> AsyncIterator[SiteMaker]:
    """Opens services with settings of the test's choice, all on the same database and folder."""
    opened: list[Site] = []

    async def open_one(**options: Any) -> Site:
        site = make_site(fresh_database, tmp_path, secrets, **options)
        opened.append(site)
        await site.storage.open()
        return site

    yield open_one
    for site in opened:
        await site.storage.close()
        await site.project.database.close()


@pytest.fixture
async def site(open_site: SiteMaker) -> Site:
    """A service with default settings."""
    made: Site = await open_site()
    return made
