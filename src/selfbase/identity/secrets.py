"""The secrets of one project: made once, kept in one file that only its owner may read.

The file is TOML with mode 0600.  Values missing from an older file are made and added; values in
it are kept, except those that the user's `config.toml` says and role tokens that do not fit their
key any more.  Nothing here is ever logged.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
import time
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from selfbase.identity.apikeys import (
    PUBLISHABLE_PREFIX,
    SECRET_PREFIX,
    ApiKey,
    KeyRing,
    make_opaque_key,
)
from selfbase.identity.tokens import (
    Key,
    TokenInvalid,
    TokenVerifier,
    key_from_secret,
    keys_from_text,
    sign_token,
)
from selfbase.kit.failures import ConfigurationError

KEY_YEARS = 10
_YEAR_S = 365 * 24 * 3600

# Database roles that can log in; each has a password of its own.
LOGIN_ROLES = (
    "postgres",
    "supabase_admin",
    "authenticator",
    "supabase_auth_admin",
    "supabase_storage_admin",
    "supabase_realtime_admin",
    "supabase_functions_admin",
    "supabase_replication_admin",
    "supabase_read_only_user",
    "pgbouncer",
)


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """Everything secret about one project.

    `signing_key` is a private JWK as JSON, or a list of them: the first signs, all verify.
    """

    ref: str
    jwt_secret: str = field(repr=False)
    signing_key: str = field(repr=False)
    anon_key: str = field(repr=False)
    service_role_key: str = field(repr=False)
    anon_key_asymmetric: str = field(repr=False)
    service_role_key_asymmetric: str = field(repr=False)
    publishable_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    s3_access_key_id: str = field(repr=False)
    s3_access_key_secret: str = field(repr=False)
    dashboard_username: str = "supabase"
    dashboard_password: str = field(repr=False)
    meta_crypto_key: str = field(repr=False)
    vault_root_key: str = field(repr=False)
    database_passwords: dict[str, str] = field(repr=False)

    def keys(self) -> tuple[Key, ...]:
        """Every key that verifies this project's tokens; the first one signs new ones."""
        return (*keys_from_text(self.signing_key), key_from_secret(self.jwt_secret))

    def key_ring(self, verifier: TokenVerifier | None = None) -> KeyRing:
        """The API keys the gateway accepts, legacy and opaque, and role tokens that `verifier`
        finds genuine."""
        return KeyRing(
            (
                ApiKey("anon", "anon", self.anon_key, self.anon_key),
                ApiKey(
                    "service_role", "service_role", self.service_role_key, self.service_role_key
                ),
                ApiKey(
                    "anon_asymmetric", "anon", self.anon_key_asymmetric, self.anon_key_asymmetric
                ),
                ApiKey(
                    "service_role_asymmetric",
                    "service_role",
                    self.service_role_key_asymmetric,
                    self.service_role_key_asymmetric,
                ),
                ApiKey("publishable", "anon", self.publishable_key, self.anon_key_asymmetric),
                ApiKey("secret", "service_role", self.secret_key, self.service_role_key_asymmetric),
            ),
            verifier,
        )


