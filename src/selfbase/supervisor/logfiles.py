"""Log files: one JSON object a line, rotated by size, and the reader that merges and follows them.

Each process writes a file of its own, so that no process waits for another.  PostgreSQL writes its
own format; it is rotated and read like the others.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from selfbase.kit.events import Event
from selfbase.supervisor.postgres_lines import parse_postgres_lines

POSTGRES_LOG = "postgres.log"
FILE_BYTES_MAX = 10 * 1024 * 1024
FILES_MAX = 5
PENDING_MAX = 1000


class LogWriter:
    """Writes events to `<folder>/<name>.jsonl`; usable as a reader of `Events`.

    Events are kept until `flush` is called (the worker does so a few times a second), there are
    many, or one is a warning or an error: lines are made and written together, because that is
    cheaper.  A full disk is no reason to stop serving: the lines are dropped and counted.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        clock: Callable[[], float] = time.time,
        file_bytes_max: int = FILE_BYTES_MAX,
        files_max: int = FILES_MAX,
    ) -> None:
        self.dropped = 0
        self._path = folder / f"{name}.jsonl"
        self._name = name
        self._clock = clock
        self._bytes_max = file_bytes_max
        self._files_max = files_max
        self._second, self._second_text = -1, b""
        self._middles: dict[type[Event], bytes] = {}
        self._file: BinaryIO | None = None
        self._written = 0
        self._pending: list[tuple[float, Event]] = []

    def __call__(self, event: Event) -> None:
        level = event.level
        if level == "debug":
            return
        self._pending.append((self._clock(), event))
        if level != "info" or len(self._pending) >= PENDING_MAX:
            self.flush()

    def write(self, service: str, name: str, level: str, fields: dict[str, Any]) -> None:
        """A line that no event stands for."""
        named = {"level": level, "service": service, "event": name, "process": self._name}
        line = orjson.dumps(named | fields, default=str, option=orjson.OPT_APPEND_NEWLINE)
        self._write_pending()
        self._append([b'%b",%b' % (self._stamp(self._clock()), line[1:])])

    def _write_pending(self) -> None:
        pending, self._pending = self._pending, []
        lines = []
        for at_s, event in pending:
            try:
                lines.append(self._render(at_s, event))
            except Exception:  # one event that cannot be told does not take the others with it
                self.dropped += 1
        if lines:
            self._append(lines)

    def _render(self, at_s: float, event: Event) -> bytes:
        """The line: the moment, what is the same for all events of a type, the event's own fields
        as JSON.  There is one for each request, so it is made in few steps."""
        middle = self._middles.get(type(event))
        if middle is None:
            middle = self._middles[type(event)] = self._render_middle(event)
        fields = orjson.dumps(event.fields(), default=str, option=orjson.OPT_APPEND_NEWLINE)
        comma = b"" if fields == b"{}\n" else b","
        return b"%b%b%b%b" % (self._stamp(at_s), middle, comma, fields[1:])

    def _render_middle(self, event: Event) -> bytes:
        named = {
            "level": event.level,
            "service": event.service,
            "event": event.name,
            "process": self._name,
        }
        own = event.fields()
        rest = {name: text for name, text in named.items() if name not in own}
        return b'",' + orjson.dumps(rest)[1:-1]

    def _stamp(self, at_s: float) -> bytes:
        second = int(at_s)
        if second != self._second:
            self._second = second
            moment = datetime.fromtimestamp(second, UTC)
            self._second_text = moment.strftime('{"ts":"%Y-%m-%dT%H:%M:%S.').encode()
        return b"%b%03d+00:00" % (self._second_text, int((at_s - second) * 1000))

    def _append(self, lines: list[bytes]) -> None:
        try:
            self._append_or_fail(b"".join(lines))
        except OSError:
            self.dropped += len(lines)

    def _append_or_fail(self, data: bytes) -> None:
        if self._file is None:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._file = os.fdopen(descriptor, "ab", buffering=1 << 16)
            self._written = self._path.stat().st_size
        self._file.write(data)
        self._written += len(data)
        if self._written > self._bytes_max:
            self._rotate()

    def _rotate(self) -> None:
        self._close_file()
        _make_room(self._path, self._files_max)
        self._path.replace(_older(self._path, 1))

    def flush(self) -> None:
        self._write_pending()
        if self._file is not None:
            with contextlib.suppress(OSError):  # counted when the next line is written
                self._file.flush()

    def close(self) -> None:
        self._write_pending()
        self._close_file()

    def _close_file(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


def rotate_foreign(
    path: Path, *, file_bytes_max: int = FILE_BYTES_MAX, files_max: int = FILES_MAX
) -> bool:
    """Rotates the file of a process that keeps it open, and appends: it is copied and emptied.
    Whether it was time.  What is written in the instant between the two is lost."""
    try:
        if path.stat().st_size <= file_bytes_max:
            return False
        _make_room(path, files_max)
        shutil.copy2(path, _older(path, 1))
        os.truncate(path, 0)
    except OSError:  # not there, or no room for a copy: serving goes on
        return False
    return True


def _make_room(path: Path, files_max: int) -> None:
    """Moves the older files on by one, so that `.1` is free; the oldest goes."""
    _older(path, files_max - 1).unlink(missing_ok=True)
    for number in range(files_max - 2, 0, -1):
        older = _older(path, number)
        if older.exists():
            older.replace(_older(path, number + 1))


def _older(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _age(path: Path) -> int:
    last = path.name.rpartition(".")[2]
    return int(last) if last.isdigit() else 0


def read_logs(folder: Path, service: str | None = None) -> Iterator[dict[str, Any]]:
    """All lines of all files, oldest first; `service` keeps one service's."""
    files = [*folder.glob("*.jsonl*"), *folder.glob(f"{POSTGRES_LOG}*")]
    # Of lines of one moment, those of the older file come first.
    streams = [_read_file(path, service) for path in sorted(files, key=_age, reverse=True)]
    yield from heapq.merge(*streams, key=lambda line: str(line["ts"]))


def _read_file(path: Path, service: str | None) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", errors="replace") as file:
        yield from _parse_lines(path, file, service)


def _parse_lines(path: Path, texts: Iterable[str], service: str | None) -> Iterator[dict[str, Any]]:
    if path.name.startswith(POSTGRES_LOG):
        lines = parse_postgres_lines(texts)
    else:
        lines = (line for text in texts if (line := parse_line(text)) is not None)
    return (line for line in lines if service is None or line.get("service") == service)


def parse_line(text: str) -> dict[str, Any] | None:
    """One log line, or None for a torn one."""
    try:
        line = orjson.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) and "ts" in line else None


def follow_logs(
    folder: Path, service: str | None, wait: Callable[[], None]
) -> Iterator[dict[str, Any]]:
    """Lines written from now on; `wait` passes the time between two looks."""
    places = {path: _Place(path.stat().st_ino, path.stat().st_size) for path in _list_live(folder)}
    while True:
        for path in _list_live(folder):
            with contextlib.suppress(FileNotFoundError):  # just being rotated: the next look has it
                place = places.setdefault(path, _Place(path.stat().st_ino, 0))
                for text in place.read_on(path):
                    yield from _parse_lines(path, text, service)
        wait()


def _list_live(folder: Path) -> list[Path]:
    return [*sorted(folder.glob("*.jsonl")), *folder.glob(POSTGRES_LOG)]


@dataclass(slots=True)
class _Place:
    """How far one file has been read."""

    inode: int
    position: int

    def read_on(self, path: Path) -> Iterator[list[str]]:
        """What was written since, in whole lines; across a rotation, first the rest of the old."""
        status = path.stat()
        if status.st_ino != self.inode or status.st_size < self.position:
            if (before := _older(path, 1)).exists():
                yield self._read_from(before)
            self.inode, self.position = status.st_ino, 0
        if status.st_size > self.position:
            yield self._read_from(path)

    def _read_from(self, path: Path) -> list[str]:
        with path.open("rb") as file:
            file.seek(self.position)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self.position += len(whole)
        return whole.decode("utf-8", "replace").splitlines()
