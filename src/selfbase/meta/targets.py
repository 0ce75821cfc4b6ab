"""Which database a request reaches, and as whom.

In a project it is always the project's own: a connection header of somebody else's making can
choose between two logins and nothing more.  Standing alone, the header names the database, as
upstream does.  Source: reference/meta.md section 1.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkstemp
from typing import Protocol
from urllib.parse import parse_qs, quote, unquote, urlsplit

from cryptography.x509 import load_pem_x509_certificates
from psycopg.conninfo import make_conninfo

from selfbase.kit.failures import ConfigurationError
from selfbase.meta.logic.connection_header import check_connection_url, decrypt_connection
from selfbase.meta.settings import StandaloneSettings

# As a postgres-meta built from source calls itself: tools look for it in pg_stat_activity.
APPLICATION_NAME = "postgres-meta 0.0.0-automated"
READER = "supabase_read_only_user"


@dataclass(frozen=True, slots=True)
class Target:
    """A database and a login.  `conninfo` holds a password: never log it."""

    conninfo: str
    login: str
    read_only: bool


class Targets(Protocol):
    """`crypto_key` decrypts headers, and keys the digests of SQL in events."""

    crypto_key: str

    def find(self, header: str | None, application_name: str, *, read_only: bool) -> Target:
        """`header` is the encrypted connection, if the client sent one.  Raises
        ConnectionUnreadable, ConnectionMissing."""

    def close(self) -> None:
        """Leaves nothing behind."""


class ProjectTargets:
    """The one database of a project, as `postgres`, or as the reading role."""

    def __init__(self, conninfo_for: Callable[..., str], crypto_key: str) -> None:
        self._conninfo_for = conninfo_for
        self.crypto_key = crypto_key

    def find(self, header: str | None, application_name: str, *, read_only: bool) -> Target:
        login = READER if read_only else "postgres"
        if header is not None:
            url = urlsplit(decrypt_connection(header, self.crypto_key))
            if unquote(url.username or "").split(".")[0] == READER:
                login = READER
        return Target(
            self._conninfo_for(login, **_session(application_name, login == READER)),
            login,
            login == READER,
        )

    def close(self) -> None:
        """Nothing of ours outlives a request."""


class StandaloneTargets:
    """The configured database, or the one the header names."""

    def __init__(self, settings: StandaloneSettings) -> None:
        password = _read_secret(settings.password.reveal(), settings.password_file, "postgres")
        self._url = settings.url.reveal() or _url_from_parts(settings, password)
        self.crypto_key = _read_secret(
            settings.crypto_key.reveal(), settings.crypto_key_file, "SAMPLE_KEY"
        )
        self._root_cert = _write_root_cert(settings.ssl_root_cert)

    def find(self, header: str | None, application_name: str, *, read_only: bool) -> Target:
        url = self._url if header is None else decrypt_connection(header, self.crypto_key)
        check_connection_url(url)
        parts = urlsplit(url)
        login = unquote(parts.username or "postgres")
        session = _session(application_name, read_only)
        return Target(make_conninfo(self._conninfo(url), **session), login, read_only)

    def close(self) -> None:
        if self._root_cert:
            Path(self._root_cert).unlink(missing_ok=True)

    def _conninfo(self, url: str) -> str:
        parts = urlsplit(url)
        asked = parse_qs(parts.query).get("sslmode", [None])[0]
        return make_conninfo(
            host=parts.hostname,
            port=parts.port or 5432,
            user=unquote(parts.username or "postgres"),
            password=unquote(parts.password or ""),
            dbname=unquote(parts.path.lstrip("/")) or unquote(parts.username or "postgres"),
            **self._tls(asked),
        )

    def _tls(self, asked: str | None) -> dict[str, str]:
        if asked == "disable" or (asked is None and not self._root_cert):
            return {"sslmode": "disable"}
        if asked not in (None, "verify-full"):
            return {"sslmode": "require"}
        return {"sslmode": "verify-full", "sslrootcert": self._root_cert or "system"}


def _read_secret(value: str, path: str, default: str) -> str:
    """The value, or what the file holds, or the default.  Raises ConfigurationError."""
    if value or not path:
        return value or default
    try:
        return Path(path).read_text().strip() or default
    except OSError as error:
        raise ConfigurationError(f"meta: cannot read {path}: {error.strerror}") from None


def _write_root_cert(pem: str) -> str:
    """libpq wants the certificate authority in a file: its path, or empty without one."""
    if not pem:
        return ""
    try:
        load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        raise ConfigurationError(
            f"meta: PG_META_DB_SSL_ROOT_CERT is no certificate: {error}"
        ) from None
    descriptor, path = mkstemp(prefix="selfbase-meta-", suffix=".pem")
    with os.fdopen(descriptor, "w") as file:
        file.write(pem)
    return path


def _url_from_parts(settings: StandaloneSettings, password: str) -> str:
    def part(text: str) -> str:
        return quote(text, safe="")

    credentials = f"{part(settings.user)}:{part(password)}"
    url = (
        f"postgresql://{credentials}@{settings.host}:{settings.port}/{part(settings.database)}"
        f"?sslmode={part(settings.ssl_mode)}"
    )
    return url


def _session(application_name: str, read_only: bool) -> dict[str, str]:
    name = "".join(c for c in application_name if 32 <= ord(c) < 127)[:63] or APPLICATION_NAME
    session = {"application_name": name, "client_encoding": "UTF8"}
    if read_only:
        session["options"] = "-c default_transaction_read_only=on"
    return session
