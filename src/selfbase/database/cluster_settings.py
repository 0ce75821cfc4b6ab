"""What a cluster is set to, and the text of its configuration files. Pure: touches no file.

The figures of the sizes come from measurements on idle and waking clusters: `small` keeps an idle
cluster near 10 MB, `medium` and `large` give the same behaviour more memory and parallelism.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Size = Literal["small", "medium", "large"]

# A socket's whole path must fit sockaddr_un: 107 bytes and a NUL on Linux, 103 on macOS.
SOCKET_PATH_BYTES_MAX = 103
SAFE_PATH = re.compile(r"[\w./+-]+", re.ASCII)
# Names the socket file when there is no TCP port.
PORT_WITHOUT_TCP = 5432


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """One cluster: where it lies, who may reach it, how much it may use."""

    data_dir: Path
    # Private folder of the socket; a short one is chosen when None, too long, or out of reach.
    socket_dir: Path | None = None
    # Server log; beside the data folder when None.
    log_path: Path | None = None
    host: str = "127.0.0.1"
    # None: no TCP at all, only the private socket.
    port: int | None = None
    size: Size = "small"
    # Any PostgreSQL setting by name; wins over everything else here.
    overrides: Mapping[str, str] = field(default_factory=dict)
    # False only for throw-away test clusters: a crash of the machine then loses data.
    durable: bool = True
    # How long a starting server may say nothing; a long recovery reports its progress.
    start_timeout_s: float = 60.0
    stop_timeout_s: float = 30.0


# Same in every size. Cluster-per-project means many idle clusters: nothing may wake without work.
COMMON: Mapping[str, str] = {
    "wal_level": "logical",  # Realtime and replication; changing it later needs a restart
    "password_encryption": "scram-sha-256",
    "unix_socket_permissions": "0700",
    "huge_pages": "off",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",  # our reading of failures, and users' bug reports, are in English
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_checkpoints": "off",
    "compute_query_id": "on",  # tools join statistics, plans and activity by it
    "wal_recycle": "off",  # gives the disk back after a burst
    "max_logical_replication_workers": "0",  # no launcher process; raise it to subscribe elsewhere
    "bgwriter_delay": "10s",
    "autovacuum_naptime": "10min",
    "min_wal_size": "2MB",
}

SIZES: Mapping[Size, Mapping[str, str]] = {
    "small": {
        "shared_buffers": "16MB",
        "effective_cache_size": "128MB",
        "max_connections": "30",
        "max_wal_senders": "5",
        "max_replication_slots": "5",
        "max_worker_processes": "2",
        "max_parallel_workers": "0",
        "max_parallel_workers_per_gather": "0",
        "max_parallel_maintenance_workers": "0",
        "autovacuum_max_workers": "1",
        "bgwriter_lru_maxpages": "0",
        "wal_writer_delay": "10s",
        "checkpoint_timeout": "1h",
        "max_wal_size": "64MB",
        "max_slot_wal_keep_size": "256MB",
    },
    "medium": {
        "shared_buffers": "128MB",
        "max_connections": "100",
        "max_wal_senders": "10",
        "max_replication_slots": "10",
        "max_worker_processes": "8",
        "max_parallel_workers": "2",
        "max_parallel_workers_per_gather": "1",
        "max_parallel_maintenance_workers": "1",
        "autovacuum_max_workers": "2",
        "autovacuum_naptime": "1min",
        "bgwriter_delay": "200ms",
        "checkpoint_timeout": "15min",
        "effective_cache_size": "512MB",
        "maintenance_work_mem": "64MB",
        "max_wal_size": "512MB",
        "max_slot_wal_keep_size": "1GB",
    },
    "large": {
        "shared_buffers": "1GB",
        "max_connections": "200",
        "max_wal_senders": "20",
        "max_replication_slots": "20",
        "max_worker_processes": "16",
        "max_parallel_workers": "4",
        "max_parallel_workers_per_gather": "2",
        "max_parallel_maintenance_workers": "2",
        "autovacuum_max_workers": "3",
        "autovacuum_naptime": "1min",
        "bgwriter_delay": "200ms",
        "checkpoint_timeout": "15min",
        "effective_cache_size": "4GB",
        "maintenance_work_mem": "256MB",
        "work_mem": "16MB",
        "max_wal_size": "2GB",
        "max_slot_wal_keep_size": "4GB",
    },
}

THROW_AWAY: Mapping[str, str] = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}


def plan_server_settings(
    settings: ClusterSettings,
    version: int,
    socket_dir: Path,
    *,
    has_time_zones: bool = True,
    preload: tuple[str, ...] = (),
    extension_settings: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Every setting we write, in order of precedence, the user's own last."""
    planned = dict(COMMON) | dict(SIZES[settings.size])
    if not has_time_zones:
        # The embedded build reads the system's zone files; without them it knows only GMT.
        planned |= {"timezone": "GMT", "log_timezone": "GMT"}
    if version >= 18:
        planned["io_method"] = "sync"  # spares the io worker processes
        planned["autovacuum_worker_slots"] = planned["autovacuum_max_workers"]
    if not settings.durable:
        planned |= THROW_AWAY
    if preload:
        planned["shared_preload_libraries"] = ",".join(preload)
    planned |= extension_settings or {}
    planned["listen_addresses"] = settings.host if settings.port is not None else ""
    planned["port"] = str(settings.port or PORT_WITHOUT_TCP)
    planned["unix_socket_directories"] = str(socket_dir)
    return planned | dict(settings.overrides)


def render_configuration(planned: Mapping[str, str]) -> str:
    """The text of selfbase.conf."""
    lines = [f"{name} = '{_quote(value)}'" for name, value in planned.items()]
    return "\n".join(
        ["# Written by Selfbase at every start; change settings there, not here.", *lines, ""]
    )


def render_host_access(settings: ClusterSettings) -> str:
    """The text of pg_hba.conf: our own private socket is trusted, everybody else needs a password.

    Trust is sound there because only the server's own user can enter the folder of the socket
    (mode 0700), and because dblink and postgres_fdw refuse non-superusers a connection that asked
    for no password.
    """
    lines = [
        "# Written by Selfbase at every start.",
        "local all         all       trust",
        "local replication all       trust",
    ]
    if settings.port is not None:
        lines += [
            "host  all         all  all  scram-sha-256",
            "host  replication supabase_replication_admin  all  scram-sha-256",
        ]
    return "\n".join([*lines, ""])


def is_socket_dir_usable(socket_dir: Path, port: int) -> bool:
    """Whether the socket's path fits the operating system's limit and needs no quoting anywhere."""
    return (
        SAFE_PATH.fullmatch(str(socket_dir)) is not None
        and len(str(socket_dir / f".s.PGSQL.{port}.lock").encode()) <= SOCKET_PATH_BYTES_MAX
    )


def plan_short_name(data_dir: Path) -> str:
    """A short name for a data folder, the same at every start."""
    return hashlib.sha256(str(data_dir).encode()).hexdigest()[:12]


def _quote(value: str) -> str:
    if "\n" in value or "\0" in value:
        raise ValueError("a PostgreSQL setting cannot hold a line break")
    return value.replace("\\", "\\\\").replace("'", "''")
