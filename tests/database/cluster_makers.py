"""Throw-away clusters for the tests of the cluster itself, on every PostgreSQL of this machine."""

import atexit
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg

from selfbase.database.binaries import BinariesNotFoundError, PostgresBinaries, find_binaries
from selfbase.database.cluster import Cluster
from selfbase.database.cluster_settings import ClusterSettings

WAIT_S = 20.0


def find_available() -> list[PostgresBinaries]:
    found = []
    for choice in ("embedded", "system"):
        with contextlib.suppress(BinariesNotFoundError):
            found.append(find_binaries(choice))
    return found


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that the server's unprivileged user can reach, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="selfbase-cluster-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@functools.cache
def make_prototype(binaries: PostgresBinaries) -> Path:
    """A created cluster's data folder, made once in a run: copying it is ten times faster."""
    folder = Path(tempfile.mkdtemp(prefix="selfbase-prototype-", dir="/tmp"))
    atexit.register(shutil.rmtree, folder)
    folder.chmod(0o755)
    cluster = Cluster(binaries, ClusterSettings(data_dir=folder / "data", durable=False))
    cluster.create()
    return cluster.data_dir


@contextlib.contextmanager
def made_cluster(binaries: PostgresBinaries, **settings: object) -> Iterator[Cluster]:
    """A new cluster, not started; stopped and deleted afterwards whatever the test did."""
    with open_folder() as folder:
        cluster = Cluster(binaries, ClusterSettings(data_dir=folder / "data", **settings))  # type: ignore[arg-type]
        subprocess.run(["cp", "-a", make_prototype(binaries), cluster.data_dir], check=True)
        try:
            yield cluster
        finally:
            cluster.stop()
            shutil.rmtree(cluster.socket_dir, ignore_errors=True)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {WAIT_S} s in vain until {what}"
        time.sleep(0.01)


def ask(cluster: Cluster, query: str) -> object:
    with psycopg.connect(cluster.superuser_dsn(), autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def run(cluster: Cluster, statement: str) -> None:
    with psycopg.connect(cluster.superuser_dsn(), autocommit=True) as connection:
        connection.execute(statement.encode())


def kill_server(cluster: Cluster) -> None:
    """What the out-of-memory killer does."""
    assert cluster.pid is not None
    os.kill(cluster.pid, signal.SIGKILL)
    if cluster.process is not None:
        cluster.process.wait(WAIT_S)


def reap(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(WAIT_S)


def list_processes_in(folder: Path) -> list[str]:
    """Processes whose working directory is the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended meanwhile, or not ours to look into
            if (entry / "cwd").readlink() == folder:
                found.append(entry.name)
    return found
