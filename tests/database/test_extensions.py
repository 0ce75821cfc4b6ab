"""Extensions: those of the server, whom they obey, and our own in SQL."""

import base64
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import jwt
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import errors, sql
from tests.database.cluster_makers import find_available, made_cluster
from tests.support.postgres import FreshDatabase

from selfbase.database.binaries import PostgresBinaries, find_binaries
from selfbase.database.bootstrap import bootstrap
from selfbase.database.cluster import Cluster
from selfbase.database.extensions import (
    find_share_dir,
    is_trusted,
    list_owner_may_create,
    plan_files,
    read_controls,
    render_trusted,
)

EMBEDDED = find_binaries("embedded")
EMBEDDED_CONTROLS = read_controls(find_share_dir(EMBEDDED) or Path())
# What only a superuser may create: they read raw pages, other memory or the server's files, or run
# programs as the server.
KEPT_FROM_OWNERS = {
    "amcheck",
    "file_fdw",
    "pageinspect",
    "pg_buffercache",
    "pg_freespacemap",
    "pg_logicalinspect",
    "pg_surgery",
    "pg_visibility",
    "plpython3u",
    "hstore_plpython3u",
    "jsonb_plpython3u",
    "ltree_plpython3u",
}
# The language's library wants the libpython it was built with, which few machines have.
NEEDS_LIBPYTHON = {name for name in EMBEDDED_CONTROLS if name.endswith("plpython3u")}


@pytest.fixture(
    scope="module", params=find_available(), ids=lambda found: f"{found.kind}{found.version}"
)
def server(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with made_cluster(request.param, durable=False) as cluster:
        cluster.start()
        bootstrap(cluster.superuser_dsn(), {})
        yield cluster


@pytest.fixture
def connection(server: Cluster) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(server.superuser_dsn(user="postgres"), autocommit=True) as connection:
        yield connection


def create(connection: psycopg.Connection[tuple[object, ...]], name: str) -> None:
    connection.execute(
        sql.SQL("create extension if not exists {} schema extensions cascade").format(
            sql.Identifier(name)
        )
    )


@pytest.mark.parametrize("name", sorted({*EMBEDDED_CONTROLS, "pgjwt"} - {"plpgsql"}))
def test_every_extension_of_the_embedded_build(fresh_database: FreshDatabase, name: str) -> None:
    with psycopg.connect(fresh_database.conninfo("postgres"), autocommit=True) as owner:
        if name not in KEPT_FROM_OWNERS:
            create(owner, name)
        else:
            with pytest.raises(errors.InsufficientPrivilege):
                create(owner, name)
            with psycopg.connect(fresh_database.conninfo(), autocommit=True) as superuser:
                try:
                    create(superuser, name)
                except errors.UndefinedFile:
                    assert name in NEEDS_LIBPYTHON
                    return
        row = owner.execute("select true from pg_extension where extname = %s", [name]).fetchone()
        assert row == (True,)


def test_what_owners_may_create_has_nothing_dangerous_in_it() -> None:
    assert not list_owner_may_create() & (KEPT_FROM_OWNERS | {"adminpack", "old_snapshot"})


def test_vector_works(fresh_database: FreshDatabase) -> None:
    with psycopg.connect(fresh_database.conninfo("postgres"), autocommit=True) as owner:
        create(owner, "vector")
        owner.execute("create table items (embedding extensions.vector(3))")
        owner.execute("insert into items values ('[1,2,3]'), ('[9,9,9]')")
        owner.execute("create index on items using hnsw (embedding extensions.vector_l2_ops)")
        row = owner.execute(
            "select embedding::text from items order by embedding <-> '[1,2,2]' limit 1"
        ).fetchone()
        assert row == ("[1,2,3]",)


def test_trusted_copy_keeps_everything_else() -> None:
    control = "comment = 'x'\ndefault_version = '1.0'\ntrusted = false\nrelocatable = true"
    copy = render_trusted(control, Path("/share"))
    assert is_trusted(copy)
    assert not is_trusted(control)
    assert "directory = '/share/extension'" in copy
    assert "default_version = '1.0'" in copy
    assert "trusted = false" not in copy
    moved = render_trusted("directory = 'postgis-3.4'", Path("/share"))
    assert moved.count("directory") == 1
    assert "directory = '/share/postgis-3.4'" in moved


def test_servers_own_extension_is_preferred_where_it_works() -> None:
    system = PostgresBinaries(18, Path("/bin"), None, "system")
    files = plan_files(system, {"uuid-ossp": "trusted = true", "dblink": ""}, Path("/share"))
    assert "uuid-ossp.control" not in files
    assert "pgjwt.control" in files
    assert "dblink.control" in files
    embedded = PostgresBinaries(18, Path("/bin"), None, "embedded")
    assert "uuid-ossp.control" in plan_files(
        embedded, {"uuid-ossp": "trusted = true"}, Path("/share")
    )


# pgjwt, against PyJWT

SECRETS = "a-secret-of-reasonable-length-that-PyJWT-accepts-without-a-warning-about-its-size-64"


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_pgjwt_signs_and_verifies_what_others_do(
    connection: psycopg.Connection[tuple[object, ...]], algorithm: str
) -> None:
    row = connection.execute(
        "select extensions.sign(%s, %s, %s)", ['{"sub":"1","name":"Zoë"}', SECRETS, algorithm]
    ).fetchone()
    assert row is not None
    assert jwt.decode(str(row[0]), SECRETS, algorithms=[algorithm]) == {"sub": "1", "name": "Zoë"}
    token = jwt.encode({"sub": "2"}, SECRETS, algorithm=algorithm)
    header, payload, valid = connection.execute(
        "select * from extensions.verify(%s, %s, %s)", [token, SECRETS, algorithm]
    ).fetchone() or (None, None, None)
    assert (header, payload, valid) == ({"alg": algorithm, "typ": "JWT"}, {"sub": "2"}, True)


def test_pgjwt_knows_the_well_known_example(
    connection: psycopg.Connection[tuple[object, ...]],
) -> None:
    payload = '{"sub":"1234567890","name":"John Doe","admin":true}'
    row = connection.execute("select extensions.sign(%s, 'secret')", [payload]).fetchone()
    assert row == (
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
        "eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiYWRtaW4iOnRydWV9."
        "TJVA95OrM7E2cBab30RMHrHDcEfxjoYZgeFONFh7HgQ",
    )


def test_pgjwt_refuses(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    now = int(time.time())

    def is_valid(claims: dict[str, object], secret: str = SECRETS) -> object:
        token = jwt.encode(claims, secret)
        row = connection.execute(
            "select valid from extensions.verify(%s, %s)", [token, SECRETS]
        ).fetchone()
        return row[0] if row else None

    assert is_valid({"exp": now + 60, "nbf": now - 60}) is True
    assert is_valid({"exp": now - 1}) is False
    assert is_valid({"nbf": now + 60}) is False
    assert is_valid({}, secret=SECRETS[::-1]) is False
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    row = connection.execute(
        "select valid from extensions.verify(%s, %s)", [f"{none}.e30.", SECRETS]
    ).fetchone()
    assert row == (False,)
    with pytest.raises(errors.InvalidParameterValue):
        connection.execute("select extensions.sign('{}', 'x', 'none')")


def test_pgjwt_is_not_led_astray_by_the_search_path(
    connection: psycopg.Connection[tuple[object, ...]],
) -> None:
    connection.execute("create schema if not exists trap")
    connection.execute(
        "create or replace function trap.hmac(text, text, text) returns bytea language sql as $$select ''::bytea$$"
    )
    with connection.transaction():
        connection.execute("set local search_path = trap, pg_catalog, extensions")
        row = connection.execute("select extensions.sign('{}', 'x')").fetchone()
    assert row is not None
    assert len(str(row[0]).split(".")[2]) == 43


@given(data=st.binary(max_size=200))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None
)
def test_pgjwt_base64url(connection: psycopg.Connection[tuple[object, ...]], data: bytes) -> None:
    expected = base64.urlsafe_b64encode(data).decode().rstrip("=")
    row = connection.execute(
        "select extensions.url_encode(%s::bytea), extensions.url_decode(%s)", [data, expected]
    ).fetchone()
    assert row == (expected, data)


# uuid-ossp, against the standard library


@given(
    name=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    namespace=st.uuids(),
)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None
)
def test_name_based_uuids(
    connection: psycopg.Connection[tuple[object, ...]], name: str, namespace: uuid.UUID
) -> None:
    row = connection.execute(
        "select extensions.uuid_generate_v3(%(ns)s, %(name)s::text), extensions.uuid_generate_v5(%(ns)s, %(name)s::text)",
        {"ns": namespace, "name": name},
    ).fetchone()
    assert row == (uuid.uuid3(namespace, name), uuid.uuid5(namespace, name))


