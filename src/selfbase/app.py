"""The only place that knows every service: makes a project and gives it its services.

Ports between services are bound here.  Services are imported when they are made, so that a process
which serves one of them does not pay for the others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfbase.database.database import Database, DatabaseSettings
from selfbase.database.executor import ExecutorSettings
from selfbase.gateway.gateway import Gateway, OneProject
from selfbase.gateway.settings import GatewaySettings
from selfbase.http.server import LOCALHOST, Address
from selfbase.http.values import Handler
from selfbase.identity.secrets import Secrets
from selfbase.kit.clock import SystemClock
from selfbase.kit.events import Events
from selfbase.kit.settings import Layer, ValuesLayer, load_settings
from selfbase.project import Project, Service
from selfbase.workspace.settings import StackSettings

if TYPE_CHECKING:
    from selfbase.images.service import Images
    from selfbase.storage.ports import (
        ImageSource,
        ImageTransformer,
        Transformation,
        TransformedImage,
    )

# How many connections all our processes may hold, by the size of the cluster; the rest is for
# users, replication and maintenance.
CONNECTIONS: Mapping[str, int] = {"small": 22, "medium": 80, "large": 160}

# How soon a worker notices that another one has exchanged signing keys.
FOLLOW_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a project runs: what the supervisor decided for this start.

    `conninfo` names the database without user and password; `passwords` are by role, and none is
    sent for a role without one.  `run_dir` holds sockets of this machine's
    workers.
    """

    api_url: str
    data_dir: Path
    run_dir: Path
    conninfo: str
    passwords: Mapping[str, str] = field(repr=False)
    smtp_host: str = "127.0.0.1"
    smtp_port: int | None = None


