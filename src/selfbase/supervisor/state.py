"""What the running supervisor says of itself, for the other commands: a small JSON file, and a lock.

The lock is held as long as the supervisor lives and vanishes with it, so a state file without a
holder of the lock is a leftover.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from selfbase.workspace.layout import Layout


@dataclass(frozen=True, kw_only=True)
class State:
    """Addresses and process ids.  `db_url` has no password in it."""

    pid: int
    started_at: str
    ref: str
    api_url: str
    host: str
    api_port: int
    db_port: int | None
    mail_port: int | None
    admin_port: int
    external_database: bool
    workspace: str
    workers: list[int] = field(default_factory=list)
    postgres_pid: int | None = None
    status: str = "starting"
    problem: str | None = None


def write_state(layout: Layout, state: State) -> None:
    beside = layout.state_path.with_suffix(".new")
    beside.write_text(json.dumps(asdict(state), indent=1))
    beside.replace(layout.state_path)


def find_state(layout: Layout) -> State | None:
    """The state of the supervisor that runs now, or None."""
    if not is_locked(layout):
        return None
    try:
        return State(**json.loads(layout.state_path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def find_leftover(layout: Layout) -> State | None:
    """The last state of a supervisor that is gone, or None."""
    try:
        return State(**json.loads(layout.state_path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def take_lock(layout: Layout) -> IO[str] | None:
    """The lock, held until the file is closed, or None when another process holds it."""
    file = layout.lock_path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    os.set_inheritable(file.fileno(), False)
    return file


def is_locked(layout: Layout) -> bool:
    if not Path(layout.lock_path).exists():
        return False
    held = take_lock(layout)
    if held is None:
        return True
    held.close()
    return False
