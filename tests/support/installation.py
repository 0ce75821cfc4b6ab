"""A whole installation for tests: the real command line, real processes, a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

SRC = Path(__file__).parents[2] / "src"
WAIT_S = 60.0


@dataclass
class Installation:
    """`selfbase` in `folder`, with ports of its own."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def state_dir(self) -> Path:
        return self.folder / ".selfbase"

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "selfbase", *arguments]

    def variables(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SELFBASE_", "PGRST_"))}
        return {**kept, "PYTHONPATH": str(SRC), **self.environment}

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.variables(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"{arguments} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done

    def start(self, *arguments: str) -> None:
        self.run("start", "--port", "auto", "--detach", *arguments)

    def stop(self) -> None:
        self.run("stop")

    def state(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.state_dir / "run" / "state.json").read_text())
        return loaded

    def status(self) -> dict[str, str]:
        loaded: dict[str, str] = json.loads(self.run("status", "-o", "json").stdout)
        return loaded

    def client(self, key: str = "SERVICE_ROLE_KEY") -> httpx.Client:
        values = self.status()
        return httpx.Client(base_url=values["API_URL"], headers={"apikey": values[key]}, timeout=30)

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.status()["DB_URL"], autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def processes(self) -> list[int]:
        """Every process that belongs to this installation."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and is_alive(int(entry.name)):
                try:
                    cwd = os.readlink(entry / "cwd")
                    line = (entry / "cmdline").read_bytes().decode().replace("\0", " ")
                except OSError:
                    continue
                if str(self.folder) in line or cwd.startswith(str(self.folder)):
                    found.append(int(entry.name))
        return found

    def remove(self) -> None:
        if self.state_dir.exists():
            self.run("stop", "--purge", "--yes")
        shutil.rmtree(self.folder, ignore_errors=True)


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Waits for a condition, with a deadline that says what was waited for."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for: {what}")
        time.sleep(0.02)


@pytest.fixture
def installation() -> Iterator[Installation]:
    """A folder for one installation; all of it is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="selfbase-run-", dir="/tmp"))
    folder.chmod(0o755)
    made = Installation(folder)
    yield made
    made.remove()
