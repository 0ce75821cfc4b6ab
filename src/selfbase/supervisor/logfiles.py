"""Log files: one JSON object a line, rotated by size, and the reader that merges and follows them.

Each process writes a file of its own, so that no process waits for another.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from selfbase.kit.events import Event

FILE_BYTES_MAX = 10 * 1024 * 1024
FILES_MAX = 5


class LogWriter:
    """Writes events to `<folder>/<name>.jsonl`; usable as a reader of `Events`.

    Lines are flushed when `flush` is called (the worker does so a few times a second) and at once
    for warnings and errors.  A full disk is no reason to stop serving: the line is dropped and
    counted.
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

    def __call__(self, event: Event) -> None:
        if event.level == "debug":
            return
        self._append(self._render(event))
        if event.level in ("warning", "error"):
            self.flush()

    def write(self, service: str, name: str, level: str, fields: dict[str, Any]) -> None:
        """A line that no event stands for."""
        named = {"level": level, "service": service, "event": name, "process": self._name}
        line = orjson.dumps(named | fields, default=str, option=orjson.OPT_APPEND_NEWLINE)
        self._append(b'%b",%b' % (self._stamp(), line[1:]))

    def _render(self, event: Event) -> bytes:
        """The line: the moment, what is the same for all events of a type, the event's own fields
        as orjson reads them from it.  There is one for each request, so it is made in few steps."""
        middle = self._middles.get(type(event))
        if middle is None:
            middle = self._middles[type(event)] = self._render_middle(event)
        fields = orjson.dumps(event, default=str, option=orjson.OPT_APPEND_NEWLINE)
        comma = b"" if fields == b"{}\n" else b","
        return b"%b%b%b%b" % (self._stamp(), middle, comma, fields[1:])

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

    def _stamp(self) -> bytes:
        now_s = self._clock()
        second = int(now_s)
        if second != self._second:
            self._second = second
            moment = datetime.fromtimestamp(second, UTC)
            self._second_text = moment.strftime('{"ts":"%Y-%m-%dT%H:%M:%S.').encode()
        return b"%b%03d+00:00" % (self._second_text, int((now_s - second) * 1000))

    def _append(self, line: bytes) -> None:
        try:
            self._append_or_fail(line)
        except OSError:
            self.dropped += 1

    def _append_or_fail(self, line: bytes) -> None:
        if self._file is None:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._file = os.fdopen(descriptor, "ab", buffering=1 << 16)
            self._written = self._path.stat().st_size
        self._file.write(line)
        self._written += len(line)
        if self._written > self._bytes_max:
            self._rotate()

    def _rotate(self) -> None:
        self.close()
        for number in range(self._files_max - 1, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            if older.exists():
                older.replace(self._path.with_name(f"{self._path.name}.{number + 1}"))
        self._path.replace(self._path.with_name(f"{self._path.name}.1"))
        self._path.with_name(f"{self._path.name}.{self._files_max}").unlink(missing_ok=True)

    def flush(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # counted when the next line is written
                self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


def read_logs(folder: Path, service: str | None = None) -> Iterator[dict[str, Any]]:
    """All lines of all files, oldest first; `service` keeps one service's."""
    files = sorted(folder.glob("*.jsonl*"), key=lambda path: (path.name.split(".")[0], path.name))
    streams = [_read_file(path, service) for path in files]
    yield from heapq.merge(*streams, key=lambda line: str(line["ts"]))


def _read_file(path: Path, service: str | None) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            line = parse_line(text)
            if line is not None and (service is None or line.get("service") == service):
                yield line


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
    positions = {path: path.stat().st_size for path in folder.glob("*.jsonl")}
    while True:
        for path in folder.glob("*.jsonl"):
            start = positions.get(path, 0)
            size = path.stat().st_size
            if size < start:
                start = 0  # rotated
            if size > start:
                with path.open("rb") as file:
                    file.seek(start)
                    data = file.read(size - start)
                whole = data[: data.rfind(b"\n") + 1]
                positions[path] = start + len(whole)
                for text in whole.decode("utf-8", "replace").splitlines():
                    line = parse_line(text)
                    if line is not None and (service is None or line.get("service") == service):
                        yield line
        wait()
