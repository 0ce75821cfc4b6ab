"""Settings of Realtime.  Names of variables as the service it replaces; limits in reference section 7."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfbase.kit.settings import KiB, MiB, Secret, setting


@dataclass(frozen=True, kw_only=True)
class RealtimeSettings:
    """Everything an operator may change.  A limit of 0 is no limit, where it says so."""

    enabled: bool = setting(True, toml="realtime.enabled", help="Serve Realtime at all.")
    private_only: bool = setting(
        False, runtime=True, help="Refuse public channels: every join needs a policy."
    )
    suspend: bool = setting(False, runtime=True, help="Refuse all connections and broadcasts.")
    presence_enabled: bool = setting(True, runtime=True, help="Allow presence.")

    connections_max: int = setting(
        10_000,
        env="TENANT_MAX_CONCURRENT_USERS",
        runtime=True,
        help="Sockets at one time in this process.",
    )
    joins_per_second_max: int = setting(
        2_500,
        env="TENANT_MAX_JOINS_PER_SECOND",
        runtime=True,
        help="Joins a second, averaged over ten seconds.  0: no limit.",
    )
    channels_per_socket_max: int = setting(
        100, env="TENANT_MAX_CHANNELS_PER_CLIENT", runtime=True, help="Channels on one socket."
    )
    messages_per_second_max: int = setting(
        2_500,
        env="TENANT_MAX_EVENTS_PER_SECOND",
        runtime=True,
        help="Messages sent and delivered a second, averaged over a minute.  0: no limit.",
    )
    presence_per_second_max: int = setting(
        1_000,
        env="TENANT_MAX_PRESENCE_EVENTS_PER_SECOND",
        runtime=True,
        help="Presence messages a second, averaged over a minute.  0: no limit.",
    )
    client_presence_calls_max: int = setting(
        5, env="CLIENT_PRESENCE_MAX_CALLS", help="Presence calls of one channel in its window."
    )
    client_presence_window_s: float = setting(
        30.0, unit="s", help="The window of client_presence_calls_max."
    )
    presence_keys_max: int = setting(10, help="Keys of one presence payload.")
    payload_bytes_max: int = setting(
        3000 * KiB, runtime=True, unit="bytes", help="Largest broadcast payload."
    )
    frame_bytes_max: int = setting(5_000_000, unit="bytes", help="Largest WebSocket message.")
    change_bytes_max: int = setting(
        1 * MiB, unit="bytes", help="A larger row change is sent without its large values."
    )
    unsent_bytes_max: int = setting(
        8 * MiB, unit="bytes", help="A socket that leaves more unread is dropped."
    )
    socket_idle_s: float = setting(
        90.0, unit="s", help="A socket that sends nothing for this long is closed."
    )
    socket_empty_s: float = setting(
        600.0, unit="s", help="A socket without any channel is closed after this long."
    )
    connect_error_pause_s: float = setting(
        2.0, env="CONNECT_ERROR_BACKOFF_S", unit="s", help="Pause before refusing a connection."
    )
    join_error_pause_s: float = setting(
        5.0, env="CHANNEL_ERROR_BACKOFF_S", unit="s", help="Pause before refusing a join."
    )
    authorization_timeout_s: float = setting(
        5.0, unit="s", help="Longest time for asking the policies of realtime.messages."
    )

    messages_keep_hours: int = setting(72, unit="h", help="How long realtime.messages are kept.")
    janitor: bool = setting(
        True, env="RUN_JANITOR", help="Make and drop the partitions of realtime.messages."
    )
    janitor_interval_s: float = setting(4 * 3600.0, unit="s", help="How often it looks.")

    publication: str = setting("supabase_realtime", help="Tables whose changes are sent.")
    slot_name_suffix: str = setting(
        "", env="SLOT_NAME_SUFFIX", help="Appended to the name of the replication slot."
    )
    change_delay_s: float = setting(
        0.025,
        unit="s",
        help="How long a change that was read waits, so that the writer's own request is answered"
        " first and what comes together is judged together.",
    )
    slot_idle_s: float = setting(
        120.0, unit="s", help="The slot is dropped this long after the last client has left."
    )
    slot_lag_bytes_max: int = setting(
        1024 * MiB, unit="bytes", help="A slot that holds back more is given up and made anew."
    )
    subscribe_wait_s: float = setting(
        3.0, unit="s", help="How long a join waits for the stream of changes to be up."
    )
    subscribe_retry_s: float = setting(
        5.0, unit="s", help="How soon a binding that cannot be active yet is tried again."
    )

    bus: str = setting(
        "", help="How workers meet: empty (one worker), unix:<path>, or redis://<address>."
    )
    worker_beat_s: float = setting(1.0, unit="s", help="How often a worker shows that it lives.")

    claim_validators: Mapping[str, Any] = setting(
        factory=dict, env="JWT_CLAIM_VALIDATORS", help="Claims every token must carry, as JSON."
    )
    api_jwt_secret: Secret = setting(
        Secret(""), env="API_JWT_SECRET", secret=True, help="Signs calls of the tenant API."
    )
    metrics_jwt_secret: Secret = setting(
        Secret(""), env="METRICS_JWT_SECRET", secret=True, help="Signs calls of /metrics."
    )
    region: str = setting("", env="REGION", help="Shown by the health call.")

    @property
    def is_off(self) -> bool:
        """Whether connections and broadcasts are refused."""
        return self.suspend or not self.enabled

    @property
    def slot_name(self) -> str:
        suffix = f"_{self.slot_name_suffix}" if self.slot_name_suffix else ""
        return f"supabase_realtime_replication_slot{suffix}"


@dataclass(frozen=True, kw_only=True)
class StandaloneSettings:
    """What `selfbase serve realtime` needs besides: the database and the keys."""

    db_host: str = setting("localhost", env="DB_HOST", help="Address of PostgreSQL.")
    db_port: int = setting(5432, env="DB_PORT", help="Port of PostgreSQL.")
    db_name: str = setting("postgres", env="DB_NAME", help="The database.")
    db_user: str = setting(
        "supabase_admin", env="DB_USER", help="Owner of the realtime schema, with REPLICATION."
    )
    db_password: Secret = setting(Secret(""), env="DB_PASSWORD", secret=True, help="Its password.")
    db_ssl: bool = setting(False, env="DB_SSL", help="Demand TLS to PostgreSQL.")
    jwt_secret: Secret = setting(
        env=("API_JWT_SECRET", "JWT_SECRET"), secret=True, help="Verifies the tokens of clients."
    )
    jwks: Secret = setting(
        Secret(""),
        env=("API_JWT_JWKS", "JWT_JWKS"),
        secret=True,
        help="Further keys, as a JWK set.",
    )
    ref: str = setting("realtime-dev", env="SELF_HOST_TENANT_NAME", help="Name of the tenant.")
    data_dir: Path = setting(Path(), help="Where files would go; Realtime keeps none.")
