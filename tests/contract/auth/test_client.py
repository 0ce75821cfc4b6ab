"""Signing in further through supabase-py as it is: second factors, providers, apps that ask us."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from supabase import Client, create_client
from supabase_auth.errors import AuthApiError
from supabase_auth.types import CreateOAuthClientParams
from tests.contract.conftest import EXAMPLE
from tests.support.installation import Installation

from selfbase.auth.logic.totp import code_at, step_at

CONFIG = """
[auth.mfa.totp]
enroll_enabled = true
verify_enabled = true
[auth.oauth_server]
enabled = true
authorization_url_path = "/consent"
[auth.external.github]
enabled = true
client_id = "our-id"
secret = "our-secret"
"""
SCHEMA = """
create table public.secrets (id int primary key);
alter table public.secrets enable row level security;
insert into public.secrets values (1);
grant select on public.secrets to authenticated;
create policy read on public.secrets for select to authenticated
  using ((select auth.jwt() ->> 'aal') = 'aal2');
"""
PASSWORD = "correct horse 1"
BACK = "https://app.example.com/back"


@pytest.fixture(scope="module")
def running() -> Iterator[Installation]:
    folder = Path(tempfile.mkdtemp(prefix="selfbase-auth-", dir="/tmp"))
    folder.chmod(0o755)
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
    with (folder / "supabase" / "config.toml").open("a") as config:
        config.write(CONFIG)
    (folder / "supabase" / "migrations" / "20240103000000_secrets.sql").write_text(SCHEMA)
    made = Installation(folder)
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def values(running: Installation) -> dict[str, str]:
    return running.status()


@pytest.fixture
def person(values: dict[str, str]) -> Client:
    client = create_client(values["API_URL"], values["PUBLISHABLE_KEY"])
    email = f"{secrets.token_hex(6)}@example.com"
    client.auth.sign_up({"email": email, "password": PASSWORD})
    return client


@pytest.fixture
def admin(values: dict[str, str]) -> Client:
    return create_client(values["API_URL"], values["SECRET_KEY"])


def access_token(client: Client) -> str:
    session = client.auth.get_session()
    assert session is not None
    return session.access_token


def test_a_second_factor_opens_what_its_policy_guards(person: Client, admin: Client) -> None:
    mfa = person.auth.mfa
    assert mfa.get_authenticator_assurance_level().current_level == "aal1"
    assert person.table("secrets").select("*").execute().data == []
    made = mfa.enroll({"factor_type": "totp", "friendly_name": "phone"})
    assert made.totp is not None
    with pytest.raises(AuthApiError) as refused:
        mfa.challenge_and_verify({"factor_id": made.id, "code": "000000"})
    assert refused.value.code == "mfa_verification_failed"
    code = code_at(made.totp.secret, step_at(time.time()))
    mfa.challenge_and_verify({"factor_id": made.id, "code": code})
    level = mfa.get_authenticator_assurance_level()
    assert (level.current_level, level.next_level) == ("aal2", "aal2")
    assert person.table("secrets").select("*").execute().data == [{"id": 1}]
    user = person.auth.get_user()
    assert user is not None
    factors = admin.auth.admin.mfa.list_factors({"user_id": user.user.id})
    assert [factor.id for factor in factors] == [made.id]
    mfa.unenroll({"factor_id": made.id})
    assert mfa.list_factors().all == []


def test_going_out_to_a_provider(person: Client) -> None:
    url = person.auth.sign_in_with_oauth({"provider": "github"}).url
    answer = httpx.get(url, follow_redirects=False)
    place = urlsplit(answer.headers["location"])
    assert (answer.status_code, place.hostname) == (302, "github.com")
    asked = parse_qs(place.query)
    assert asked["client_id"] == ["our-id"]
    back = asked["redirect_uri"][0]
    assert back.endswith("/auth/v1/callback")
    forged = httpx.get(back, params={"code": "x", "state": "forged"}, follow_redirects=False)
    assert "error_code=bad_oauth_state" in forged.headers["location"]


def test_an_app_asks_for_consent(values: dict[str, str], person: Client, admin: Client) -> None:
    made = admin.auth.admin.oauth.create_client(
        CreateOAuthClientParams(client_name="App", redirect_uris=[BACK])
    ).client
    assert made is not None
    verifier = secrets.token_urlsafe(48)
    digest = hashlib.sha256(verifier.encode()).digest()
    with httpx.Client(base_url=f"{values['API_URL']}/auth/v1") as web:
        asked = web.get(
            "/oauth/authorize",
            params={
                "response_type": "code", "client_id": made.client_id, "redirect_uri": BACK,
                "code_challenge": urlsafe_b64encode(digest).decode().rstrip("="),
                "code_challenge_method": "S256", "scope": "email profile", "state": "kept",
            },
        )  # fmt: skip
        consent = urlsplit(asked.headers["location"])
        assert consent.path == "/consent"
        path = f"/oauth/authorizations/{parse_qs(consent.query)['authorization_id'][0]}"
        bearer = {
            "authorization": f"Bearer {access_token(person)}",
            "apikey": values["PUBLISHABLE_KEY"],
        }
        assert web.get(path, headers=bearer).json()["client"]["name"] == "App"
        allowed = web.post(f"{path}/consent", headers=bearer, json={"action": "approve"})
        given = parse_qs(urlsplit(allowed.json()["redirect_url"]).query)
        assert given["state"] == ["kept"]
        tokens = web.post(
            "/oauth/token",
            auth=(made.client_id, made.client_secret or ""),
            data={
                "grant_type": "authorization_code", "code": given["code"][0],
                "redirect_uri": BACK, "code_verifier": verifier,
            },
        ).json()  # fmt: skip
        theirs = {"authorization": f"Bearer {tokens['access_token']}"}
        known = web.get("/oauth/userinfo", headers=theirs).json()
    user = person.auth.get_user()
    assert user is not None
    assert (known["sub"], known["email"]) == (user.user.id, user.user.email)
    rows = httpx.get(
        f"{values['API_URL']}/rest/v1/secrets",
        headers={**theirs, "apikey": values["PUBLISHABLE_KEY"]},
    )
    assert (rows.status_code, rows.json()) == (200, [])
    admin.auth.admin.oauth.delete_client(made.client_id)