def make_secrets(
    ref: str, known: dict[str, Any] | None = None, now_s: int | None = None
) -> Secrets:
    """New secrets; what `known` holds already is kept, and what derives from it follows it: keys
    that another secret has signed, because somebody changed it, are made anew."""
    given = dict(known or {})
    issued = int(time.time()) if now_s is None else now_s

    def keep(name: str, made: str) -> str:
        value = given.get(name)
        return value if isinstance(value, str) and value else made

    jwt_secret = keep("jwt_secret", secrets.token_urlsafe(36))
    if len(jwt_secret) < 32:
        raise ConfigurationError(
            "jwt_secret is too short", hint="Use at least 32 characters, or remove it to make one."
        )
    signing_key = keep("signing_key", _make_signing_key())
    shared, private = key_from_secret(jwt_secret), _read_signing_key(signing_key)

    def keep_token(name: str, key: Key, role: str) -> str:
        kept = given.get(name)
        if isinstance(kept, str) and _is_signed_by(key, kept):
            return kept
        claims = {"iss": "supabase", "ref": ref, "role": role, "iat": issued}
        return sign_token(key, {**claims, "exp": issued + KEY_YEARS * _YEAR_S})

    stored = given.get("database_passwords")
    passwords = dict(stored) if isinstance(stored, dict) else {}
    return Secrets(
        ref=ref,
        jwt_secret=jwt_secret,
        signing_key=signing_key,
        anon_key=keep_token("anon_key", shared, "anon"),
        service_role_key=keep_token("service_role_key", shared, "service_role"),
        anon_key_asymmetric=keep_token("anon_key_asymmetric", private, "anon"),
        service_role_key_asymmetric=keep_token(
            "service_role_key_asymmetric", private, "service_role"
        ),
        publishable_key=keep("publishable_key", make_opaque_key(PUBLISHABLE_PREFIX, ref)),
        secret_key=keep("secret_key", make_opaque_key(SECRET_PREFIX, ref)),
        s3_access_key_id=keep("s3_access_key_id", secrets.token_hex(16)),
        s3_access_key_secret=keep("s3_access_key_secret", secrets.token_hex(32)),
        dashboard_username=keep("dashboard_username", "supabase"),
        dashboard_password=keep("dashboard_password", "d" + secrets.token_urlsafe(15)),
        meta_crypto_key=keep("meta_crypto_key", secrets.token_hex(16)),
        vault_root_key=keep("vault_root_key", secrets.token_hex(32)),
        database_passwords={
            role: str(passwords.get(role) or secrets.token_hex(16)) for role in LOGIN_ROLES
        },
    )


def _is_signed_by(key: Key, token: str) -> bool:
    try:
        TokenVerifier((key,)).verify(token)
    except TokenInvalid as error:
        # One that is out of time stays: its owner may have meant it to end.
        return error.reason in ("expired", "not_yet_valid", "issued_in_future")
    return True


def _read_signing_key(text: str) -> Key:
    """The key that signs.  The text is secret: only the kind of problem may be told."""
    try:
        orjson.loads(text)
        first = keys_from_text(text)[0]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"the signing key cannot be read ({type(error).__name__})"
        ) from None
    if first.signing is None:
        raise ConfigurationError("the first signing key has no private part")
    return first


def _make_signing_key() -> str:
    jwk = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True)
    jwk.update({"alg": "ES256", "use": "sig", "kid": secrets.token_hex(16)})
    return orjson.dumps(jwk).decode()


def open_secrets(path: Path, ref: str, given: Mapping[str, str] | None = None) -> Secrets:
    """Reads the file, makes what is missing, and writes it back when something was made.

    `given` are values that the user's `config.toml` decides; they take the place of stored ones.
    Processes that come at once get the same.  Raises ConfigurationError when the file cannot be read
    as TOML or is open to others.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone_in(path.parent):
        return _open_alone(path, ref, given or {})


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _open_alone(path: Path, ref: str, given: Mapping[str, str]) -> Secrets:
    known: dict[str, Any] = {}
    if path.exists():
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigurationError(f"{path} can be read by others", hint=f"Run: chmod 600 {path}")
        try:
            known = tomllib.loads(path.read_text())
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"{path} is not valid TOML: {error}") from None
    wanted = {name: value for name, value in given.items() if value}
    made = make_secrets(str(known.get("ref") or ref), {**known, **wanted})
    if {spec.name: getattr(made, spec.name) for spec in fields(made)} != known:
        _write(path, made)
    return made


def _write(path: Path, made: Secrets) -> None:
    lines = ["# The secrets of this Selfbase project. Keep this file; give it to nobody.\n"]
    tables: list[str] = []
    for spec in fields(made):
        value = getattr(made, spec.name)
        if isinstance(value, dict):
            tables.append(f"\n[{spec.name}]\n")
            tables.extend(f"{name} = {_toml_text(text)}\n" for name, text in value.items())
        else:
            lines.append(f"{spec.name} = {_toml_text(value)}\n")
    # Written beside and renamed, so that a crash leaves the old file or the new one, never half.
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write("".join(lines + tables))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _toml_text(value: str) -> str:
    # TOML basic strings and JSON strings agree on every character a secret can hold, except DEL.
    return orjson.dumps(value).decode().replace("\x7f", "\\u007f")
