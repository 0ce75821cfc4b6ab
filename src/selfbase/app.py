"""The only place that knows every service: makes a project and gives it its services.

Ports between services are bound here.  Imports of services stand inside the makers, so that a
process which serves one of them does not pay for the others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfbase.database.database import Database, DatabaseSettings
from selfbase.gateway.gateway import Gateway, OneProject
from selfbase.gateway.settings import GatewaySettings
from selfbase.http.values import Handler
from selfbase.identity.secrets import Secrets
from selfbase.kit.clock import SystemClock
from selfbase.kit.events import Events
from selfbase.kit.settings import Layer, load_settings
from selfbase.project import Project, Service

Maker = Callable[[Project], Service]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a project runs: what the supervisor decided for this start.

    `conninfo` names the database without user and password.  `trusted` says that the server trusts
    our private socket, so that no password is sent.
    """

    api_url: str
    data_dir: Path
    conninfo: str
    trusted: bool
    smtp_host: str = "127.0.0.1"
    smtp_port: int | None = None


def make_project(
    secrets: Secrets, layers: Sequence[Layer], place: Place, events: Events
) -> Project:
    """A project with all its services, none of them open yet."""
    database = Database(
        DatabaseSettings(
            conninfo=place.conninfo,
            passwords={} if place.trusted else secrets.database_passwords,
        ),
        events,
    )
    project = Project(
        ref=secrets.ref,
        api_url=place.api_url,
        data_dir=place.data_dir,
        database=database,
        secrets=secrets,
        layers=tuple(layers),
        events=events,
        extras=_bind_ports(place),
    )
    for name, maker in SERVICES.items():
        project.services[name] = maker(project)
    return project


def _bind_ports(place: Place) -> dict[str, Any]:
    """What services are told of each other: where mail is caught."""
    if place.smtp_port is None:
        return {}
    return {"mail_catcher": (place.smtp_host, place.smtp_port)}


def make_gateway(project: Project) -> Gateway:
    """The public port of a process that serves one project."""
    settings = load_settings(GatewaySettings, project.layers, owner="gateway")
    return Gateway(OneProject(project), settings, project.events)


async def open_services(project: Project, between: Callable[[], Awaitable[None]]) -> None:
    """Opens every service.  First those whose schemas users build on, then `between` (the user's
    migrations), then those that read what is there by then."""
    owners = [service for name, service in project.services.items() if name in SCHEMA_OWNERS]
    for service in owners:
        await service.open()
    await between()
    for service in project.services.values():
        if service not in owners:
            await service.open()


async def close_project(project: Project) -> None:
    """Closes what was opened, last first."""
    for service in reversed(project.services.values()):
        await service.close()
    await project.database.close()


def _make_rest(project: Project) -> Service:
    from selfbase.rest.service import make_rest

    return make_rest(project)


def _make_standalone_rest(layers: Sequence[Layer], events: Events, clock: SystemClock) -> Service:
    from selfbase.rest.service import make_standalone_rest

    return make_standalone_rest(layers, events, clock)


def _make_auth(project: Project) -> Service:
    from selfbase.auth.service import make_auth

    return make_auth(project, catcher=project.extras.get("mail_catcher"))


def _make_standalone_auth(layers: Sequence[Layer], events: Events, clock: SystemClock) -> Service:
    from selfbase.auth.service import make_standalone_auth

    return make_standalone_auth(layers, events, clock)


def _make_realtime(project: Project) -> Service:
    from selfbase.realtime.service import make_realtime

    return make_realtime(project)


def _make_standalone_realtime(
    layers: Sequence[Layer], events: Events, clock: SystemClock
) -> Service:
    from selfbase.realtime.service import make_standalone_realtime

    return make_standalone_realtime(layers, events, clock)


# Services that bring tables of their own, which users' migrations refer to.
SCHEMA_OWNERS = frozenset({"auth", "storage", "realtime"})

# The services of a project, in the order in which they open.
SERVICES: Mapping[str, Maker] = {
    "auth": _make_auth,
    "rest": _make_rest,
    "realtime": _make_realtime,
}


@dataclass(frozen=True, slots=True)
class Standalone:
    """One service alone, and the port its upstream listens on."""

    make: Callable[[Sequence[Layer], Events, SystemClock], Service]
    port: int
    port_variable: str


STANDALONE: Mapping[str, Standalone] = {
    "auth": Standalone(_make_standalone_auth, 9999, "PORT"),
    "rest": Standalone(_make_standalone_rest, 3000, "PGRST_SERVER_PORT"),
    "realtime": Standalone(_make_standalone_realtime, 4000, "PORT"),
}


def find_handler(service: Service) -> Handler:
    """A service is itself what a shell serves."""
    return service


def load_settings_classes() -> dict[str, type]:
    """Every settings class by its owner, for `selfbase config`."""
    from selfbase.workspace.settings import StackSettings

    return {"stack": StackSettings, "gateway": GatewaySettings}
