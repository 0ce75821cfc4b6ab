"""Settings of the whole stack: addresses, ports, the database, processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from selfbase.kit.settings import setting


@dataclass(frozen=True, kw_only=True)
class StackSettings:
    """Ports are numbers, or `auto` to let the system choose."""

    project_ref: str = setting(
        "selfbase", env="SELFBASE_PROJECT", toml="project_id", help="Name of the project."
    )
    host: str = setting("127.0.0.1", env="SELFBASE_HOST", help="Address to listen on.")
    api_port: str = setting(
        "54321",
        env=("SELFBASE_PORT", "API_GW_HTTP_PORT", "KONG_HTTP_PORT"),
        toml="api.port",
        help="Port of the API and of Studio.",
    )
    db_port: str = setting(
        "54322", env="SELFBASE_DB_PORT", toml="db.port", help="Port of PostgreSQL."
    )
    mail_port: str = setting(
        "54324", env="SELFBASE_MAIL_PORT", toml="inbucket.port", help="Port of the mail catcher."
    )
    admin_port: str = setting(
        "auto", env="SELFBASE_ADMIN_PORT", help="Loopback port for metrics of all processes."
    )
    public_url: str = setting(
        "",
        env=("SELFBASE_PUBLIC_URL", "SUPABASE_PUBLIC_URL"),
        toml="api.external_url",
        help="Address under which clients reach the API; empty: host and port.",
    )
    workers: int = setting(1, env="SELFBASE_WORKERS", help="Processes that serve requests.")
    worker_probe_s: float = setting(
        10.0,
        env="SELFBASE_WORKER_PROBE_S",
        help="How often each worker is asked whether it lives; one that fails to answer three times"
        " is replaced. 0: never.",
    )
    postgres: str = setting(
        "embedded",
        env="SELFBASE_POSTGRES",
        help="Which PostgreSQL to run: embedded, system, or a folder with its programs.",
    )
    db_url: str = setting(
        "",
        env="SELFBASE_DB_URL",
        secret=True,
        help="An external server's administrator URL; empty: a cluster of our own.",
    )
    db_size: Literal["small", "medium", "large"] = setting(
        "small", env="SELFBASE_DB_SIZE", help="How much of the machine PostgreSQL may use."
    )
    db_settings: dict[str, str] = setting(
        factory=dict,
        env="SELFBASE_DB_SETTINGS",
        toml="db.settings",
        help='Settings of our own PostgreSQL that win over the size, as JSON: {"work_mem": "16MB"}.',
    )
    migrations_enabled: bool = setting(
        True, toml="db.migrations.enabled", help="Apply supabase/migrations at start."
    )
    seed_enabled: bool = setting(True, toml="db.seed.enabled", help="Run seed files once.")
    seed_paths: tuple[str, ...] = setting(
        ("./seed.sql",), toml="db.seed.sql_paths", help="Seed files, relative to supabase/."
    )
    mail_enabled: bool = setting(
        True, toml="inbucket.enabled", help="Catch outgoing mail instead of sending it."
    )
