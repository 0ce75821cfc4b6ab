"""Log lines: what an event becomes, and what happens when it cannot be written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from selfbase.kit.events import Event
from selfbase.supervisor.logfiles import LogWriter, read_logs


@dataclass(frozen=True, slots=True)
class Made(Event):
    name: ClassVar[str] = "thing.made"
    service: ClassVar[str] = "things"
    size: int
    note: str
    where: Path


@dataclass(frozen=True, slots=True)
class Bare(Event):
    name: ClassVar[str] = "thing.bare"


@dataclass(frozen=True, slots=True)
class Renamed(Event):
    """Has a field of the same name as one every line has."""

    name: ClassVar[str] = "thing.renamed"
    service: ClassVar[str] = "things"
    process: str


def test_event_becomes_one_line_with_its_own_fields(tmp_path: Path) -> None:
    log = LogWriter(tmp_path, "worker-0", clock=lambda: 1_700_000_000.25)
    log(Made(size=3, note='a "quoted"\nnote', where=Path("/x")))
    log(Bare())
    log(Renamed(process="own"))
    log.write("supervisor", "stack.ready", "info", {"pid": 7})
    log.close()
    common = {"ts": "2023-11-14T22:13:20.250+00:00", "level": "info"}
    made, bare, renamed, written = read_logs(tmp_path)
    assert made == common | {
        "service": "things",
        "event": "thing.made",
        "process": "worker-0",
        "size": 3,
        "note": 'a "quoted"\nnote',
        "where": "/x",
    }
    assert bare == common | {"service": "selfbase", "event": "thing.bare", "process": "worker-0"}
    assert renamed["process"] == "own"
    assert written["event"] == "stack.ready"
    assert written["pid"] == 7


def test_line_that_cannot_be_written_is_counted(tmp_path: Path) -> None:
    log = LogWriter(tmp_path / "missing", "worker-0")
    log(Bare())
    assert log.dropped == 1