def test_uuids_in_a_database_that_has_nothing_else(server: Cluster) -> None:
    """As migration tools make one to try migrations in."""
    with psycopg.connect(server.superuser_dsn(), autocommit=True) as connection:
        connection.execute("create database bare template template1 owner postgres")
    try:
        with psycopg.connect(server.superuser_dsn("bare", "postgres")) as connection:
            connection.execute('create extension if not exists "uuid-ossp"')
            made = connection.execute(
                "select uuid_generate_v5(uuid_ns_dns(), 'example.org'), uuid_generate_v1mc()"
            ).fetchone()
        assert made is not None
        assert made[0] == uuid.uuid5(uuid.NAMESPACE_DNS, "example.org")
    finally:
        with psycopg.connect(server.superuser_dsn(), autocommit=True) as connection:
            connection.execute("drop database bare with (force)")


def test_uuid_constants(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    row = connection.execute(
        "select extensions.uuid_nil(), extensions.uuid_ns_dns(), extensions.uuid_ns_url(),"
        " extensions.uuid_ns_oid(), extensions.uuid_ns_x500()"
    ).fetchone()
    assert row == (
        uuid.UUID(int=0),
        uuid.NAMESPACE_DNS,
        uuid.NAMESPACE_URL,
        uuid.NAMESPACE_OID,
        uuid.NAMESPACE_X500,
    )


def test_random_uuids(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    rows = connection.execute(
        "select extensions.uuid_generate_v4() from generate_series(1, 1000)"
    ).fetchall()
    found = {row[0] for row in rows}
    assert len(found) == 1000
    assert {(value.version, value.variant) for value in found if isinstance(value, uuid.UUID)} == {
        (4, uuid.RFC_4122)
    }


@pytest.mark.parametrize("function", ["uuid_generate_v1", "uuid_generate_v1mc"])
def test_time_based_uuids(
    connection: psycopg.Connection[tuple[object, ...]], function: str
) -> None:
    before = time.time()
    rows = connection.execute(
        f"select extensions.{function}() from generate_series(1, 1000)"
    ).fetchall()  # type: ignore[arg-type]
    after = time.time()
    found = [row[0] for row in rows if isinstance(row[0], uuid.UUID)]
    assert len(set(found)) == 1000
    for value in found:
        assert (value.version, value.variant) == (1, uuid.RFC_4122)
        seconds = (value.time - 0x01B21DD213814000) / 1e7
        assert before - 1 < seconds < after + 1
    if function == "uuid_generate_v1mc":
        assert all(value.node >> 40 & 1 for value in found), "a random node has the multicast bit"
    else:
        assert len({value.node for value in found}) == 1, "one node for the cluster"
