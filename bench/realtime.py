"""How much Realtime delivers for a second of server CPU, and how soon.

    python -m bench.realtime [fanout|pattern|changes|memory …]

Makes its own cluster, serves Realtime from a process of its own and drives it with raw WebSocket
clients in this one.  Deliveries per server CPU second hold on a busy machine; latency and wall time
include the Python clients, which share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import psycopg
import uvloop

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
from selfbase.kit.settings import ValuesLayer
from selfbase.realtime.service import make_standalone_realtime

SECRET = "bench-secret-that-is-long-enough-for-hs256"
UNLIMITED = {
    "messages_per_second_max": 0,
    "joins_per_second_max": 0,
    "connections_max": 100_000,
    "socket_idle_s": 36_000.0,  # the clients here send no heartbeats
}


class Wire(asyncio.Protocol):
    """A WebSocket client that does as little as it can: whole frames go to `on_frame`."""

    def __init__(self, token: str, on_frame: Callable[[Wire, bytes], None]) -> None:
        self._token = token
        self._on_frame = on_frame
        self._buffer = bytearray()
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(
            f"GET /websocket?vsn=2.0.0&apikey={self._token} HTTP/1.1\r\nHost: x\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if not self.opened.done():
            self.opened.set_exception(error or ConnectionError("closed"))

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if not self.opened.done():
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            assert buffer.startswith(b"HTTP/1.1 101"), bytes(buffer[:200])
            del buffer[: end + 4]
            self.opened.set_result(None)
        at, length = 0, len(buffer)
        while length - at >= 2:
            size, start = buffer[at + 1], at + 2
            if size == 126:
                if length - at < 4:
                    break
                size, start = int.from_bytes(buffer[at + 2 : at + 4], "big"), at + 4
            elif size == 127:
                size, start = int.from_bytes(buffer[at + 2 : at + 10], "big"), at + 10
            if length < start + size:
                break
            self._on_frame(self, bytes(buffer[start : start + size]))
            at = start + size
        del buffer[:at]

    def send(self, *message: Any) -> None:
        payload = orjson.dumps(message)
        size = len(payload)
        head = bytes((0x81, 0x80 | size)) if size < 126 else b"\x81\xfe" + size.to_bytes(2, "big")
        self.transport.write(head + b"\0\0\0\0" + payload)  # a mask of zeros


class Crowd:
    """Many clients of one server, and what they have received."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.wires: list[Wire] = []
        self.received = 0
        self.joined = 0
        self.subscribed = 0
        self.latencies: list[float] = []
        self.timed = False

    def _take(self, wire: Wire, frame: bytes) -> None:
        if b'"phx_reply"' in frame:
            self.joined += b'"postgres_changes"' in frame
        elif b'"system"' in frame:
            self.subscribed += b"Subscribed" in frame
        else:
            self.received += 1
            if self.timed:
                start = frame.find(b'"t":') + 4
                sent_ns = int(frame[start : start + 19])
                self.latencies.append((time.time_ns() - sent_ns) / 1e6)

    async def connect(self, tokens: list[str]) -> None:
        loop = asyncio.get_running_loop()
        for start in range(0, len(tokens), 100):
            made = await asyncio.gather(
                *(
                    loop.create_connection(
                        lambda token=token: Wire(token, self._take), "127.0.0.1", self.port
                    )
                    for token in tokens[start : start + 100]
                )
            )
            self.wires += [protocol for _, protocol in made]
            await asyncio.gather(*(protocol.opened for _, protocol in made))

    async def join(self, topics: Callable[[int], list[str]], config: dict[str, Any]) -> None:
        wanted = self.joined
        for number, wire in enumerate(self.wires):
            for topic in topics(number):
                wire.send("1", "1", f"realtime:{topic}", "phx_join", {"config": config})
                wanted += 1
            if number % 50 == 49:
                await self.until(lambda: self.joined >= wanted)  # noqa: B023
        await self.until(lambda: self.joined >= wanted)

    async def until(self, check: Callable[[], bool], timeout_s: float = 120.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not check():
                await asyncio.sleep(0.001)

    def close(self) -> None:
        for wire in self.wires:
            wire.transport.abort()

    def shown_latency(self) -> str:
        ordered = sorted(self.latencies)
        if not ordered:
            return "-"
        picks = [ordered[min(len(ordered) - 1, int(len(ordered) * q))] for q in (0.5, 0.95, 0.99)]
        return " / ".join(f"{value:.1f}" for value in picks)


class Site:
    """The cluster and the server under measurement."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.realtime", "--serve", self.cluster.superuser_dsn()],
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def postgres_cpu_s(self) -> float:
        pid = int((self.cluster.settings.data_dir / "postmaster.pid").read_text().split()[0])
        return tree_cpu_s(pid)

    def sql(self, *statements: str) -> None:
        with psycopg.connect(self.cluster.superuser_dsn(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())


def make_token(role: str = "anon", **claims: Any) -> str:
    now = int(time.time())
    content = {"role": role, "iat": now, "exp": now + 36_000, **claims}
    return sign_token(key_from_secret(SECRET), content)


def message(size: int) -> dict[str, Any]:
    filler = "x" * max(0, size - 60)
    return {"type": "broadcast", "event": "e", "payload": {"t": time.time_ns(), "x": filler}}


@asynccontextmanager
async def crowd(site: Site, tokens: list[str]) -> AsyncIterator[Crowd]:
    made = Crowd(site.port)
    await made.connect(tokens)
    try:
        yield made
    finally:
        made.close()
        await asyncio.sleep(0.5)


async def measure_fanout(site: Site) -> None:
    """One 200-byte broadcast to N subscribers: as many as it takes for CPU, then paced."""
    print("subscribers | window | deliveries per server CPU s | p50 / p95 / p99 ms at 20,000/s")
    for count in (200, 1000, 4000):
        async with crowd(site, [make_token()] * count) as people:
            await people.join(lambda number: ["room"], {})
            sender = people.wires[0]
            rates = {}
            for window in (1, 4, 16):
                people.received, begun = 0, cpu_s(site.pid)
                rounds, sent = max(1, 200_000 // count), 0
                while sent < rounds:
                    for _ in range(window):
                        sender.send("1", None, "realtime:room", "broadcast", message(200))
                    sent += window
                    await people.until(lambda: people.received >= sent * (count - 1))  # noqa: B023
                rates[window] = people.received / (cpu_s(site.pid) - begun)
            people.timed, pause_s = True, count / 20_000
            for _ in range(int(3 / pause_s)):
                sender.send("1", None, "realtime:room", "broadcast", message(200))
                await asyncio.sleep(pause_s)
            await asyncio.sleep(0.5)
            shown = people.shown_latency()
        for window, rate in rates.items():
            print(f"{count:>11} | {window:>6} | {rate:>27,.0f} | {shown if window == 16 else ''}")


async def measure_pattern(site: Site) -> None:
    """Each user one channel alone and one shared by six, one message a second on each."""
    print("users | deliveries/s | p50 / p95 / p99 ms | server CPU, cores")
    for count in (1200, 3000, 6000, 9000, 12000):
        async with crowd(site, [make_token()] * count) as people:
            own = {"broadcast": {"self": True}}
            await people.join(lambda n: [f"own{n}", f"six{n // 6}"], own)
            people.timed, seconds = True, 5
            begun, start_s = cpu_s(site.pid), time.monotonic()
            for tick in range(seconds * 100):
                for number in range(tick % 100, count, 100):
                    wire = people.wires[number]
                    for topic in (f"own{number}", f"six{number // 6}"):
                        wire.send("1", None, f"realtime:{topic}", "broadcast", message(200))
                ahead_s = start_s + (tick + 1) / 100 - time.monotonic()
                await asyncio.sleep(max(0.0, ahead_s))
            took_s = time.monotonic() - start_s
            cores = (cpu_s(site.pid) - begun) / took_s
            await asyncio.sleep(1)
            rate = people.received / took_s
            expected = count * 7 * seconds
            shown = people.shown_latency()
        lost = f"  (of {expected}: {people.received})" if people.received < expected else ""
        print(f"{count:>5} | {rate:>12,.0f} | {shown} | {cores:.2f}{lost}", flush=True)


POLICIES = {
    "no RLS": None,
    "team = claim, a fifth sees": "team = (auth.jwt() ->> 'team')",
    "owner = auth.uid(), one sees": "owner = auth.uid()",
    "subselect, a fifth sees": "team in (select m.team from public.members as m"
    " where m.owner = auth.uid())",
}


async def measure_changes(site: Site) -> None:
    """Inserts as fast as one connection commits them, to N subscribers with distinct claims."""
    print(
        "policy | subscribers | changes/s | deliveries/s | server CPU ms per change"
        " | Postgres CPU ms per change | p50 / p95 / p99 ms"
    )
    for name, qual in POLICIES.items():
        for count in (500, 1500, 3000):
            await _measure_changes(site, name, qual, count)


async def _measure_changes(site: Site, name: str, qual: str | None, count: int) -> None:
    users = [f"00000000-0000-0000-0000-{number:012d}" for number in range(count)]
    site.sql(
        "drop table if exists public.feed, public.members",
        "create table public.feed (id bigint primary key, owner uuid, team text, t bigint)",
        "create table public.members (owner uuid primary key, team text)",
        "insert into public.members select u::uuid, 'team' || (n % 5) from unnest(array["
        + ",".join(f"'{user}'" for user in users)
        + "]) with ordinality as w (u, n)",
        "alter publication supabase_realtime add table public.feed",
        "grant select on public.feed, public.members to authenticated, anon",
    )
    if qual is not None:
        site.sql(
            "alter table public.feed enable row level security",
            f"create policy p on public.feed for select to authenticated using ({qual})",
        )
    tokens = [
        make_token("authenticated", sub=user, team=f"team{(number + 1) % 5}", session_id=user)
        for number, user in enumerate(users)
    ]
    binding = {"event": "INSERT", "schema": "public", "table": "feed"}
    async with crowd(site, tokens) as people:
        await people.join(lambda number: ["changes"], {"postgres_changes": [binding]})
        await people.until(lambda: people.subscribed >= count)
        share = {"no RLS": count, "owner = auth.uid(), one sees": 1}.get(name, count // 5)
        changes = max(30, min(1000, 100_000 // share))
        people.timed = True
        async with await psycopg.AsyncConnection.connect(
            site.cluster.superuser_dsn(), autocommit=True
        ) as connection:
            insert = "insert into public.feed values (%s, %s, %s, %s)"
            await connection.execute(insert, (0, users[0], "team0", time.time_ns()))
            await people.until(lambda: people.received >= 1)
            await asyncio.sleep(1.0)
            people.received, people.latencies = 0, []
            server, postgres = cpu_s(site.pid), site.postgres_cpu_s()
            start_s = time.monotonic()
            for number in range(1, changes + 1):
                values = (number, users[number % count], f"team{number % 5}", time.time_ns())
                await connection.execute(insert, values)
            await people.until(lambda: people.received >= changes * share)
            took_s = time.monotonic() - start_s
        server = (cpu_s(site.pid) - server) / changes * 1000
        postgres = (site.postgres_cpu_s() - postgres) / changes * 1000
        print(
            f"{name} | {count} | {changes / took_s:,.0f} | {changes * share / took_s:,.0f}"
            f" | {server:.2f} | {postgres:.2f} | {people.shown_latency()}",
            flush=True,
        )


async def measure_memory(site: Site) -> None:
    """What an idle connection costs the server: one with a joined channel, nothing going on."""
    print("connections | server memory before MB | after MB | KB per connection")
    before = pss_bytes(site.pid)
    async with crowd(site, [make_token()] * 4000) as people:
        await people.join(lambda number: [f"room{number % 100}"], {})
        await asyncio.sleep(1)
        after = pss_bytes(site.pid)
        each = (after - before) / 4000 / 1024
        print(f"{4000:>11} | {before / 1e6:.1f} | {after / 1e6:.1f} | {each:.1f}")


async def serve(conninfo: str) -> None:
    """The server process: one Realtime alone, as `selfbase serve realtime` runs it."""
    parts = psycopg.conninfo.conninfo_to_dict(conninfo)
    values = {
        "db_host": parts["host"],
        "db_port": int(parts.get("port", 5432)),
        "db_name": parts["dbname"],
        "db_user": "supabase_admin",
        "jwt_secret": SECRET,
        **UNLIMITED,
    }
    events = Events()
    realtime = make_standalone_realtime((ValuesLayer(values),), events, SystemClock())
    await realtime.open()
    server = Server(realtime, events)
    print(await server.listen("127.0.0.1", 0), flush=True)
    await asyncio.Event().wait()


PARTS = {
    "memory": measure_memory,
    "fanout": measure_fanout,
    "pattern": measure_pattern,
    "changes": measure_changes,
}


async def run(site: Site, names: list[str]) -> None:
    for name in names:
        site.start()
        print(f"\n-- {name}", flush=True)
        try:
            await PARTS[name](site)
        finally:
            site.stop()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    chosen = parser.parse_args([a for a in sys.argv[1:] if a != "realtime"])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if chosen.serve:
        uvloop.run(serve(chosen.serve))
        return
    folder = Path(tempfile.mkdtemp(prefix="selfbase-bench-", dir="/tmp"))
    folder.chmod(0o755)
    settings = ClusterSettings(
        data_dir=folder / "data",
        socket_dir=folder / "socket",
        port=find_free_port("127.0.0.1"),
        size="medium",
        # Commits as they are, but without waiting for this machine's disk.
        overrides={"fsync": "off"},
    )
    cluster = Cluster(find_binaries("embedded"), settings)
    site = Site(cluster)
    try:
        cluster.create()
        cluster.start()
        bootstrap(cluster.superuser_dsn(), {})
        uvloop.run(run(site, chosen.parts or list(PARTS)))
    finally:
        site.stop()
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
