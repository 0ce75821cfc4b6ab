"""Several workers of one project: through each kind of bus, and when it or one of them is lost."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.realtime.conftest import Client, Stand, Start

from selfbase.database.ports import find_free_port
from selfbase.realtime.bus.inprocess import InProcessBus, Meeting
from selfbase.realtime.bus.machine import MachineBus
from selfbase.realtime.bus.port import Bus
from selfbase.realtime.bus.redis import RedisBus

MakeBus = Callable[[str], Bus]
NOTES = (
    "create table public.notes (id int primary key, body text)",
    "alter publication supabase_realtime add table public.notes",
    "grant select on public.notes to anon",
)
ALL = [{"event": "*", "schema": "public", "table": "notes"}]


class Redis:
    """A real redis-server of the test's own, which it may stop and start."""

    def __init__(self, folder: Path) -> None:
        self.port = find_free_port("127.0.0.1")
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
        )

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    assert shutil.which("redis-server"), "install redis-server: make test needs the real one"
    server = Redis(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["in process", "machine", "redis"])
def make_bus(request: pytest.FixtureRequest) -> Iterator[MakeBus]:
    if request.param == "in process":
        meeting = Meeting()
        yield lambda worker: InProcessBus(meeting)
    elif request.param == "machine":
        with tempfile.TemporaryDirectory() as folder:
            yield lambda worker: MachineBus(Path(folder) / "bus.sock")
    else:
        server: Redis = request.getfixturevalue("redis")
        yield lambda worker: RedisBus(server.url, "test", worker)


@pytest.fixture
async def pair(start: Start, make_bus: MakeBus) -> tuple[Stand, Stand]:
    one, two = await start(make_bus("one" * 6)), await start(make_bus("two" * 6))
    await one.until(lambda: _sees(one, 1))
    await two.until(lambda: _sees(two, 1))
    return one, two


async def _sees(stand: Stand, count: int) -> bool:
    return len(stand.realtime._cluster.peers) == count


async def _pair_of_clients(one: Stand, two: Stand, config: dict[str, Any]) -> tuple[Client, Client]:
    here, there = await one.connect(), await two.connect()
    await here.join("a", config)
    await there.join("a", config)
    return here, there


async def test_broadcast_crosses_workers_in_order(pair: tuple[Stand, Stand]) -> None:
    here, there = await _pair_of_clients(*pair, {"broadcast": {"ack": True}})
    for n in range(50):
        await here.send("realtime:a", "broadcast", {"event": "e", "payload": {"n": n}})
    got = [(await there.event("broadcast"))["payload"]["payload"]["n"] for _ in range(50)]
    assert got == list(range(50))
    await here.settle()
    assert here.count("broadcast") == 0


async def test_presence_crosses_workers(pair: tuple[Stand, Stand]) -> None:
    one, two = pair
    config = {"presence": {"key": "here", "enabled": True}}
    here = await one.connect()
    await here.join("a", config)
    await here.send("realtime:a", "presence", {"event": "track", "payload": {"n": 1}})
    await here.event("presence_diff")
    there = await two.connect()
    await there.join("a", {"presence": {"key": "there", "enabled": True}})
    # The state of this worker first, then what the others have, as a diff.
    state = (await there.event("presence_state"))["payload"]
    if "here" not in state:
        assert "here" in (await there.event("presence_diff"))["payload"]["joins"]
    await there.send("realtime:a", "presence", {"event": "track", "payload": {"n": 2}})
    assert list((await here.event("presence_diff"))["payload"]["joins"]) == ["there"]
    await there.send("realtime:a", "presence", {"event": "untrack"})
    assert list((await here.event("presence_diff"))["payload"]["leaves"]) == ["there"]


