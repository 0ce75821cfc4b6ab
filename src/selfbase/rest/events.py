"""What happens in the REST service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from selfbase.kit.events import Event


@dataclass(frozen=True, slots=True)
class SchemaLoaded(Event):
    """The schema cache was read."""

    name: ClassVar[str] = "rest.schema.loaded"
    service: ClassVar[str] = "rest"
    relations: int
    relationships: int
    functions: int
    took_ms: float


@dataclass(frozen=True, slots=True)
class SchemaLoadFailed(Event):
    """The schema cache could not be read; the one before it stays in force."""

    name: ClassVar[str] = "rest.schema.load_failed"
    level: ClassVar = "error"
    service: ClassVar[str] = "rest"
    code: str
    error: str


@dataclass(frozen=True, slots=True)
class ListenerLost(Event):
    """Notices of changes do not arrive for now."""

    name: ClassVar[str] = "rest.listener.lost"
    level: ClassVar = "warning"
    service: ClassVar[str] = "rest"
    error: str
    retry_s: float


@dataclass(frozen=True, slots=True)
class ConfigRejected(Event):
    """Settings in the database make no sense; the ones before them stay in force."""

    name: ClassVar[str] = "rest.config.rejected"
    level: ClassVar = "error"
    service: ClassVar[str] = "rest"
    error: str


@dataclass(frozen=True, slots=True)
class RequestAnswered(Event):
    """A request to the service alone was answered; which ones are told, `log-level` decides."""

    name: ClassVar[str] = "rest.request.answered"
    service: ClassVar[str] = "rest"
    client: str
    method: str
    path: str
    status: int


@dataclass(frozen=True, slots=True)
class StatementRun(Event):
    """The main statement of a request, told when `log-query` is on.  Values are not in it."""

    name: ClassVar[str] = "rest.statement.run"
    service: ClassVar[str] = "rest"
    sql: str


@dataclass(frozen=True, slots=True)
class RequestFailed(Event):
    """A request ended in a failure of ours or of the database, not of the client."""

    name: ClassVar[str] = "rest.request.failed"
    level: ClassVar = "error"
    service: ClassVar[str] = "rest"
    method: str
    path: str
    code: str
    error: str
