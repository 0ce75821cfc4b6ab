"""The project: a value that holds everything a service needs to know about one project.

The gateway finds it by host name and hands requests to its services; services are made with it and
keep their state for it.  There is no other place where a project's state lives, so that one process
can serve many.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from selfbase.database.database import Database
from selfbase.http.values import Request, Response, WebSocket
from selfbase.identity.apikeys import KeyRing
from selfbase.identity.secrets import Secrets
from selfbase.identity.tokens import TokenVerifier
from selfbase.kit.clock import Clock, SystemClock
from selfbase.kit.events import Events
from selfbase.kit.settings import Layer


class Health(Enum):
    """The state of a service, as `GET /health` tells it."""

    STARTING = "STARTING"
    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"
    STOPPED = "STOPPED"


class Service(Protocol):
    """One service of one project.  `open` must not need the database to be up at that moment."""

    name: str

    async def open(self) -> None: ...

    async def close(self) -> None:
        """Ends what runs and waits for it."""

    async def answer(self, request: Request) -> Response:
        """One request, its path relative to the service's prefix.  Never raises for bad input:
        a service renders its own failures in the shape its clients know."""

    async def connect(self, socket: WebSocket) -> None:
        """One WebSocket, from its upgrade to its end.  A service without any rejects it."""

    async def health(self) -> Health: ...


class QuickService(Service, Protocol):
    """A service that can answer some requests without a task of their own."""

    def answer_quickly(
        self, request: Request, done: Callable[[Response | Exception], None]
    ) -> bool:
        """Takes a request it can answer from what it knows and one quick statement, and hands over
        the response, whose body is bytes, when its rows have come; or returns False at once, having
        done nothing.  An exception handed over is a bug of the service."""


@dataclass(kw_only=True)
class Project:
    """One project.

    `ref` is its public name.  `layers` are the sources of its settings, strongest first; each
    service loads its own settings class from them.  `data_dir` is where the project keeps files.
    `api_url` is the public address of the gateway without a trailing slash.
    """

    ref: str
    api_url: str
    data_dir: Path
    database: Database
    secrets: Secrets
    layers: tuple[Layer, ...] = ()
    events: Events = field(default_factory=Events)
    clock: Clock = field(default_factory=SystemClock)
    services: dict[str, Service] = field(default_factory=dict)
    extras: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tokens = TokenVerifier(self.secrets.keys())
        self.keys: KeyRing = self.secrets.key_ring(self.tokens)