async def test_changes_reach_clients_of_every_worker_once(pair: tuple[Stand, Stand]) -> None:
    one, two = pair
    await one.sql(*NOTES)
    here, there = await one.connect(), await two.connect()
    for client in (here, there):
        await client.subscribed("a", ALL)
    await one.sql(
        "insert into public.notes select n from generate_series(1, 30) as n",
        "select realtime.send('{}', 'e', 'a', false)",
    )
    for client in (here, there):
        ids = [(await client.change())["data"]["record"]["id"] for _ in range(30)]
        assert ids == list(range(1, 31))
        await client.event("broadcast")
        await client.settle()
        assert client.count("postgres_changes") == client.count("broadcast") == 0
    slots = await one.fetch(
        "select count(*) from pg_replication_slots where database = current_database()"
    )
    assert slots == [(1,)]


async def test_another_worker_takes_over(pair: tuple[Stand, Stand]) -> None:
    one, two = pair
    await one.sql(*NOTES)
    here, there = await one.connect(), await two.connect()
    for client in (here, there):
        await client.subscribed("a", ALL)
    leader, follower, left = (
        (one, two, there) if one.realtime.core.feed.reader.is_leading else (two, one, here)
    )
    await leader.realtime.close()
    await one.sql("insert into public.notes values (1)")
    assert (await left.change())["data"]["record"]["id"] == 1
    assert follower.realtime.core.feed.reader.is_leading


async def test_a_worker_that_dies_takes_its_presences_with_it(pair: tuple[Stand, Stand]) -> None:
    one, two = pair
    here, there = await _pair_of_clients(one, two, {"presence": {"enabled": True, "key": "k"}})
    await there.send("realtime:a", "presence", {"event": "track", "payload": {}})
    assert (await here.event("presence_diff"))["payload"]["joins"]
    # Silent from one moment to the next, as after kill -9.
    two.realtime._cluster.bus.publish = lambda topic, data: None  # type: ignore[method-assign]
    assert list((await here.event("presence_diff"))["payload"]["leaves"]) == ["k"]


async def test_a_lost_bus_is_told_and_repaired(start: Start) -> None:
    meeting = Meeting()
    one, two = await start(InProcessBus(meeting)), await start(InProcessBus(meeting))
    await _lose_and_repair(one, two, lambda up: meeting.cut(up=up))


async def test_redis_may_go_and_come_back(start: Start, redis: Redis) -> None:
    one = await start(RedisBus(redis.url, "test", "one" * 6))
    two = await start(RedisBus(redis.url, "test", "two" * 6))
    await _lose_and_repair(one, two, lambda up: redis.start() if up else redis.stop())


async def test_the_worker_with_the_hub_may_end(start: Start) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bus.sock"
        hub, one, two = [await start(MachineBus(path)) for _ in range(3)]
        here, there = await _pair_of_clients(one, two, {})
        await hub.realtime.close()
        for client in (here, there):
            await client.system("Connection to other servers restored")

        async def passes() -> bool:
            await here.send("realtime:a", "broadcast", {"event": "e", "payload": {}})
            await asyncio.sleep(0.02)
            await there.settle()
            return there.count("broadcast") > 0

        await one.until(passes)


async def _lose_and_repair(one: Stand, two: Stand, switch: Callable[[bool], None]) -> None:
    here, there = await _pair_of_clients(one, two, {"presence": {"enabled": True, "key": "k"}})
    await there.send("realtime:a", "presence", {"event": "track", "payload": {"n": 1}})
    await here.wait(lambda f: f["event"] == "presence_diff" and "k" in f["payload"]["joins"])
    switch(False)
    await here.system("Connection to other servers lost")
    await here.wait(lambda f: f["event"] == "presence_diff" and "k" in f["payload"]["leaves"])
    assert (await here.join("b"))["status"] == "ok", "a lost bus keeps nobody from joining"
    await there.join("b")
    ref = await there.send("realtime:a", "presence", {"event": "track", "payload": {"n": 2}})
    await there.reply(ref)
    switch(True)
    await here.system("Connection to other servers restored")
    back = await here.wait(lambda f: f["event"] == "presence_diff" and "k" in f["payload"]["joins"])
    assert back["payload"]["joins"]["k"]["metas"][0]["n"] == 2

    async def passes() -> bool:
        await there.send("realtime:b", "broadcast", {"event": "e", "payload": {}})
        await asyncio.sleep(0.02)
        await here.settle()
        return here.count("broadcast") > 0

    await one.until(passes)
