"""`selfbase serve SERVICE`: each service alone, set by the environment names of its upstream."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import pyvips
from tests.support.installation import Installation, wait_until
from tests.support.postgres import PASSWORD, FreshDatabase

from selfbase.app import STANDALONE
from selfbase.cli.context import told_errors
from selfbase.cli.serving import plan_address
from selfbase.database.ports import find_free_port
from selfbase.kit.failures import ConfigurationError

SECRET = "a shared secret of more than thirty-two characters"
SERVICE = jwt.encode({"role": "service_role"}, SECRET)
ANON = jwt.encode({"role": "anon"}, SECRET)


@contextmanager
def serving(
    installation: Installation, service: str, variables: Mapping[str, str]
) -> Iterator[str]:
    port = find_free_port("127.0.0.1")
    with subprocess.Popen(
        [sys.executable, "-m", "selfbase", "serve", service, "--port", str(port)],
        cwd=installation.folder,
        env={**installation.variables(), **variables},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = []
        try:
            for line in process.stderr:
                said.append(line)
                if "listens on" in line:
                    break
            else:
                raise AssertionError("".join(said))
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.communicate(timeout=60)
    assert process.returncode == 0


def get(url: str, token: str = "", **options: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}", "apikey": token} if token else {}
    return httpx.get(url, headers=headers, **options)


def test_rest(installation: Installation, fresh_database: FreshDatabase) -> None:
    admin_port = find_free_port("127.0.0.1")
    variables = {
        "PGRST_DB_URI": fresh_database.tcp_url("authenticator"),
        "PGRST_DB_ANON_ROLE": "anon",
        "PGRST_DB_SCHEMAS": "public",
        "PGRST_JWT_SECRET": SECRET,
        "PGRST_ADMIN_SERVER_PORT": str(admin_port),
    }
    with serving(installation, "rest", variables) as url:
        wait_until(lambda: get(f"http://127.0.0.1:{admin_port}/ready").status_code == 200, "ready")
        assert get(f"{url}/", SERVICE).json()["swagger"] == "2.0"
        assert get(f"{url}/nothing").json()["code"] == "PGRST205"
        assert get(f"http://127.0.0.1:{admin_port}/live").status_code == 200


def test_auth(installation: Installation, fresh_database: FreshDatabase) -> None:
    variables = {
        "GOTRUE_DB_DATABASE_URL": fresh_database.tcp_url("supabase_auth_admin"),
        "GOTRUE_DB_DRIVER": "postgres",
        "GOTRUE_JWT_SECRET": SECRET,
        "GOTRUE_JWT_AUD": "authenticated",
        "GOTRUE_JWT_ADMIN_ROLES": "service_role",
        "GOTRUE_SITE_URL": "http://localhost:3000",
        "API_EXTERNAL_URL": "http://localhost:9999",
        "GOTRUE_MAILER_AUTOCONFIRM": "true",
    }
    with serving(installation, "auth", variables) as url:
        assert get(f"{url}/health").status_code == 200
        answer = httpx.post(
            f"{url}/signup", json={"email": "a@example.com", "password": "correct horse"}
        )
        assert answer.status_code == 200, answer.text
        claims = jwt.decode(
            answer.json()["access_token"], SECRET, ["HS256"], audience="authenticated"
        )
        assert claims["email"] == "a@example.com"
        assert len(get(f"{url}/admin/users", SERVICE).json()["users"]) == 1


def test_storage(installation: Installation, fresh_database: FreshDatabase) -> None:
    variables = {
        "DATABASE_URL": fresh_database.tcp_url("supabase_storage_admin"),
        "AUTH_JWT_SECRET": SECRET,
        "ANON_KEY": ANON,
        "SERVICE_KEY": SERVICE,
        "STORAGE_BACKEND": "file",
        "FILE_STORAGE_BACKEND_PATH": str(installation.folder / "files"),
        "FILE_SIZE_LIMIT": "1048576",
        "TENANT_ID": "stub",
        "REGION": "stub",
        "GLOBAL_S3_BUCKET": "stub",
    }
    with serving(installation, "storage", variables) as url:
        assert get(f"{url}/status").status_code == 200
        headers = {"authorization": f"Bearer {SERVICE}"}
        made = httpx.post(f"{url}/bucket", headers=headers, json={"name": "b", "public": True})
        assert made.status_code == 200, made.text
        put = httpx.post(f"{url}/object/b/a.txt", headers=headers, content=b"hello")
        assert put.status_code == 200, put.text
        assert get(f"{url}/object/public/b/a.txt").content == b"hello"
        assert list(Path(installation.folder / "files").rglob("*"))
        picture = pyvips.Image.black(40, 20).pngsave_buffer()
        kind = {**headers, "content-type": "image/png"}
        assert httpx.post(f"{url}/object/b/p.png", headers=kind, content=picture).status_code == 200
        small = get(f"{url}/render/image/public/b/p.png?width=10")
        assert small.status_code == 200, small.text
        assert pyvips.Image.new_from_buffer(small.content, "").width == 10


def test_realtime(installation: Installation, fresh_database: FreshDatabase) -> None:
    settings = fresh_database.cluster.settings
    variables = {
        "DB_HOST": settings.host,
        "DB_PORT": str(fresh_database.cluster.port),
        "DB_NAME": fresh_database.name,
        "DB_USER": "supabase_admin",
        "DB_PASSWORD": PASSWORD,
        "API_JWT_SECRET": SECRET,
        "DB_ENC_KEY": "supabaserealtime",
        "SECRET_KEY_BASE": "x" * 64,
        "METRICS_JWT_SECRET": SECRET,
    }
    with serving(installation, "realtime", variables) as url:
        answer = get(f"{url}/api/tenants/realtime-dev/health", ANON)
        assert answer.status_code == 200, answer.text


def test_meta(installation: Installation, fresh_database: FreshDatabase) -> None:
    settings = fresh_database.cluster.settings
    variables = {
        "PG_META_DB_HOST": settings.host,
        "PG_META_DB_PORT": str(fresh_database.cluster.port),
        "PG_META_DB_NAME": fresh_database.name,
        "PG_META_DB_USER": "postgres",
        "PG_META_DB_PASSWORD": PASSWORD,
    }
    with serving(installation, "meta", variables) as url:
        assert get(f"{url}/health").status_code == 200
        names = {schema["name"] for schema in get(f"{url}/schemas").json()}
        assert {"public", "extensions"} <= names


def test_images(installation: Installation) -> None:
    with serving(installation, "images", {}) as url:
        assert get(f"{url}/health").status_code == 200


@pytest.mark.parametrize(
    ("service", "variables", "address"),
    [
        ("auth", {"GOTRUE_API_HOST": "0.0.0.0", "GOTRUE_API_PORT": "9998"}, ("0.0.0.0", 9998)),
        ("auth", {"PORT": "9997"}, ("", 9997)),
        ("storage", {"SERVER_PORT": "5001", "PORT": "5002", "HOST": "::"}, ("::", 5001)),
        ("meta", {"PG_META_HOST": "0.0.0.0"}, ("0.0.0.0", None)),
    ],
)
def test_a_service_listens_where_its_upstream_would(
    service: str, variables: dict[str, str], address: tuple[str, int | None]
) -> None:
    assert plan_address(STANDALONE[service], "", None, variables) == address
    assert plan_address(STANDALONE[service], "10.0.0.1", 7, variables) == ("10.0.0.1", 7)


def test_what_is_no_port_is_told() -> None:
    with pytest.raises(ConfigurationError, match="auth: the port is a number"):
        plan_address(STANDALONE["auth"], "", None, {"PORT": "tcp://10.0.0.1:80"})


def test_a_missing_setting_is_named(installation: Installation) -> None:
    failed = installation.run("serve", "auth", check=False)
    assert failed.returncode == 1
    assert "GOTRUE_" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_an_unknown_service_lists_the_known_ones(installation: Installation) -> None:
    failed = installation.run("serve", "nothing", check=False)
    assert failed.returncode == 1
    assert "auth, images, meta, realtime, rest, storage" in failed.stderr


@pytest.mark.parametrize("command", ["version", "doctor", "config"])
def test_small_commands(installation: Installation, command: str) -> None:
    done = installation.run(command, check=False)
    assert "Traceback" not in done.stderr
    assert done.stdout.strip()


def test_config_cuts_no_name_short(installation: Installation) -> None:
    installation.environment["SELFBASE_GATEWAY_RATE_LIMIT_PER_S"] = "2.5"
    lines = installation.run("config").stdout.splitlines()
    [limit] = [line.split() for line in lines if line.startswith("gateway.rate_limit_per_s ")]
    assert limit[1:] == ["2.5", "environment", "SELFBASE_GATEWAY_RATE_LIMIT_PER_S"]
    assert any("GOTRUE_MFA_RATE_LIMIT_CHALLENGE_AND_VERIFY" in line for line in lines)


def test_a_folder_of_somebody_else_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), told_errors():
        raise PermissionError(13, "Permission denied", "/srv/.selfbase/run")
    said = capsys.readouterr().err
    assert "/srv/.selfbase/run: permission denied" in said
    assert "as the user who started" in said
