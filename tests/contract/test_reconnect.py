"""supabase-js through the death of a worker and of PostgreSQL: it comes back by itself and hears on."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.installation import Installation, wait_until
from tests.support.node import JS, find_node

SCHEMA = (
    "create table heard (n int primary key); alter publication supabase_realtime add table heard;"
)


class Listener:
    """The script's lines as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                self._lines.put(json.loads(line))

    def wait_for(self, wanted: dict[str, Any]) -> None:
        """Reads on until a line is `wanted`; a minute at the most."""
        while self._lines.get(timeout=60) != wanted:
            pass


@pytest.fixture
def listening(installation: Installation) -> Iterator[tuple[Installation, Listener]]:
    node = find_node()
    migrations = installation.folder / "supabase" / "migrations"
    migrations.mkdir(parents=True)
    (migrations / "1_heard.sql").write_text(SCHEMA)
    installation.start()
    with subprocess.Popen(
        [node, str(JS / "reconnect.mjs")],
        cwd=JS,
        env={**installation.status(), "PATH": str(Path(node).parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        yield installation, Listener(process)
        process.kill()


def insert(installation: Installation, number: int) -> None:
    """Inserts once the service answers again; a repeated insert is not an error."""
    values = installation.status()

    def inserted() -> bool:
        try:
            answer = httpx.post(
                f"{values['API_URL']}/rest/v1/heard",
                headers={"apikey": values["SECRET_KEY"]},
                json={"n": number},
            )
        except httpx.HTTPError:
            return False
        return answer.status_code in (201, 409)

    wait_until(inserted, f"row {number}")


def test_a_client_hears_on_after_a_worker_died(listening: tuple[Installation, Listener]) -> None:
    installation, listener = listening
    listener.wait_for({"on": True})
    insert(installation, 1)
    listener.wait_for({"heard": 1})
    os.kill(installation.state()["workers"][0], signal.SIGKILL)
    listener.wait_for({"on": True})
    insert(installation, 2)
    listener.wait_for({"heard": 2})


def test_a_client_hears_on_after_postgres_died(listening: tuple[Installation, Listener]) -> None:
    installation, listener = listening
    listener.wait_for({"on": True})
    postgres = installation.state()["postgres_pid"]
    os.kill(postgres, signal.SIGKILL)
    wait_until(lambda: installation.state()["postgres_pid"] not in (postgres, None), "a server")
    insert(installation, 1)
    listener.wait_for({"heard": 1})
    insert(installation, 2)
    listener.wait_for({"heard": 2})
