"""What `selfbase start` was asked for, and the ports it comes to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
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
    """Chooses and checks, all of them different.

    Raises ConfigurationError naming who holds a port that is taken.
    """
    local = "127.0.0.1"
    wanted = [("API", stack.api_port, stack.host), ("Metrics", stack.admin_port, local)]
    if not stack.db_url:
        wanted.append(("Database", stack.db_port, stack.host))
    if stack.mail_enabled:
        wanted += [("Mail catcher", stack.mail_port, local), ("Mail", AUTO, local)]
    ports: dict[str, int] = {}
    # Numbers that were asked for come first, so that none of them is chosen for something else.
    for what, asked, host in sorted(wanted, key=lambda row: row[1] == AUTO):
        ports[what] = resolve_port(asked, host, what, ports.values())
    return Ports(
        api=ports["API"],
        db=ports.get("Database"),
        mail=ports.get("Mail catcher"),
        smtp=ports.get("Mail"),
        admin=ports["Metrics"],
    )


def resolve_port(asked: str, host: str, what: str, besides: Collection[int] = ()) -> int:
    """The port of a setting: a number that is free, or any free one for `auto`."""
    try:
        if asked == AUTO:
            return find_free_port(host, besides)
        port = parse_port(asked, what)
        if port in besides:
            raise ConfigurationError(f"{what}: port {port} was given to two of our own servers")
        free = is_port_free(host, port)
    except OSError as error:
        raise ConfigurationError(
            f"{what}: cannot listen on {host}: {error.strerror}",
            hint="Name an address of this machine with --host, such as 127.0.0.1 or 0.0.0.0.",
        ) from error
    if not free:
        raise ConfigurationError(
            describe_port_in_use(host, port, what), code="port_in_use", hint="Or use: --port auto"
        )
    return port


def parse_port(asked: str, what: str) -> int:
    """The number of a port.  Raises ConfigurationError for what is none."""
    try:
        port = int(asked)
    except ValueError:
        raise ConfigurationError(f"{what}: the port is a number or auto, not {asked!r}") from None
    if not 1 <= port <= 65535:
        raise ConfigurationError(f"{what}: {port} is not a port number")
    return port


# Settings of PostgreSQL that follow from other settings of ours.
_OURS = {"port": "--db-port", "listen_addresses": "--host", "unix_socket_directories": "--dir"}


def plan_overrides(asked: Mapping[str, object]) -> dict[str, str]:
    """PostgreSQL settings as the server reads them.

    Raises ConfigurationError for those by which we would lose it.
    """
    for name in asked:
        if name.lower() in _OURS:
            raise ConfigurationError(
                f"db.settings: {name} is not set there", hint=f"Use {_OURS[name.lower()]}."
            )
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in asked.items()
    }


def render_public_url(stack: StackSettings, ports: Ports) -> str:
    """The address clients use, without a trailing slash."""
    if stack.public_url:
        return stack.public_url.rstrip("/")
    return f"http://{render_host(stack.host)}:{ports.api}"


def render_host(host: str) -> str:
    """A host to listen on as one to connect to, in the form of a URL."""
    named = {"0.0.0.0": "127.0.0.1", "::": "::1", "*": "127.0.0.1"}.get(host, host)  # noqa: S104
    return f"[{named}]" if ":" in named else named
