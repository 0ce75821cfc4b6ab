"""A real PostgreSQL for tests: one throw-away cluster for the run, one fresh database for each test.

A test asks for `fresh_database` (or just its `database_url`) and gets a clone of a bootstrapped
template in about 30 ms where the cluster lies in memory, dropped afterwards. A service that needs its own tables overrides the
session fixture `database_template` in the `conftest.py` of its test folder:

    @pytest.fixture(scope="session")
    def database_template(database_templates: DatabaseTemplates) -> str:
        return database_templates.make("auth", lambda conninfo: migrate_auth(conninfo))

Roles belong to the cluster, not the database: a test that changes one puts it back.
Cost: the first use in a run makes the cluster and the template (about a second).
"""

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from selfbase.database.binaries import find_binaries
from selfbase.database.bootstrap import bootstrap
from selfbase.database.cluster import Cluster
from selfbase.database.cluster_settings import ClusterSettings
from selfbase.database.ports import find_free_port

# Roles that can log in over TCP in tests; on the private socket no password is asked.
PASSWORD = "test-password"
LOGIN_ROLES = (
    "supabase_admin",
    "postgres",
    "authenticator",
    "supabase_auth_admin",
    "supabase_storage_admin",
    "supabase_replication_admin",
    "pgbouncer",
)
BOOTSTRAPPED = "template_bootstrap"


@dataclass(frozen=True)
class FreshDatabase:
    """A database of the test's own."""

    cluster: Cluster
    name: str

    def conninfo(self, user: str = "supabase_admin") -> str:
        """Over the private socket, as any role, without a password."""
        return self.cluster.superuser_dsn(self.name, user)

    def tcp_conninfo(self, user: str = "postgres", password: str = PASSWORD) -> str:
        """Over TCP, as programs outside connect."""
        return make_conninfo(
            host=self.cluster.settings.host,
            port=self.cluster.port,
            dbname=self.name,
            user=user,
            password=password,
        )

    def tcp_url(self, user: str = "postgres", password: str = PASSWORD) -> str:
        """The same as a URL, for clients that take one."""
        settings = self.cluster.settings
        return f"postgresql://{user}:{password}@{settings.host}:{self.cluster.port}/{self.name}"


class DatabaseTemplates:
    """Databases that tests are cloned from, each made once in a run."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._names: set[str] = set()
        self._numbers = itertools.count(1)

    def make(self, name: str, prepare: Callable[[str], object], parent: str = BOOTSTRAPPED) -> str:
        """A template called `name`: a clone of `parent` on which `prepare(conninfo)` has run."""
        if name not in self._names:
            owner = "postgres" if parent != "template1" else "supabase_admin"
            self.clone(parent, name, owner)
            prepare(self.cluster.superuser_dsn(name))
            self._names.add(name)
        return name

    def clone(self, template: str, name: str | None = None, owner: str = "postgres") -> str:
        """A new database made of a template; the caller drops it."""
        name = name or f"test_{os.getpid()}_{next(self._numbers)}"
        with psycopg.connect(self.cluster.superuser_dsn(), autocommit=True) as connection:
            connection.execute(
                # Copying files costs less than writing every page to the log first.
                sql.SQL("create database {} template {} owner {} strategy file_copy").format(
                    sql.Identifier(name), sql.Identifier(template), sql.Identifier(owner)
                )
            )
        return name

    def drop(self, name: str) -> None:
        """Drop a database, ending what is still connected to it."""
        with psycopg.connect(self.cluster.superuser_dsn(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
            )


MEMORY = "/dev/shm"  # a folder of this run's own is made in it


def _find_place() -> str:
    """Where the run's cluster lies: in memory where there is room, for a clone is 1,200 files and
    on a disk costs ten times as much; else below /tmp itself, for the server's unprivileged user
    cannot enter pytest's own folders."""
    try:
        roomy = shutil.disk_usage(MEMORY).free >= 2 * 1024**3 and os.access(MEMORY, os.W_OK)
    except OSError:
        roomy = False
    return MEMORY if roomy else "/tmp"


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    """The run's cluster: embedded PostgreSQL, not durable, on a free port and a private socket."""
    folder = Path(tempfile.mkdtemp(prefix="selfbase-test-", dir=_find_place()))
    folder.chmod(0o755)
    cluster = Cluster(
        find_binaries("embedded"),
        ClusterSettings(
            data_dir=folder / "data",
            socket_dir=folder / "socket",
            port=find_free_port("127.0.0.1"),
            durable=False,
            overrides={"max_connections": "100", "max_wal_size": "256MB"},
        ),
    )
    try:
        cluster.create()
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def database_templates(postgres_cluster: Cluster) -> DatabaseTemplates:
    """Where services make their templates; holds the bootstrapped one."""
    templates = DatabaseTemplates(postgres_cluster)
    passwords = dict.fromkeys(LOGIN_ROLES, PASSWORD)
    templates.make(
        BOOTSTRAPPED, lambda conninfo: bootstrap(conninfo, passwords), parent="template1"
    )
    return templates


@pytest.fixture(scope="session")
def database_template(database_templates: DatabaseTemplates) -> str:
    """The template of `fresh_database`; services override this fixture."""
    return BOOTSTRAPPED


@pytest.fixture
def fresh_database(
    database_templates: DatabaseTemplates, database_template: str
) -> Iterator[FreshDatabase]:
    """A database of the test's own, cloned from the template."""
    name = database_templates.clone(database_template)
    yield FreshDatabase(database_templates.cluster, name)
    database_templates.drop(name)


@pytest.fixture
def database_url(fresh_database: FreshDatabase) -> str:
    """The fresh database's connection string as superuser, over the private socket."""
    return fresh_database.conninfo()
