"""Log lines: what an event becomes, and what happens when it cannot be written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from selfbase.kit.events import Event
from selfbase.supervisor.logfiles import LogWriter, follow_logs, read_logs, rotate_foreign


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


def test_an_event_that_cannot_be_told_spoils_no_other(tmp_path: Path) -> None:
    log = LogWriter(tmp_path, "worker-0")
    log(Bare())
    log(Renamed(process="\ud800"))
    log(Bare())
    log.close()
    assert [line["event"] for line in read_logs(tmp_path)] == ["thing.bare", "thing.bare"]
    assert log.dropped == 1


def test_many_lines_do_not_wait_to_be_flushed(tmp_path: Path) -> None:
    log = LogWriter(tmp_path, "worker-0", file_bytes_max=1000)
    for _ in range(1000):
        log(Bare())
    assert len(list(read_logs(tmp_path))) == 1000


def test_line_that_cannot_be_written_is_counted(tmp_path: Path) -> None:
    log = LogWriter(tmp_path / "missing", "worker-0")
    log(Bare())
    log(Bare())
    log.flush()
    assert log.dropped == 2


def test_files_are_rotated_by_size_and_the_oldest_go(tmp_path: Path) -> None:
    log = LogWriter(tmp_path, "worker-0", file_bytes_max=300, files_max=3)
    for number in range(40):
        log.write("things", "thing.counted", "info", {"number": number})
    log.close()
    assert len(list(tmp_path.iterdir())) == 3
    assert all(file.stat().st_size < 600 for file in tmp_path.iterdir())
    kept = [line["number"] for line in read_logs(tmp_path)]
    assert kept == list(range(40 - len(kept), 40))
    assert len(kept) >= 4


POSTGRES = """\
2026-11-28 08:31:40.710 UTC [7] LOG:  starting PostgreSQL 18.1
/usr/bin/postgres: a line of the loader
2026-11-28 08:31:41.000 UTC [9] anon@postgres ERROR:  relation "x" does not exist at character 15
2026-11-28 08:31:41.000 UTC [9] anon@postgres STATEMENT:  select *
\tfrom x
"""


def test_the_log_of_postgres_is_read_like_the_others(tmp_path: Path) -> None:
    (tmp_path / "postgres.log").write_text(POSTGRES)
    log = LogWriter(tmp_path, "worker-0", clock=lambda: 1_795_854_700.9)  # between the two seconds
    log(Bare())
    log.close()
    started, bare, error, statement = read_logs(tmp_path)
    assert started["event"] == "postgres.log"
    assert bare["event"] == "thing.bare"
    assert error == {
        "ts": "2026-11-28T08:31:41.000+00:00",
        "level": "error",
        "service": "postgres",
        "event": "postgres.error",
        "process": "postgres",
        "pid": 9,
        "user": "anon",
        "database": "postgres",
        "message": 'relation "x" does not exist at character 15',
    }
    assert statement["message"] == "select *\nfrom x"
    assert len(list(read_logs(tmp_path, "postgres"))) == 3


def test_the_log_of_a_process_that_keeps_it_open_is_rotated(tmp_path: Path) -> None:
    path = tmp_path / "postgres.log"
    with path.open("a") as held:
        for round_ in ("a", "b", "c"):
            held.write(round_ * 100)
            held.flush()
            assert not rotate_foreign(path, file_bytes_max=100, files_max=3)
            held.write("\n")
            held.flush()
            assert rotate_foreign(path, file_bytes_max=100, files_max=3)
        held.write("now\n")
    texts = {file.name: file.read_text()[:3] for file in tmp_path.iterdir()}
    assert texts == {"postgres.log": "now", "postgres.log.1": "ccc", "postgres.log.2": "bbb"}


def test_following_misses_nothing_across_a_rotation(tmp_path: Path) -> None:
    log = LogWriter(tmp_path, "worker-0", file_bytes_max=1000)
    log.write("things", "before", "info", {})
    log.flush()
    seen: list[str] = []
    written = iter(range(30))

    def write_more() -> None:
        for _ in range(3):
            log.write("things", str(next(written)), "info", {})
        log.flush()

    for line in follow_logs(tmp_path, None, write_more):
        seen.append(line["event"])
        if len(seen) == 30:
            break
    log.close()
    assert seen == [str(number) for number in range(30)]
    assert len(list(tmp_path.iterdir())) > 2
