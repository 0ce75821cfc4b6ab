"""How fast files go in and out, and how listing grows.

    python -m bench.storage [--large-mb 1024] [--objects 100000]

Makes its own cluster, serves storage from a process of its own, and prints requests a second, CPU
per 1,000 requests and MB/s.  Uploads are compared with writing and syncing the same bytes to the same
disk, downloads with sending a file over a loopback socket; both in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import uvloop

from bench._load import make_request, run_load
from bench._processes import cpu_s, pss_bytes, tree_cpu_s
from selfbase.database.binaries import find_binaries
from selfbase.database.bootstrap import bootstrap
from selfbase.database.cluster import Cluster
from selfbase.database.cluster_settings import ClusterSettings
from selfbase.database.ports import find_free_port
from selfbase.http.server import Server
from selfbase.identity.tokens import key_from_secret, sign_token
from selfbase.kit.clock import SystemClock
from selfbase.kit.events import Events
from selfbase.kit.settings import EnvLayer
from selfbase.storage.service import make_standalone_storage

SECRET = "bench-secret-that-is-long-enough-for-hs256"
PIECE = 1024 * 1024
RAW = {"upload": "raw disk", "download": "loopback"}


@dataclass
class Place:
    """Where the service under test answers."""

    url: str
    pid: int
    folder: Path
    conninfo: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}


async def serve(url: str, folder: str) -> None:
    """The service, until it is killed; prints its port."""
    environment = {
        "DATABASE_URL": url,
        "AUTH_JWT_SECRET": SECRET,
        "STORAGE_FILE_BACKEND_PATH": folder,
        "UPLOAD_FILE_SIZE_LIMIT": str(1 << 40),
    }
    events = Events()
    storage = make_standalone_storage((EnvLayer(environment),), events, SystemClock())
    await storage.open()
    port = await Server(storage, events).listen("127.0.0.1", 0)
    print(port, flush=True)
    await asyncio.Event().wait()


@contextmanager
def open_place() -> Iterator[Place]:
    folder = Path(tempfile.mkdtemp(prefix="selfbase-bench-", dir="/tmp"))
    folder.chmod(0o755)
    port = find_free_port("127.0.0.1")
    cluster = Cluster(
        find_binaries("embedded"),
        ClusterSettings(data_dir=folder / "data", socket_dir=folder / "socket", port=port),
    )
    process: subprocess.Popen[str] | None = None
    try:
        cluster.create()
        cluster.start()
        conninfo = cluster.superuser_dsn()
        bootstrap(conninfo, {})
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.storage", "--serve", conninfo, str(folder / "files")],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        claims = {"role": "service_role", "exp": int(time.time()) + 86400}
        token = sign_token(key_from_secret(SECRET), claims)
        yield Place(url, process.pid, folder, conninfo, token)
    finally:
        if process is not None:
            process.kill()
            process.wait()
        cluster.stop()
        shutil.rmtree(folder)


def postmaster_pid(place: Place) -> int:
    return int((place.folder / "data" / "postmaster.pid").read_text().split()[0])


def bench_small(place: Place, size: int, count: int, connections: int) -> None:
    """Uploads of new objects and downloads of one, over keep-alive connections."""
    body = os.urandom(size)
    raw = {
        "upload": write_raw_files(place.folder / "raw", body, count, connections),
        "download": copy_loopback(body, count),
    }
    url = f"{place.url}/object/bench"
    headers = {**place.headers, "content-type": "application/octet-stream"}
    uploads = [
        make_request("POST", f"{url}/s{size}/{number}", headers, body) for number in range(count)
    ]
    downloads = [make_request("GET", f"{url}/s{size}/0", place.headers)]
    for what, requests in (("upload", uploads), ("download", downloads)):
        before = cpu_s(place.pid), tree_cpu_s(postmaster_pid(place))
        load = run_load(place.url, requests, connections=connections, count=count)
        server_s = cpu_s(place.pid) - before[0]
        database_s = tree_cpu_s(postmaster_pid(place)) - before[1]
        rate = load.per_second * size / 1e6
        print(
            f"{what:9} {size:>9,} B  {load.per_second:>8,.0f}/s"
            f"  {rate:>7,.0f} MB/s = {rate / raw[what]:.2f} of {RAW[what]}"
            f"  p50 {load.p50_ms:6.2f} ms"
            f"  p99 {load.p99_ms:6.2f} ms  CPU/1000: server {server_s / count * 1e6:5.0f} ms,"
            f" Postgres {database_s / count * 1e6:5.0f} ms  bad {load.bad}"
        )


def pieces(size: int) -> Iterator[bytes]:
    piece = os.urandom(PIECE)
    for _ in range(size // PIECE):
        yield piece


def write_raw(path: Path, size: int) -> float:
    """MB/s of writing and syncing a file."""
    started_s = time.perf_counter()
    with path.open("wb") as file:
        for piece in pieces(size):
            file.write(piece)
        file.flush()
        os.fdatasync(file.fileno())
    took_s = time.perf_counter() - started_s
    path.unlink()
    return size / 1e6 / took_s


def write_raw_files(folder: Path, body: bytes, count: int, threads: int) -> float:
    """MB/s of writing and syncing many files, as many at once as there are uploads."""
    folder.mkdir()

    def write(number: int) -> None:
        with (folder / str(number)).open("wb") as file:
            file.write(body)
            file.flush()
            os.fdatasync(file.fileno())

    started_s = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(write, range(count)))
    took_s = time.perf_counter() - started_s
    shutil.rmtree(folder)
    return len(body) * count / 1e6 / took_s


def copy_loopback(piece: bytes, count: int) -> float:
    """MB/s of one thread sending a piece to another over a loopback socket, again and again."""
    listener = socket.create_server(("127.0.0.1", 0))

    def send() -> None:
        with socket.create_connection(listener.getsockname()) as sender:
            for _ in range(count):
                sender.sendall(piece)

    thread = threading.Thread(target=send)
    started_s = time.perf_counter()
    thread.start()
    with listener.accept()[0] as receiver:
        while receiver.recv(PIECE):
            pass
    thread.join()
    listener.close()
    return len(piece) * count / 1e6 / (time.perf_counter() - started_s)


def receive(place: Place, path: str) -> float:
    """Seconds that a whole download takes on a bare socket."""
    host, _, port = place.url.removeprefix("http://").partition(":")
    started_s = time.perf_counter()
    with socket.create_connection((host, int(port))) as connection:
        headers = {**place.headers, "connection": "close"}
        connection.sendall(make_request("GET", place.url + path, headers))
        while connection.recv(PIECE):
            pass
    return time.perf_counter() - started_s


def bench_large(place: Place, size: int) -> None:
    disk = write_raw(place.folder / "raw", size)
    loopback = copy_loopback(os.urandom(PIECE), size // PIECE)
    before = pss_bytes(place.pid)
    with httpx.Client(base_url=place.url, headers=place.headers, timeout=None) as client:
        started_s, cpu = time.perf_counter(), cpu_s(place.pid)
        answer = client.post(
            "/object/bench/large", content=pieces(size), headers={"content-length": str(size)}
        )
        assert answer.status_code == 200, answer.text
        up = size / 1e6 / (time.perf_counter() - started_s)
        up_cpu = cpu_s(place.pid) - cpu
    cpu = cpu_s(place.pid)
    down = size / 1e6 / receive(place, "/object/bench/large")
    down_cpu = cpu_s(place.pid) - cpu
    grown = (pss_bytes(place.pid) - before) / 1e6
    print(
        f"upload    {size:>13,} B  {up:7,.0f} MB/s = {up / disk:.2f} of raw disk ({disk:,.0f} MB/s)"
        f", CPU {up_cpu:.2f} s"
    )
    print(
        f"download  {size:>13,} B  {down:7,.0f} MB/s = {down / loopback:.2f} of loopback"
        f" ({loopback:,.0f} MB/s), CPU {down_cpu:.2f} s; memory grew by {grown:.1f} MB"
    )


def bench_listing(place: Place, objects: int) -> None:
    """Lists of 100 folders, and of 1,000 of many objects, as the table grows tenfold."""
    with (
        psycopg.connect(place.conninfo, autocommit=True) as connection,
        httpx.Client(base_url=place.url, headers=place.headers) as client,
    ):
        for count in (objects // 10, objects):
            connection.execute(
                "insert into storage.objects (bucket_id, name, metadata)"
                " select 'many', format('d%%s/%%s', n %% 100, n), '{\"size\": 1}'"
                " from generate_series(1, %s) as n on conflict do nothing",
                [count],
            )
            connection.execute("analyze storage.objects")
            cases = {
                "v2 folders": ("/object/list-v2/many", {"with_delimiter": True}),
                "v2 prefix": ("/object/list-v2/many", {"prefix": "d7/", "with_delimiter": True}),
                "v2 flat": ("/object/list-v2/many", {"limit": 1000}),
                "v1 folders": ("/object/list/many", {"prefix": ""}),
                "v1 prefix": ("/object/list/many", {"prefix": "d7", "limit": 1000}),
            }
            for name, (path, body) in cases.items():
                took_ms = []
                for _ in range(100):
                    started_s = time.perf_counter()
                    answer = client.post(path, json=body)
                    took_ms.append((time.perf_counter() - started_s) * 1000)
                    assert answer.status_code == 200, answer.text
                p99 = statistics.quantiles(took_ms, n=100)[98]
                print(
                    f"list {name:11} of {count:>9,}: p50 {statistics.median(took_ms):6.2f} ms"
                    f"  p99 {p99:6.2f} ms"
                )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large-mb", type=int, default=1024)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args([] if argv is None else argv)
    if given.serve:
        uvloop.run(serve(*given.serve))
        return
    with open_place() as place:
        with httpx.Client(base_url=place.url, headers=place.headers) as client:
            for name in ("bench", "many"):
                client.post("/bucket", content=json.dumps({"name": name})).raise_for_status()
        bench_small(place, 4096, 2000, 8)
        bench_small(place, 1024 * 1024, 200, 4)
        bench_large(place, given.large_mb * PIECE)
        bench_listing(place, given.objects)


if __name__ == "__main__":
    main(sys.argv[1:])
