"""What the running supervisor says of itself, for the other commands: a small JSON file, and a lock.

The lock is held as long as the supervisor lives and vanishes with it, so a state file without a
holder of the lock is a leftover.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from selfbase.kit.failures import Failure
from selfbase.workspace.layout import Layout

# Whoever only looks whether the lock is held has it for an instant itself.
LOOKED_AT_S = 1.0
RETRY_S = 0.01


@dataclass(frozen=True, kw_only=True)
class State:
    """Addresses and process ids.  `overrides` are the settings of the command line but for the
    database's URL, which may hold a password."""

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
    overrides: dict[str, Any] = field(default_factory=dict)
    workers: list[int] = field(default_factory=list)
    postgres_pid: int | None = None
    status: str = "starting"
    problem: str | None = None


def write_state(layout: Layout, state: State) -> None:
    """Raises Failure where it cannot be written, as on a full disk."""
    beside = layout.state_path.with_suffix(".new")
    try:
        beside.write_text(json.dumps(asdict(state), indent=1))
        beside.replace(layout.state_path)
    except OSError as error:
        raise Failure(f"{layout.state_path} cannot be written: {error.strerror}") from error


def find_state(layout: Layout) -> State | None:
    """The state of the supervisor that runs now, or None."""
    holder = find_holder(layout)
    state = find_leftover(layout) if holder is not None else None
    # One that has only begun to start finds the file of an earlier one, and replaces it.
    return state if state is not None and state.pid == holder else None


def find_leftover(layout: Layout) -> State | None:
    """What the state file says, whether or not its writer still lives; None when there is none."""
    try:
        return State(**json.loads(layout.state_path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def take_lock(layout: Layout) -> IO[str] | None:
    """The lock, held until the file is closed, or None when another supervisor holds it."""
    file = _try_lock(layout.lock_path, fcntl.LOCK_EX, LOOKED_AT_S)
    if file is not None:
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
    return file


def find_holder(layout: Layout) -> int | None:
    """The process id of the living supervisor, or None."""
    if not layout.lock_path.exists():
        return None
    held = _try_lock(layout.lock_path, fcntl.LOCK_SH, 0)
    if held is not None:
        held.close()
        return None
    written = layout.lock_path.read_text().strip()
    return int(written) if written.isdigit() else None


@contextlib.contextmanager
def known_as_worker(layout: Layout) -> Iterator[IO[str]]:
    """Holds what `wait_for_workers` waits for, as long as this process lives or the block lasts."""
    with layout.workers_lock_path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield file


def is_last_worker(mine: IO[str]) -> bool:
    """Whether no other worker lives; `mine` is what this one is known by."""
    try:
        fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_for_workers(layout: Layout, timeout_s: float) -> bool:
    """Waits for the end of workers that a killed supervisor left; False when they take too long."""
    if not layout.workers_lock_path.exists():
        return True
    held = _try_lock(layout.workers_lock_path, fcntl.LOCK_EX, timeout_s)
    if held is None:
        return False
    held.close()
    return True


def _try_lock(path: Path, kind: int, timeout_s: float) -> IO[str] | None:
    file = path.open("a+")
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                file.close()
                return None
            time.sleep(RETRY_S)
        except BaseException:
            file.close()
            raise
        else:
            return file
