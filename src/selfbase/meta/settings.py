"""The settings of the metadata API; in standalone mode also where the database is."""

from __future__ import annotations

from dataclasses import dataclass

from selfbase.kit.settings import MiB, Secret, setting


@dataclass(frozen=True, kw_only=True)
class MetaSettings:
    """Limits and modes.  The names in `env` are those of postgres-meta."""

    body_mb_max: int = setting(
        3, env="PG_META_MAX_BODY_LIMIT_MB", unit="MiB", help="Largest request body."
    )
    result_mb_max: int = setting(
        256,
        env="PG_META_MAX_RESULT_SIZE_MB",
        unit="MiB",
        help="Largest result of one request; more ends it with RESULT_SIZE_EXCEEDED.",
    )
    query_timeout_s: float = setting(
        55.0, env="PG_QUERY_TIMEOUT_SECS", unit="s", help="How long a request waits for its SQL."
    )
    connect_timeout_s: float = setting(
        15.0, env="PG_CONN_TIMEOUT_SECS", unit="s", help="How long opening a connection may take."
    )
    requests_max: int = setting(
        8, help="Requests that may use the database at once; each has its own connection."
    )
    waiting_max: int = setting(
        100, help="Requests that may wait for one of those places; more are answered with 503."
    )
    read_only: bool = setting(
        False, help="Refuse everything that changes the database.", runtime=True
    )
    swift_access_control: str = setting(
        "internal",
        env="PG_META_GENERATE_TYPES_SWIFT_ACCESS_CONTROL",
        choices=("internal", "public", "private", "package"),
        help="Access control of generated Swift types unless a request says otherwise.",
    )
    default_schema: str = setting(
        "public",
        env="PG_META_GENERATE_TYPES_DEFAULT_SCHEMA",
        help="The schema that generated TypeScript helpers use when none is named.",
    )

    @property
    def body_bytes_max(self) -> int:
        return self.body_mb_max * MiB

    @property
    def result_bytes_max(self) -> int:
        return self.result_mb_max * MiB


@dataclass(frozen=True, kw_only=True)
class StandaloneSettings:
    """Where the database of `selfbase serve meta` is, by the names of postgres-meta."""

    url: Secret = setting(
        Secret(""),
        env="PG_META_DB_URL",
        secret=True,
        help="The database; wins over the single parts.",
    )
    host: str = setting("localhost", env="PG_META_DB_HOST")
    port: int = setting(5432, env="PG_META_DB_PORT")
    database: str = setting("postgres", env="PG_META_DB_NAME")
    user: str = setting("postgres", env="PG_META_DB_USER")
    password: Secret = setting(Secret(""), env="PG_META_DB_PASSWORD", secret=True)
    password_file: str = setting(
        "", env="PG_META_DB_PASSWORD_FILE", help="A file that holds the password."
    )
    ssl_mode: str = setting(
        "disable",
        env="PG_META_DB_SSL_MODE",
        help="disable: plain; verify-full: TLS with a checked certificate; other: TLS.",
    )
    ssl_root_cert: str = setting(
        "", env="PG_META_DB_SSL_ROOT_CERT", help="The certificate authority, as PEM text."
    )
    crypto_key: Secret = setting(
        Secret(""),
        env="CRYPTO_KEY",
        secret=True,
        help="Decrypts the header x-connection-encrypted; SAMPLE_KEY when there is none.",
    )
    crypto_key_file: str = setting("", env="CRYPTO_KEY_FILE", help="A file that holds the key.")
