"""How fast Auth is: sign-ins against raw bcrypt, refresh grants, reads of the signed-in user.

    python -m bench.auth

Makes its own cluster, serves Auth alone from a process of its own, and prints requests a second,
latencies and CPU for 1,000 requests, server and Postgres apart.  The first figure is a ratio within
one run: sign-ins a second over bcrypt verifications a second on the same cores.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import bcrypt
import psycopg
import uvloop

from bench._load import Load, make_request, run_load
from bench._processes import tree_cpu_s
from selfbase.auth.service import make_standalone_auth
from selfbase.database.binaries import find_binaries
from selfbase.database.bootstrap import bootstrap
from selfbase.database.cluster import Cluster
from selfbase.database.cluster_settings import ClusterSettings
from selfbase.database.ports import find_free_port
from selfbase.http.server import Server
from selfbase.identity.tokens import key_from_secret, sign_token
from selfbase.kit.events import Events
from selfbase.kit.settings import EnvLayer

SECRET = "bench-secret-that-is-long-enough-for-hs256"
PASSWORD = "correct horse battery"
SIGN_INS, READS, REFRESHES = 200, 6000, 3000
HEADERS = {"content-type": "application/json", "x-supabase-api-version": "2024-01-01"}

TOKENS = """
with one as (select id from auth.users limit 1),
made as (
  insert into auth.sessions (id, user_id, created_at, updated_at, aal)
  select gen_random_uuid(), one.id, now(), now(), 'aal1' from one, generate_series(1, %s)
  returning id, user_id)
insert into auth.refresh_tokens (instance_id, token, user_id, revoked, created_at, updated_at, session_id)
select '00000000-0000-0000-0000-000000000000', substr(md5(id::text), 1, 12), user_id, false, now(),
  now(), id from made returning token
"""


def main() -> None:
    """Runs it all and prints the table."""
    folder = Path(tempfile.mkdtemp(prefix="selfbase-bench-", dir="/tmp"))
    folder.chmod(0o755)
    cluster = Cluster(
        find_binaries("embedded"),
        ClusterSettings(
            data_dir=folder / "data", socket_dir=folder / "socket",
            port=find_free_port("127.0.0.1"),
        ),
    )  # fmt: skip
    cluster.create()
    cluster.start()
    try:
        bootstrap(cluster.superuser_dsn(), {})
        _measure(cluster, Path(folder))
    finally:
        cluster.stop()
        shutil.rmtree(folder)


def _measure(cluster: Cluster, folder: Path) -> None:
    port = find_free_port("127.0.0.1")
    orders = {"dsn": cluster.superuser_dsn("postgres"), "port": port}
    server = subprocess.Popen(
        [sys.executable, "-m", "bench.auth", "--serve", json.dumps(orders)], stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    server.stdout.readline()
    url = f"http://127.0.0.1:{port}"
    postgres = int((folder / "data" / "postmaster.pid").read_text().split("\n", 1)[0])
    pids = (server.pid, postgres)
    try:
        session = _prepare(url)
        raw, raw_cpu_ms = _raw_bcrypt()
        body = json.dumps({"email": "ada@example.com", "password": PASSWORD}).encode()
        sign_in = make_request("POST", f"{url}/token?grant_type=password", HEADERS, body)
        bearer = {**HEADERS, "authorization": f"Bearer {session['access_token']}"}
        read = make_request("GET", f"{url}/user", bearer)
        _run("warm up", url, [read], 16, 500, pids)
        meanwhile: list[Load] = []
        reader = threading.Thread(
            target=lambda: meanwhile.append(run_load(url, [read], connections=1, count=300))
        )
        reader.start()
        used_s = tree_cpu_s(server.pid)
        load = _run("sign in", url, [sign_in], 8, SIGN_INS, pids)
        cpu_ms = (tree_cpu_s(server.pid) - used_s) * 1000 / SIGN_INS
        reader.join()
        print(
            f"  raw bcrypt, cost 10: {raw:.1f}/s, {raw_cpu_ms:.1f} ms of CPU each;"
            f" ratio by rate {load.per_second / raw:.2f}, by CPU {raw_cpu_ms / cpu_ms:.2f}"
        )
        print(f"  GET /user meanwhile: p99 {meanwhile[0].p99_ms:.1f} ms")
        _run("GET /user", url, [read], 16, READS, pids)
        with psycopg.connect(cluster.superuser_dsn("postgres"), autocommit=True) as connection:
            tokens = [row[0] for row in connection.execute(TOKENS, [REFRESHES]).fetchall()]
        refreshes = [
            make_request(
                "POST", f"{url}/token?grant_type=refresh_token", HEADERS,
                json.dumps({"refresh_token": token}).encode(),
            )
            for token in tokens
        ]  # fmt: skip
        _run("refresh", url, refreshes, 16, REFRESHES, pids)
    finally:
        server.terminate()
        server.wait()


def _prepare(url: str) -> dict[str, str]:
    admin = sign_token(key_from_secret(SECRET), {"role": "service_role"})
    user = {"email": "ada@example.com", "password": PASSWORD, "email_confirm": True}
    _post(f"{url}/admin/users", user, {"authorization": f"Bearer {admin}"})
    return _post(f"{url}/token?grant_type=password", user, {})


def _post(url: str, body: object, headers: dict[str, str]) -> dict[str, str]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {**HEADERS, **headers})
    with urllib.request.urlopen(request) as response:
        loaded: dict[str, str] = json.load(response)
    return loaded


def _raw_bcrypt() -> tuple[float, float]:
    """Verifications a second with as many threads as Auth uses, and the CPU of one in ms.  On a
    machine that others use, the ratio by CPU is the one that holds."""
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10))
    count, threads = 40, 2

    def work() -> None:
        for _ in range(count):
            bcrypt.checkpw(PASSWORD.encode(), hashed)

    started, used_s = time.perf_counter(), time.process_time()
    running = [threading.Thread(target=work) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    done = threads * count
    cpu_ms = (time.process_time() - used_s) * 1000 / done
    return done / (time.perf_counter() - started), cpu_ms


def _run(
    name: str, url: str, requests: Sequence[bytes], connections: int, count: int,
    pids: tuple[int, int],
) -> Load:  # fmt: skip
    before = [tree_cpu_s(pid) for pid in pids]
    load = run_load(url, requests, connections=connections, count=count)
    spent = [
        (tree_cpu_s(pid) - start) * 1e6 / count for pid, start in zip(pids, before, strict=True)
    ]
    print(
        f"{name:10} {load.per_second:8.0f}/s  p50 {load.p50_ms:6.1f} ms  p99 {load.p99_ms:6.1f} ms"
        f"  CPU/1,000: server {spent[0]:7.1f} ms, Postgres {spent[1]:6.1f} ms  bad {load.bad}",
        flush=True,
    )
    return load


async def _serve(orders: dict[str, object]) -> None:
    variables = {
        "GOTRUE_JWT_SECRET": SECRET,
        "GOTRUE_DB_DATABASE_URL": str(orders["dsn"]),
        "GOTRUE_RATE_LIMIT_TOKEN_REFRESH": "0",
    }
    events = Events()
    auth = make_standalone_auth([EnvLayer(variables)], events)
    await auth.open()
    server = Server(auth, events)
    await server.listen("127.0.0.1", int(str(orders["port"])))
    os.write(1, b"ready\n")
    await asyncio.Event().wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        uvloop.run(_serve(json.loads(sys.argv[2])))
    else:
        main()
