"""Other PostgreSQL servers than the embedded one, and settings from the environment."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import orjson
import pytest
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from tests.support.installation import Installation, wait_until

from selfbase.database.binaries import find_binaries
from selfbase.database.cluster import Cluster
from selfbase.database.cluster_errors import BinariesNotFoundError
from selfbase.database.cluster_settings import ClusterSettings
from selfbase.database.ports import find_free_port


def read_todo(installation: Installation) -> object:
    values = installation.status()
    answer = httpx.get(
        f"{values['API_URL']}/rest/v1/todos?select=task", headers={"apikey": values["SECRET_KEY"]}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def add_schema(installation: Installation) -> None:
    migrations = installation.folder / "supabase" / "migrations"
    migrations.mkdir(parents=True)
    (migrations / "1_todos.sql").write_text(
        "create table todos (id int primary key, task text, owner uuid references auth.users);"
        "insert into todos values (1, 'a'), (2, 'b'), (3, 'c');"
    )


def test_the_systems_postgres(installation: Installation) -> None:
    try:
        version = find_binaries("system").version
    except BinariesNotFoundError as error:
        pytest.skip(f"no PostgreSQL of the system is installed here: {error}")
    add_schema(installation)
    installation.start("--postgres", "system")
    [(shown,)] = installation.sql("show server_version_num")
    assert int(shown) // 10000 == version
    assert len(read_todo(installation)) == 3  # type: ignore[arg-type]


@pytest.fixture
def server(installation: Installation) -> object:
    """A server of somebody else's: reached over TCP with a password, as an external one is."""
    folder = installation.folder / "external"
    folder.mkdir()
    cluster = Cluster(
        find_binaries("embedded"),
        ClusterSettings(data_dir=folder / "data", port=find_free_port("127.0.0.1"), durable=False),
    )
    cluster.create()
    cluster.start()
    import psycopg

    with psycopg.connect(cluster.superuser_dsn(), autocommit=True) as connection:
        connection.execute("alter role supabase_admin password 'of the administrator'")
    yield f"postgresql://supabase_admin:of%20the%20administrator@127.0.0.1:{cluster.port}/postgres"
    installation.run("stop")
    cluster.stop()


def test_an_external_server(installation: Installation, server: str) -> None:
    add_schema(installation)
    installation.start("--db-url", server)
    assert installation.state()["db_port"] is None
    assert len(read_todo(installation)) == 3  # type: ignore[arg-type]
    wait_until(lambda: is_healthy(installation.status()["API_URL"]), "health")


def test_keys_given_to_auth_are_known_to_every_service(installation: Installation) -> None:
    key = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True)
    key.update({"kid": "mine", "alg": "ES256", "key_ops": ["sign", "verify"]})
    installation.environment["GOTRUE_JWT_KEYS"] = orjson.dumps([key]).decode()
    add_schema(installation)
    installation.start()
    values = installation.status()
    headers = {"apikey": values["PUBLISHABLE_KEY"]}
    signed_up = httpx.post(
        f"{values['API_URL']}/auth/v1/signup",
        headers=headers,
        json={"email": "a@example.com", "password": "correct horse battery"},
    ).json()
    bearer = {**headers, "authorization": f"Bearer {signed_up['access_token']}"}
    for path in ("/rest/v1/todos", "/auth/v1/user", "/storage/v1/bucket"):
        assert httpx.get(values["API_URL"] + path, headers=bearer).status_code == 200
    assert len(read_todo(installation)) == 3  # type: ignore[arg-type]


def is_healthy(url: str) -> bool:
    return bool(httpx.get(f"{url}/health").json()["status"] == "HEALTHY")


def test_an_external_server_that_is_not_there_is_named(installation: Installation) -> None:
    port = find_free_port("127.0.0.1")
    failed = installation.run(
        "start",
        "--port",
        "auto",
        "--detach",
        "--db-url",
        f"postgresql://postgres:hush@127.0.0.1:{port}/postgres",
        check=False,
    )
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    assert "hush" not in failed.stderr
    assert str(port) in failed.stderr


def test_upstream_names_in_the_environment_work_for_start(installation: Installation) -> None:
    installation.environment.update(
        {"PGRST_DB_MAX_ROWS": "2", "GOTRUE_MAILER_AUTOCONFIRM": "false"}
    )
    add_schema(installation)
    installation.start()
    assert len(read_todo(installation)) == 2  # type: ignore[arg-type]
    values = installation.status()
    signed_up = httpx.post(
        f"{values['API_URL']}/auth/v1/signup",
        headers={"apikey": values["PUBLISHABLE_KEY"]},
        json={"email": "a@example.com", "password": "correct horse battery"},
    )
    assert signed_up.status_code == 200
    assert "access_token" not in signed_up.json()
    assert signed_up.json()["confirmation_sent_at"]
    mails = httpx.get(f"{values['MAILPIT_URL']}/api/v1/messages")
    assert mails.status_code == 200
    shown = installation.run("config").stdout
    assert "PGRST_DB_MAX_ROWS" in shown
    assert "environment" in shown


@pytest.fixture
async def asgi(
    installation: Installation, server: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[str]:
    """`selfbase.asgi:app` under a server that is not ours."""
    monkeypatch.chdir(installation.folder)
    monkeypatch.setenv("SELFBASE_DB_URL", server)
    monkeypatch.setenv("SELFBASE_DIR", str(installation.folder / "asgi"))
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    config = uvicorn.Config("selfbase.asgi:app", log_level="error", ws="websockets-sansio")
    running = uvicorn.Server(config)
    serving = asyncio.create_task(running.serve([sock]))
    async with asyncio.timeout(60):
        while not running.started:
            assert not serving.done()
            await asyncio.sleep(0)
    yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    running.should_exit = True
    await serving
    sock.close()


async def test_the_asgi_application(asgi: str, installation: Installation) -> None:
    import tomllib

    secrets = tomllib.loads(Path(installation.folder / "asgi" / "secrets.toml").read_text())
    async with httpx.AsyncClient(
        base_url=asgi, headers={"apikey": secrets["secret_key"]}
    ) as client:
        async with asyncio.timeout(30):
            while (await client.get("/health")).json()["status"] != "HEALTHY":
                await asyncio.sleep(0)
        assert (await client.get("/auth/v1/settings")).status_code == 200
        assert (await client.get("/rest/v1/nothing")).json()["code"] == "PGRST205"
