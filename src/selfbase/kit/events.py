"""What happened is a type; the log line and the metric are readers of it.

A service declares its events as frozen dataclasses derived from `Event` and hands them to the
project's `Events`.  Readers subscribe once, at start.  No field may hold a password, token, key,
one-time code, or the body of a request.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Literal, cast

Level = Literal["debug", "info", "warning", "error"]


class Event:
    """Base of all events.  `name` is stable, dotted and never reused: `rest.schema.loaded`."""

    __slots__ = ()

    name: ClassVar[str] = "event"
    level: ClassVar[Level] = "info"
    service: ClassVar[str] = "selfbase"

    def fields(self) -> dict[str, Any]:
        """The event's own fields, as they appear in the log line."""
        return {name: getattr(self, name) for name in _field_names(cast("Any", type(self)))}


@cache
def _field_names(cls: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(cls))


Reader = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class ReaderFailed(Event):
    """A reader of events raised; the event itself was handed to all other readers."""

    name: ClassVar[str] = "events.reader.failed"
    level: ClassVar[Level] = "error"
    event: str
    error: str


class Events:
    """Hands each event to every reader.  Emitting never raises and never waits."""

    def __init__(self, *readers: Reader) -> None:
        self._readers = list(readers)

    def subscribe(self, reader: Reader) -> None:
        self._readers.append(reader)

    def emit(self, event: Event) -> None:
        for reader in self._readers:
            try:
                reader(event)
            except Exception as error:
                # A broken reader must not break the request that caused the event, and cannot be
                # reported through itself: standard error is the last place that always exists.
                failed = ReaderFailed(event=event.name, error=type(error).__name__)
                sys.stderr.write(f"{failed.name} {failed.event}: {failed.error}\n")
