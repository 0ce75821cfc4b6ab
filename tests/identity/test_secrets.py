"""The secrets file: private, complete, stable, and never half-written."""

from __future__ import annotations

import hashlib
import re
import tomllib
from base64 import urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from pathlib import Path

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_curve_key
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from selfbase.identity.secrets import make_secrets, open_secrets
from selfbase.identity.tokens import TokenVerifier, sign_token
from selfbase.kit.failures import ConfigurationError


def test_the_first_opening_makes_a_private_file_and_the_next_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "state" / "secrets.toml"
    first = open_secrets(path, "ref")
    assert path.stat().st_mode & 0o777 == 0o600
    assert open_secrets(path, "another") == first
    assert [item.name for item in path.parent.iterdir()] == ["secrets.toml"]


def test_an_older_file_is_completed_and_keeps_its_values(tmp_path: Path) -> None:
    path = tmp_path / "secrets.toml"
    path.write_text('jwt_secret = "the old secret, long enough for HS256"\n')
    path.chmod(0o600)
    opened = open_secrets(path, "ref")
    assert opened.jwt_secret == "the old secret, long enough for HS256"
    stored = tomllib.loads(path.read_text())
    assert stored["secret_key"] == opened.secret_key
    assert set(stored["database_passwords"]) >= {"postgres", "authenticator"}


def test_processes_that_come_at_once_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: open_secrets(tmp_path / "secrets.toml", "ref"), range(8)))
    assert all(secrets == opened[0] for secrets in opened)


def test_keys_follow_a_secret_that_was_changed_and_nothing_else_does(tmp_path: Path) -> None:
    path = tmp_path / "secrets.toml"
    before = open_secrets(path, "ref")
    text = path.read_text().replace(before.jwt_secret, "another secret, long enough for HS256")
    path.write_text(text)
    after = open_secrets(path, "ref")
    verifier = TokenVerifier(after.keys())
    assert verifier.verify(after.anon_key)["role"] == "anon"
    assert verifier.verify(after.service_role_key)["role"] == "service_role"
    assert after.anon_key != before.anon_key
    assert after.anon_key_asymmetric == before.anon_key_asymmetric
    assert after.secret_key == before.secret_key
    assert open_secrets(path, "ref") == after


def test_what_the_config_decides_takes_the_place_of_what_was_made(tmp_path: Path) -> None:
    path = tmp_path / "secrets.toml"
    first = open_secrets(path, "ref")
    rsa = RSAAlgorithm.to_jwk(generate_private_key(65537, 2048), as_dict=True)
    older = ECAlgorithm.to_jwk(generate_curve_key(SECP256R1()), as_dict=True)
    keys = [{**rsa, "kid": "new", "alg": "RS256"}, {**older, "kid": "old"}]
    given = {
        "jwt_secret": "a secret of the config, long enough for HS256",
        "signing_key": orjson.dumps(keys).decode(),
        "publishable_key": "sb_publishable_given",
        "anon_key": "",
    }
    opened = open_secrets(path, "ref", given)
    assert list(map(attrgetter("kid"), opened.keys())) == ["new", "old", None]
    assert opened.secret_key == first.secret_key
    verifier = TokenVerifier(opened.keys())
    for name in ("anon_key", "service_role_key", "anon_key_asymmetric"):
        assert getattr(opened, name) != getattr(first, name)
        verifier.verify(getattr(opened, name))
    assert open_secrets(path, "ref", given) == opened
    assert open_secrets(path, "ref") == opened


@pytest.mark.parametrize("text", ["not JSON", "[]", '{"kty": "RSA"}', "[1]"])
def test_a_signing_key_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match="signing key"):
        open_secrets(tmp_path / "secrets.toml", "ref", {"signing_key": text})


def test_role_tokens_of_the_projects_keys_are_keys() -> None:
    made, other = make_secrets("ref"), make_secrets("ref")
    ring = made.key_ring(TokenVerifier(made.keys()))
    signing = made.keys()[0]
    found = ring.find(sign_token(signing, {"role": "service_role", "iss": "somebody"}))
    assert found is not None
    assert found.role == "service_role"
    refused = [
        sign_token(signing, {"role": "authenticated"}),
        sign_token(signing, {"role": "service_role", "sub": "a-person"}),
        sign_token(signing, {"role": "anon", "exp": 1}),
        sign_token(other.keys()[0], {"role": "anon"}),
        sign_token(other.keys()[1], {"role": "service_role"}),
        jwt.encode({"role": "service_role"}, "", "none"),
        "a.b.c",
    ]
    assert [ring.find(value) for value in refused] == [None] * len(refused)
    assert made.key_ring().find(sign_token(signing, {"role": "anon"})) is None


def test_a_file_open_to_others_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secrets.toml"
    open_secrets(path, "ref")
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="can be read by others") as raised:
        open_secrets(path, "ref")
    assert raised.value.hint == f"Run: chmod 600 {path}"


@pytest.mark.parametrize("text", ['jwt_secret = "short"', "not toml at all ["])
def test_a_wrong_file_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secrets.toml"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError):
        open_secrets(path, "ref")
    assert path.read_text() == text


def test_opaque_keys_have_the_published_format(tmp_path: Path) -> None:
    made = open_secrets(tmp_path / "secrets.toml", "ref")
    for key, kind in ((made.publishable_key, "publishable"), (made.secret_key, "secret")):
        match = re.fullmatch(rf"(sb_{kind}_[A-Za-z0-9_-]{{22}})_([A-Za-z0-9_-]{{8}})", key)
        assert match is not None
        digest = hashlib.sha256(f"ref|{match[1]}".encode()).digest()
        assert match[2] == urlsafe_b64encode(digest).decode()[:8]
    ring = made.key_ring()
    changed = made.secret_key[:-1] + ("y" if made.secret_key.endswith("x") else "x")
    assert ring.find(changed) is None
    assert ring.find("") is None
    found = ring.find(made.secret_key)
    assert found is not None
    assert found.role == "service_role"
    assert made.secret_key not in repr(found)