def make_project(
    secrets: Secrets, layers: Sequence[Layer], place: Place, events: Events
) -> Project:
    """A project with all its services, none of them open yet."""
    stack = load_settings(StackSettings, layers, owner="stack")
    share = CONNECTIONS[stack.db_size] // stack.workers
    database = Database(
        DatabaseSettings(
            conninfo=place.conninfo,
            passwords=place.passwords,
            executor=ExecutorSettings(links_max=max(2, min(10, share // 3))),
            pool_max=max(2, min(10, share // 5)),
        ),
        events,
    )
    project = Project(
        ref=secrets.ref,
        api_url=place.api_url,
        data_dir=place.data_dir,
        database=database,
        secrets=secrets,
        layers=(*layers, ValuesLayer(_plan_defaults(stack, place), "default")),
        events=events,
    )

    async def read_object(bucket: str, path: str, bytes_max: int) -> bytes:
        storage: Any = project.services["storage"]
        content: bytes = await storage.read_object(bucket, path, bytes_max)
        return content

    images: Images = _find("images", "make_images")(project, read_object=read_object)
    catcher = None if place.smtp_port is None else (place.smtp_host, place.smtp_port)
    shared: dict[str, Any] = {}
    if stack.workers > 1:
        shared["buckets"] = _find("auth", "PostgresBuckets", "limits")(database)
        shared["follow_s"] = FOLLOW_S
    auth = _find("auth", "make_auth")(project, catcher=catcher, **shared)
    # Whatever Auth signs with, everyone else verifies.
    project.tokens.replace(auth.core.tokens.verifier.keys)
    # In the order in which they open.
    project.services = {
        "auth": auth,
        "storage": _find("storage", "make_storage")(project, images=bind_images(images)),
        "realtime": _find("realtime", "make_realtime")(project),
        "images": images,
        "rest": _find("rest", "make_rest")(project),
        "meta": _find("meta", "make_meta")(project),
    }
    return project


def _plan_defaults(stack: StackSettings, place: Place) -> dict[str, Any]:
    """What services take where nobody says otherwise: the defaults of the official CLI's
    `config.toml`, which differ from Auth's own, and how several workers meet."""
    defaults: dict[str, Any] = {
        "auth.mailer_autoconfirm": True,
        "auth.smtp_max_frequency": 1.0,
        "auth.site_url": "http://127.0.0.1:3000",
    }
    if stack.workers > 1:
        defaults["realtime.bus"] = f"unix:{place.run_dir / 'realtime.sock'}"
    return defaults


def load_services() -> None:
    """Loads the code of all services of a project: for a process that has time before its turn."""
    for name in ("auth", "storage", "realtime", "images", "rest", "meta"):
        import_module(f"selfbase.{name}.service")


def _find(service: str, name: str, module: str = "service") -> Any:
    return getattr(import_module(f"selfbase.{service}.{module}"), name)


def bind_images(images: Images) -> ImageTransformer:
    """Images as Storage wants to see them."""
    from selfbase.images.errors import ImageFailure
    from selfbase.storage.ports import ImageFailed, TransformedImage

    class Transformer:
        async def transform(
            self, source: ImageSource, wanted: Transformation, accept: str
        ) -> TransformedImage:
            try:
                made = await images.transform(source, wanted, accept)
            except ImageFailure as failure:
                raise ImageFailed(failure.message, failure.status) from failure
            return TransformedImage(made.body, made.mime_type, made.etag, made.varies)

    return Transformer()


def make_gateway(project: Project) -> Gateway:
    """The public port of a process that serves one project."""
    settings = load_settings(GatewaySettings, project.layers, owner="gateway")
    return Gateway(OneProject(project), settings, project.events)


# Services that bring tables of their own, which users' migrations refer to.
SCHEMA_OWNERS = frozenset({"auth", "storage", "realtime"})


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


async def collect_orphans(project: Project, *, dry_run: bool) -> dict[str, Any]:
    """Removes, or only counts, the blobs no object names: for `selfbase storage gc`."""
    storage: Any = project.services["storage"]
    return asdict(await storage.collector.collect_orphans(dry_run=dry_run))


@dataclass(frozen=True, slots=True)
class Standalone:
    """One service alone: the port its upstream listens on, and the variables that name port and
    host there, strongest first; none for a service whose own settings hold them."""

    name: str
    port: int
    port_variables: tuple[str, ...] = ()
    host_variables: tuple[str, ...] = ()

    def make(self, layers: Sequence[Layer], events: Events, clock: SystemClock) -> Service:
        """The service, set by its upstream's environment names alone."""
        made: Service
        maker = _find(self.name, f"make_standalone_{self.name}")
        if self.name != "storage":
            made = maker(layers, events, clock)
            return made
        # Where upstream's Storage asks an imgproxy, ours transforms by itself.
        images: Images = _find("images", "make_standalone_images")(layers, events, clock)
        made = maker(layers, events, clock, images=bind_images(images))
        return _Beside(made, images)


class _Beside:
    """A service served with another one that it needs: opened after it, closed before it."""

    def __init__(self, service: Service, needed: Service) -> None:
        self.name = service.name
        self.answer = service.answer
        self.connect = service.connect
        self.health = service.health
        self._service = service
        self._needed = needed

    async def open(self) -> None:
        await self._needed.open()
        await self._service.open()

    async def close(self) -> None:
        await self._service.close()
        await self._needed.close()


STANDALONE: Mapping[str, Standalone] = {
    kind.name: kind
    for kind in (
        Standalone("rest", 3000),
        Standalone("auth", 9999, ("GOTRUE_API_PORT", "PORT"), ("GOTRUE_API_HOST",)),
        Standalone("storage", 5000, ("SERVER_PORT", "PORT"), ("SERVER_HOST", "HOST")),
        Standalone("realtime", 4000, ("PORT",)),
        Standalone("meta", 8080, ("PG_META_PORT",), ("PG_META_HOST",)),
        Standalone("images", 5001, ("PORT",)),
    )
}


def list_addresses(service: Service, host: str, port: int | None) -> list[tuple[Handler, Address]]:
    """What a service alone serves, and where: `host` and `port` are the command's, and win over the
    service's own settings unless they are empty.  Raises ConfigurationError."""
    kind = STANDALONE[service.name]
    if service.name == "rest":
        addresses: list[tuple[Handler, Address]]
        addresses = _find("rest", "list_addresses", "admin")(service, host, port)
        return addresses
    return [(service, Address(host or LOCALHOST, port or kind.port))]


def find_reload(service: Service) -> Callable[[], None] | None:
    """What reads the settings of a service alone again, when it can."""
    return getattr(service, "want_reload", None)


# Where the settings of each part are declared.
_SETTINGS: Mapping[str, str] = {
    "stack": "workspace.settings:StackSettings",
    "gateway": "gateway.settings:GatewaySettings",
    "rest": "rest.settings:RestSettings",
    "auth": "auth.settings:AuthSettings",
    "storage": "storage.settings:StorageSettings",
    "realtime": "realtime.settings:RealtimeSettings",
    "images": "images.settings:ImagesSettings",
    "meta": "meta.settings:MetaSettings",
}


def load_settings_classes() -> dict[str, type]:
    """Every settings class by its owner, for `selfbase config`."""
    classes: dict[str, type] = {}
    for owner, place in _SETTINGS.items():
        module, _, name = place.partition(":")
        classes[owner] = getattr(import_module(f"selfbase.{module}"), name)
    return classes
