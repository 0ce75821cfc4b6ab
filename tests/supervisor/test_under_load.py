"""Killing each process while clients write: what was acknowledged is there, and service returns."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from tests.support.installation import Installation, wait_until

ENOUGH = 60


class Writer(threading.Thread):
    """Inserts numbers one after another and remembers those the server acknowledged."""

    def __init__(self, url: str, key: str, start: int) -> None:
        super().__init__(daemon=True)
        self.acknowledged: list[int] = []
        self.wrong: list[str] = []
        self._url, self._key, self._next = url, key, start
        self._stop_asked = threading.Event()

    def run(self) -> None:
        client = httpx.Client(headers={"apikey": self._key}, timeout=20)
        while not self._stop_asked.is_set():
            self._next += 1
            try:
                answer = client.post(f"{self._url}/rest/v1/written", json={"n": self._next})
            except httpx.HTTPError:
                continue  # nobody knows whether it was written, so it may be or not
            if answer.status_code == 201:
                self.acknowledged.append(self._next)
            elif answer.status_code not in (503, 504):
                self.wrong.append(f"{answer.status_code} {answer.text}")

    def finish(self) -> None:
        self._stop_asked.set()
        self.join(60)


@pytest.fixture
def loaded(installation: Installation) -> Iterator[tuple[Installation, list[Writer]]]:
    migrations = installation.folder / "supabase" / "migrations"
    migrations.mkdir(parents=True)
    (migrations / "1_written.sql").write_text("create table written (n int primary key);")
    installation.start()
    values = installation.status()
    writers = [Writer(values["API_URL"], values["SECRET_KEY"], base) for base in (0, 1_000_000)]
    for writer in writers:
        writer.start()
    yield installation, writers
    for writer in writers:
        writer.finish()


def more(writers: list[Writer], than: int = 0) -> Callable[[], bool]:
    """Whether every writer has had `than + ENOUGH` acknowledgements."""
    return lambda: all(len(writer.acknowledged) >= than + ENOUGH for writer in writers)


def check(installation: Installation, writers: list[Writer]) -> None:
    for writer in writers:
        writer.finish()
        assert writer.wrong == []
    kept = {row[0] for row in installation.sql("select n from written")}
    lost = {n for writer in writers for n in writer.acknowledged} - kept
    assert lost == set()


def kill_backends(installation: Installation) -> None:
    installation.sql(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where usename = 'authenticator' and pid <> pg_backend_pid()"
    )


def kill_postgres(installation: Installation) -> None:
    os.kill(installation.state()["postgres_pid"], signal.SIGKILL)


def kill_worker(installation: Installation) -> None:
    os.kill(installation.state()["workers"][0], signal.SIGKILL)


@pytest.mark.parametrize("kill", [kill_backends, kill_postgres, kill_worker])
def test_service_returns_and_nothing_acknowledged_is_lost(
    loaded: tuple[Installation, list[Writer]], kill: Callable[[Installation], None]
) -> None:
    installation, writers = loaded
    wait_until(more(writers), "writes before")
    kill(installation)
    before = max(len(writer.acknowledged) for writer in writers)
    wait_until(more(writers, before), "writes after")
    check(installation, writers)


def test_a_killed_supervisor_loses_nothing_and_leaves_nobody(
    loaded: tuple[Installation, list[Writer]],
) -> None:
    installation, writers = loaded
    wait_until(more(writers), "writes before")
    os.kill(installation.state()["pid"], signal.SIGKILL)
    for writer in writers:
        writer.finish()
    installation.start()
    check(installation, writers)
    state = installation.state()
    ours = {state["pid"], *state["workers"], state["postgres_pid"]}
    strangers = [
        pid for pid in installation.processes() if pid not in ours and not below(pid, ours)
    ]
    assert strangers == []


def below(pid: int, ours: set[int]) -> bool:
    parent = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return parent in ours


def test_draining_answers_what_was_asked(loaded: tuple[Installation, list[Writer]]) -> None:
    installation, writers = loaded
    wait_until(more(writers), "writes before")
    installation.stop()
    for writer in writers:
        writer.finish()
    installation.start()
    check(installation, writers)
