"""One storage service on a real port for the module, and boto3 clients that talk to it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
from botocore.config import Config
from tests.support.postgres import DatabaseTemplates, FreshDatabase

from selfbase.database.database import Database, DatabaseSettings
from selfbase.http.server import Server
from selfbase.identity.secrets import make_secrets
from selfbase.identity.tokens import key_from_secret, sign_token
from selfbase.kit.events import Events
from selfbase.project import Project
from selfbase.storage.schema import migrate_storage
from selfbase.storage.service import Storage, make_storage

REGION = "us-east-1"
USER = "11111111-2222-4333-8444-555555555555"


@dataclass
class S3Server:
    """A running service: its address, its keys, its database."""

    url: str
    project: Project
    storage: Storage
    database: FreshDatabase
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    @property
    def endpoint(self) -> str:
        return f"{self.url}/s3"

    @property
    def access_key(self) -> str:
        return self.project.secrets.s3_access_key_id

    @property
    def secret_key(self) -> str:
        return self.project.secrets.s3_access_key_secret

    def client(self, **changes: Any) -> Any:
        """A boto3 client with the static pair; `changes` replace its options."""
        options: dict[str, Any] = {
            "endpoint_url": self.endpoint,
            "region_name": REGION,
            "aws_access_key_id": self.access_key,
            "aws_secret_access_key": self.secret_key,
            "config": Config(retries={"max_attempts": 0}, connect_timeout=60, read_timeout=60),
        }
        return boto3.client("s3", **{**options, **changes})

    def session_client(self, role: str = "authenticated", **claims: Any) -> Any:
        """A client that signs in with a user's token."""
        key = key_from_secret(self.project.secrets.jwt_secret)
        token = sign_token(key, {"role": role, "sub": USER, **claims})
        return self.client(
            aws_access_key_id=self.project.ref,
            aws_secret_access_key=self.project.secrets.anon_key,
            aws_session_token=token,
        )

    def name(self, stem: str = "bucket") -> str:
        return f"{stem}-{next(self.numbers)}"

    async def bucket(self, **options: Any) -> str:
        """A new bucket."""
        name = self.name()
        await call(self.client().create_bucket, Bucket=name, **options)
        return name

    def execute(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        """Runs SQL as the superuser; the rows, if any."""
        with psycopg.connect(self.database.conninfo(), autocommit=True) as connection:
            cursor = connection.execute(statement, params or None)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def blobs(self, area: str) -> list[Path]:
        """The files of an area of the blob store."""
        folder = self.project.data_dir / "storage" / area
        return [path for path in folder.rglob("*") if path.is_file()]


async def call(function: Callable[..., Any], **arguments: Any) -> Any:
    """Runs a blocking client call beside the server."""
    return await asyncio.to_thread(lambda: function(**arguments))


@pytest.fixture(scope="module")
async def server(
    database_templates: DatabaseTemplates, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[S3Server]:
    template = database_templates.make("storage_s3", migrate_storage)
    name = database_templates.clone(template)
    fresh = FreshDatabase(database_templates.cluster, name)
    database = Database(
        DatabaseSettings(conninfo=fresh.conninfo("").replace("user=''", "")), Events()
    )
    project = Project(
        ref="proj",
        api_url="http://localhost",
        data_dir=tmp_path_factory.mktemp("s3"),
        database=database,
        secrets=make_secrets("proj"),
    )
    storage = make_storage(project)
    await storage.open()
    shell = Server(storage, project.events)
    port = await shell.listen("127.0.0.1", 0)
    yield S3Server(f"http://127.0.0.1:{port}", project, storage, fresh)
    await shell.close()
    await storage.close()
    await database.close()
    database_templates.drop(name)


@pytest.fixture
def s3(server: S3Server) -> Any:
    """A boto3 client of the service."""
    return server.client()
