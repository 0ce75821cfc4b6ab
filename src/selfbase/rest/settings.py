"""The settings of the REST service, by the names PostgREST gives them.

Precedence as upstream: settings in the database (`ALTER ROLE … SET pgrst.…`, `db-pre-config`) win
over the environment, which wins over the configuration file.  Source: reference/rest.md section 8.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from selfbase.kit.failures import ConfigurationError
from selfbase.kit.settings import (
    EnvLayer,
    Layer,
    MiB,
    Secret,
    SettingInfo,
    ValuesLayer,
    load_settings,
    setting,
)


@dataclass(frozen=True, kw_only=True)
class RestSettings:
    """One configuration of the service; a reload makes a new one."""

    config_file: str = setting(
        "", env="PGRST_CONFIG_FILE", help="PostgREST's configuration file, the weakest source."
    )
    db_uri: Secret = setting(
        Secret("postgresql://"), env="PGRST_DB_URI", secret=True, help="Used when serving alone."
    )
    db_schemas: tuple[str, ...] = setting(
        ("public",),
        env=("PGRST_DB_SCHEMAS", "PGRST_DB_SCHEMA"),
        toml="api.schemas",
        help="Exposed schemas; the first is the default.",
        runtime=True,
    )
    db_extra_search_path: tuple[str, ...] = setting(
        ("public",),
        env="PGRST_DB_EXTRA_SEARCH_PATH",
        toml="api.extra_search_path",
        help="Schemas on the search path besides the exposed one.",
        runtime=True,
    )
    db_anon_role: str = setting("", env="PGRST_DB_ANON_ROLE", help="Role without a token.")
    db_max_rows: int | None = setting(
        None,
        env=("PGRST_DB_MAX_ROWS", "PGRST_MAX_ROWS"),
        toml="api.max_rows",
        help="Most rows of any level of an answer.",
        runtime=True,
    )
    db_pre_request: str = setting("", env=("PGRST_DB_PRE_REQUEST", "PGRST_PRE_REQUEST"))
    db_pre_config: str = setting("", env="PGRST_DB_PRE_CONFIG")
    db_root_spec: str = setting("", env=("PGRST_DB_ROOT_SPEC", "PGRST_ROOT_SPEC"))
    db_aggregates_enabled: bool = setting(False, env="PGRST_DB_AGGREGATES_ENABLED", runtime=True)
    db_plan_enabled: bool = setting(False, env="PGRST_DB_PLAN_ENABLED", runtime=True)
    db_tx_end: str = setting(
        "commit",
        env="PGRST_DB_TX_END",
        choices=("commit", "commit-allow-override", "rollback", "rollback-allow-override"),
    )
    db_hoisted_tx_settings: tuple[str, ...] = setting(
        ("statement_timeout", "plan_filter.statement_cost_limit", "default_transaction_isolation"),
        env="PGRST_DB_HOISTED_TX_SETTINGS",
    )
    db_prepared_statements: bool = setting(True, env="PGRST_DB_PREPARED_STATEMENTS")
    db_channel: str = setting("pgrst", env="PGRST_DB_CHANNEL")
    db_channel_enabled: bool = setting(True, env="PGRST_DB_CHANNEL_ENABLED")
    db_config: bool = setting(True, env="PGRST_DB_CONFIG")
    db_pool: int = setting(10, env="PGRST_DB_POOL", help="Most connections when serving alone.")
    db_pool_acquisition_timeout: float = setting(
        10.0, env="PGRST_DB_POOL_ACQUISITION_TIMEOUT", unit="s"
    )
    db_pool_max_idletime: float = setting(
        30.0, env=("PGRST_DB_POOL_MAX_IDLETIME", "PGRST_DB_POOL_TIMEOUT"), unit="s"
    )
    db_pool_max_lifetime: float = setting(1800.0, env="PGRST_DB_POOL_MAX_LIFETIME", unit="s")
    jwt_secret: Secret = setting(Secret(""), env="PGRST_JWT_SECRET", secret=True)
    jwt_secret_is_base64: bool = setting(
        False, env=("PGRST_JWT_SECRET_IS_BASE64", "PGRST_SECRET_IS_BASE64")
    )
    jwt_aud: str = setting("", env="PGRST_JWT_AUD")
    jwt_role_claim_key: str = setting(
        ".role", env=("PGRST_JWT_ROLE_CLAIM_KEY", "PGRST_ROLE_CLAIM_KEY")
    )
    jwt_cache_max_entries: int = setting(1000, env="PGRST_JWT_CACHE_MAX_ENTRIES")
    openapi_mode: str = setting(
        "follow-privileges",
        env="PGRST_OPENAPI_MODE",
        choices=("follow-privileges", "ignore-privileges", "disabled"),
    )
    openapi_security_active: bool = setting(False, env="PGRST_OPENAPI_SECURITY_ACTIVE")
    openapi_server_proxy_uri: str = setting(
        "", env=("PGRST_OPENAPI_SERVER_PROXY_URI", "PGRST_SERVER_PROXY_URI")
    )
    server_host: str = setting("", env="PGRST_SERVER_HOST", help="Empty is this machine only.")
    server_port: int = setting(3000, env="PGRST_SERVER_PORT")
    server_unix_socket: str = setting("", env="PGRST_SERVER_UNIX_SOCKET")
    server_unix_socket_mode: str = setting("660", env="PGRST_SERVER_UNIX_SOCKET_MODE")
    admin_server_host: str = setting("", env="PGRST_ADMIN_SERVER_HOST")
    admin_server_port: int | None = setting(None, env="PGRST_ADMIN_SERVER_PORT")
    server_cors_allowed_origins: tuple[str, ...] = setting(
        (), env="PGRST_SERVER_CORS_ALLOWED_ORIGINS", help="Empty allows any origin."
    )
    server_timing_enabled: bool = setting(False, env="PGRST_SERVER_TIMING_ENABLED")
    server_trace_header: str = setting("", env="PGRST_SERVER_TRACE_HEADER")
    log_level: str = setting(
        "error", env="PGRST_LOG_LEVEL", choices=("crit", "error", "warn", "info", "debug")
    )
    log_query: bool = setting(False, env="PGRST_LOG_QUERY")
    client_error_verbosity: str = setting(
        "verbose", env="PGRST_CLIENT_ERROR_VERBOSITY", choices=("verbose", "minimal")
    )
    body_bytes_max: int = setting(100 * MiB, help="Largest request body.", unit="bytes")
    filters_required: bool = setting(
        False, help="Refuse to update or delete without a filter, as safeupdate does."
    )
    compiled_max: int = setting(2000, help="Compiled requests kept.")
    app_settings: dict[str, str] = field(default_factory=dict)

    @property
    def tx_override_allowed(self) -> bool:
        return self.db_tx_end.endswith("allow-override")

    @property
    def tx_rollback(self) -> bool:
        return self.db_tx_end.startswith("rollback")


_APP_SETTING = "PGRST_APP_SETTINGS_"


def load_rest_settings(
    layers: Sequence[Layer], in_database: Mapping[str, str] | None = None
) -> RestSettings:
    """Settings from the layers, what stands in the database before all of them.

    Raises ConfigurationError.
    """
    given = {name.replace("-", "_"): value for name, value in (in_database or {}).items()}
    values = {name: value for name, value in given.items() if name not in _FIXED}
    made, layers = _load_layers(layers, ValuesLayer(values, name="in-database"))
    app_settings: dict[str, str] = {}
    for layer in reversed(layers):
        if isinstance(layer, EnvLayer):
            app_settings.update(
                (name[len(_APP_SETTING) :].lower(), value)
                for name, value in layer.variables.items()
                if name.startswith(_APP_SETTING)
            )
        elif isinstance(layer, FileLayer):
            app_settings.update(layer.app_settings)
    app_settings.update(
        (name[len("app.settings.") :], value)
        for name, value in (in_database or {}).items()
        if name.startswith("app.settings.")
    )
    return replace(
        made,
        app_settings=app_settings,
        db_uri=_read_secret(made.db_uri),
        jwt_secret=_read_secret(made.jwt_secret),
    )


def pin_streams(layers: Sequence[Layer]) -> Sequence[Layer]:
    """The layers with what comes from a pipe (`@/dev/stdin`), which can be read but once.

    Raises ConfigurationError.
    """
    made, _ = _load_layers(layers, ValuesLayer({}))
    secrets = {"db_uri": made.db_uri, "jwt_secret": made.jwt_secret}
    pinned = {
        name: _read_secret(secret)
        for name, secret in secrets.items()
        if secret.reveal().startswith("@") and not Path(secret.reveal()[1:]).is_file()
    }
    return (ValuesLayer(pinned, name="standard input"), *layers) if pinned else layers


def _load_layers(layers: Sequence[Layer], strongest: Layer) -> tuple[RestSettings, Sequence[Layer]]:
    """The settings as given, and the layers with the configuration file that they name."""
    made = load_settings(RestSettings, (strongest, *layers), owner="rest")
    if not made.config_file:
        return made, layers
    # Read anew each time: a reload sees what was changed.
    layers = (*layers, parse_config_file(_read_file(made.config_file)))
    return load_settings(RestSettings, (strongest, *layers), owner="rest"), layers


def _read_secret(secret: Secret) -> Secret:
    """`@path` stands for what the file holds, without its last line break."""
    text = secret.reveal()
    if not text.startswith("@"):
        return secret
    # A secret may be any bytes.
    return Secret(_read_file(text[1:], "surrogateescape").removesuffix("\n"))


def _read_file(path: str, errors: str = "strict") -> str:
    try:
        return Path(path).read_text("utf-8", errors)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"rest: {path} cannot be read: {error}") from None


# Decided once, before the database can be asked.
_FIXED = frozenset({"config_file", "db_uri", "db_config", "db_pool", "server_host", "server_port"})

_LINE = re.compile(r"""^\s*([A-Za-z][\w.-]*)\s*=\s*("(?:[^"\\]|\\.)*"|[^#\s][^#]*?)\s*(?:\#.*)?$""")


@dataclass(frozen=True)
class FileLayer:
    """PostgREST's configuration file: `name = value` lines, `#` comments, quoted text."""

    values: Mapping[str, str]
    app_settings: Mapping[str, str]
    name: str = "configuration file"

    def find(self, owner: str, field_name: str, info: SettingInfo) -> Any:
        return self.values.get(field_name)


def parse_config_file(text: str) -> FileLayer:
    """Raises ConfigurationError naming the line that cannot be read."""
    values: dict[str, str] = {}
    app_settings: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.match(line)
        if found is None:
            raise ConfigurationError(f"configuration file: line {number} cannot be read")
        name, raw = found[1], found[2]
        value = re.sub(r"\\(.)", r"\1", raw[1:-1], flags=re.DOTALL) if raw.startswith('"') else raw
        if name.startswith("app.settings."):
            app_settings[name[len("app.settings.") :]] = value
        else:
            values[name.replace("-", "_")] = value
    return FileLayer(values, app_settings)
