"""What happened in the metadata API.  SQL is told by a keyed digest only: its text may hold secrets,
and a digest anybody can make would let them be guessed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from selfbase.kit.events import Event


@dataclass(frozen=True, slots=True)
class SqlRun(Event):
    """A request ran SQL.  `outcome` is `ok`, an SQLSTATE, or the code of our own failure."""

    name: ClassVar[str] = "meta.sql.run"
    service: ClassVar[str] = "meta"
    operation: str
    sql_digest: str
    login: str
    read_only: bool
    outcome: str
    duration_ms: float
    request_id: str


@dataclass(frozen=True, slots=True)
class RequestRefused(Event):
    """Somebody without the right came to the metadata API."""

    name: ClassVar[str] = "meta.request.refused"
    level: ClassVar = "warning"
    service: ClassVar[str] = "meta"
    operation: str
    reason: str
    client: str
    request_id: str


@dataclass(frozen=True, slots=True)
class UnexpectedFailure(Event):
    """A request failed in a way nobody foresaw; `where` is a place in our source."""

    name: ClassVar[str] = "meta.request.failed"
    level: ClassVar = "error"
    service: ClassVar[str] = "meta"
    operation: str
    error: str
    where: str
    request_id: str
