"""PostgreSQL's own log as lines of ours: the same keys, one mapping for each message.  Pure.

Source: `log_line_prefix` of `database.cluster_settings`; PostgreSQL, "Error Reporting and Logging".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

_LINE = re.compile(
    r"^(?P<day>\d{4}-\d\d-\d\d) (?P<clock>\d\d:\d\d:\d\d\.\d{3}) \S+ \[(?P<pid>\d+)\] "
    r"(?:(?P<user>\S*)@(?P<database>\S*) )?(?P<severity>[A-Z]+\d?):  (?P<message>.*)$"
)
_LEVELS = {"WARNING": "warning", "ERROR": "error", "FATAL": "error", "PANIC": "error"}


def parse_postgres_lines(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Messages in order.  Lines that begin with a tab go on with the message before them; what the
    server did not write itself (a library, the loader) has no moment and is passed over."""
    message: dict[str, Any] | None = None
    for text in lines:
        text = text.rstrip("\n")
        if text.startswith("\t"):
            if message is not None:
                message["message"] += text.replace("\t", "\n", 1)
            continue
        if message is not None:
            yield message
        message = _parse_line(text)
    if message is not None:
        yield message


def _parse_line(text: str) -> dict[str, Any] | None:
    match = _LINE.match(text)
    if match is None:
        return None
    severity = match["severity"]
    line: dict[str, Any] = {
        "ts": f"{match['day']}T{match['clock']}+00:00",  # the server's log zone is UTC
        "level": _LEVELS.get(severity, "info"),
        "service": "postgres",
        "event": f"postgres.{severity.lower()}",
        "process": "postgres",
        "pid": int(match["pid"]),
    }
    if match["user"]:
        line |= {"user": match["user"], "database": match["database"]}
    return line | {"message": match["message"]}
