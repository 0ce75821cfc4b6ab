"""What `selfbase start` was asked for, and the ports it comes to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfbase.database.ports import describe_port_in_use, find_free_port, is_port_free
from selfbase.kit.failures import ConfigurationError
from selfbase.workspace.settings import StackSettings

AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class StartOptions:
    """`overrides` are settings given on the command line, by `owner.field`."""

    workspace: Path
    state_dir: Path
    overrides: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ports:
    """Real ports; None where there is nothing to listen."""

    api: int
    db: int | None
    mail: int | None
    smtp: int | None
    admin: int


def plan_ports(stack: StackSettings) -> Ports:
    """Chooses and checks.  Raises ConfigurationError naming who holds a port that is taken."""
    external = bool(stack.db_url)
    return Ports(
        api=resolve_port(stack.api_port, stack.host, "API"),
        db=None if external else resolve_port(stack.db_port, stack.host, "Database"),
        mail=resolve_port(stack.mail_port, "127.0.0.1", "Mail catcher")
        if stack.mail_enabled
        else None,
        smtp=find_free_port("127.0.0.1") if stack.mail_enabled else None,
        admin=resolve_port(stack.admin_port, "127.0.0.1", "Metrics"),
    )


def resolve_port(asked: str, host: str, what: str) -> int:
    """The port of a setting: a number that is free, or any free one for `auto`."""
    if asked == AUTO:
        return find_free_port(host)
    try:
        port = int(asked)
    except ValueError:
        raise ConfigurationError(f"{what}: the port is a number or auto, not {asked!r}") from None
    if not 1 <= port <= 65535:
        raise ConfigurationError(f"{what}: {port} is not a port number")
    if not is_port_free(host, port):
        raise ConfigurationError(
            describe_port_in_use(host, port, what), code="port_in_use", hint="Or use: --port auto"
        )
    return port


def render_public_url(stack: StackSettings, ports: Ports) -> str:
    """The address clients use, without a trailing slash."""
    if stack.public_url:
        return stack.public_url.rstrip("/")
    host = "127.0.0.1" if stack.host in ("0.0.0.0", "::", "127.0.0.1") else stack.host  # noqa: S104
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{ports.api}"
