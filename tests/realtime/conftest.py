"""Realtime on a real database behind a real listener, and a client that speaks raw frames."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import orjson
import psycopg
import pytest
import websockets
from tests.support.postgres import DatabaseTemplates, FreshDatabase

from selfbase.database.database import Database, DatabaseSettings
from selfbase.http.limits import HttpLimits
from selfbase.http.server import Server
from selfbase.identity.secrets import Secrets, make_secrets
from selfbase.identity.tokens import key_from_secret, sign_token
from selfbase.kit.events import Event, Events
from selfbase.kit.settings import ValuesLayer
from selfbase.project import Project
from selfbase.realtime.bus.port import Bus
from selfbase.realtime.service import Realtime, make_realtime, migrate_realtime

QUICK: dict[str, Any] = {
    "connect_error_pause_s": 0.0,
    "join_error_pause_s": 0.0,
    "subscribe_retry_s": 0.2,
    "worker_beat_s": 0.1,
    "messages_per_second_max": 0,
    "joins_per_second_max": 0,
    "client_presence_calls_max": 1000,
}
SECRETS = make_secrets("test")


@pytest.fixture(scope="session")
def database_template(database_templates: DatabaseTemplates) -> str:
    return database_templates.make("realtime", migrate_realtime)


@pytest.fixture
def fresh_database(database_templates: DatabaseTemplates, database_template: str) -> Any:
    """A database of the test's own.  Commits reach the log at once: the throw-away cluster would
    otherwise keep them from replication for seconds."""
    name = database_templates.clone(database_template)
    with psycopg.connect(database_templates.cluster.superuser_dsn(), autocommit=True) as connection:
        connection.execute(f'alter database "{name}" set synchronous_commit = on')
        connection.execute(f'alter database "{name}" set session_replication_role = origin')
    yield FreshDatabase(database_templates.cluster, name)
    with psycopg.connect(database_templates.cluster.superuser_dsn(), autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(active_pid) from pg_replication_slots"
            " where active and database = %s",
            [name],
        )
        for _ in range(100):
            left = connection.execute(
                "select slot_name, active from pg_replication_slots where database = %s", [name]
            ).fetchall()
            for slot, active in left:
                if not active:
                    connection.execute("select pg_drop_replication_slot(%s)", [slot])
            if not left:
                break
            time.sleep(0.05)
    database_templates.drop(name)


@dataclass
class Client:
    """One raw connection.  Every frame that came is kept until it is asked for."""

    socket: websockets.ClientConnection
    version: int
    frames: list[Any] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _reader: asyncio.Task[None] | None = None
    _refs: int = 0
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    def start(self) -> None:
        self._reader = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        try:
            async for frame in self.socket:
                self.frames.append(_parse(frame, self.version))
                self._arrived.set()
        except websockets.ConnectionClosed:
            pass
        finally:
            self.closed.set()
            self._arrived.set()

    async def close(self) -> None:
        await self.socket.close()
        if self._reader is not None:
            await self._reader

    async def send(
        self, topic: str, event: str, payload: Any = None, *, join_ref: str | None = "1"
    ) -> str:
        self._refs += 1
        ref = str(self._refs)
        body = {} if payload is None else payload
        if self.version == 2:
            frame: Any = [join_ref, ref, topic, event, body]
        else:
            frame = {
                "topic": topic,
                "event": event,
                "payload": body,
                "ref": ref,
                "join_ref": join_ref,
            }
        await self.socket.send(orjson.dumps(frame).decode())
        return ref

    async def send_raw(self, frame: str | bytes) -> None:
        await self.socket.send(frame)

    async def join(
        self,
        name: str,
        config: dict[str, Any] | None = None,
        *,
        token: str | None = None,
        join_ref: str = "1",
    ) -> Any:
        """Joins and gives the payload of the reply."""
        payload: dict[str, Any] = {"config": config or {}}
        if token is not None:
            payload["access_token"] = token
        ref = await self.send(f"realtime:{name}", "phx_join", payload, join_ref=join_ref)
        return await self.reply(ref)

    async def reply(self, ref: str) -> Any:
        return (await self.wait(lambda f: f["event"] == "phx_reply" and f["ref"] == ref))["payload"]

    async def wait(
        self, wanted: Callable[[dict[str, Any]], bool], timeout_s: float = 10.0
    ) -> dict[str, Any]:
        """The first frame that fits; it and only it is taken."""
        async with asyncio.timeout(timeout_s):
            while True:
                for frame in self.frames:
                    if wanted(frame):
                        self.frames.remove(frame)
                        return frame
                assert not self.closed.is_set(), f"closed while waiting; had {self.frames}"
                self._arrived.clear()
                await self._arrived.wait()

    async def event(self, event: str, topic: str | None = None) -> dict[str, Any]:
        full = None if topic is None else f"realtime:{topic}"
        return await self.wait(
            lambda f: f["event"] == event and (full is None or f["topic"] == full)
        )

    async def system(self, message: str) -> dict[str, Any]:
        """The payload of the next system message that contains `message`."""
        frame = await self.wait(
            lambda f: f["event"] == "system" and message in f["payload"]["message"]
        )
        return frame["payload"]

    async def subscribed(self, name: str, bindings: list[dict[str, Any]], **options: Any) -> Any:
        """Joins with bindings and waits until changes are sure to come."""
        reply = await self.join(name, {"postgres_changes": bindings}, **options)
        assert reply["status"] == "ok", reply
        await self.system("Subscribed to PostgreSQL")
        return reply

    async def change(self) -> dict[str, Any]:
        return (await self.event("postgres_changes"))["payload"]

    async def settle(self) -> None:
        """Until everything sent to us so far is here."""
        ref = await self.send("phoenix", "heartbeat", join_ref=None)
        await self.reply(ref)

    def count(self, event: str) -> int:
        return sum(frame["event"] == event for frame in self.frames)


def _parse(frame: str | bytes, version: int) -> Any:
    if isinstance(frame, bytes):
        topic, event, meta = frame[1], frame[2], frame[3]
        at = 5
        parts = []
        for length in (topic, event, meta):
            parts.append(frame[at : at + length])
            at += length
        return {
            "topic": parts[0].decode(),
            "event": "binary",
            "kind": frame[0],
            "user_event": parts[1].decode(),
            "meta": parts[2],
            "encoding": frame[4],
            "payload": frame[at:],
            "ref": None,
            "join_ref": None,
        }
    value = orjson.loads(frame)
    if version == 2:
        return dict(zip(("join_ref", "ref", "topic", "event", "payload"), value, strict=True))
    return value


@dataclass
class Stand:
    """One worker with its listener."""

    realtime: Realtime
    port: int
    database: FreshDatabase
    happened: list[Event]
    secrets: Secrets
    _stack: AsyncExitStack

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def token(self, role: str = "authenticated", ttl_s: float = 3600, **claims: Any) -> str:
        now = int(time.time())
        content = {"role": role, "iat": now, "exp": now + ttl_s, **claims}
        return sign_token(key_from_secret(self.secrets.jwt_secret), content)

    async def connect(self, token: str | None = None, *, version: int = 2, **params: str) -> Client:
        query = {"apikey": token or self.secrets.anon_key, "vsn": f"{version}.0.0", **params}
        url = httpx.URL(f"ws://127.0.0.1:{self.port}/websocket", params=query)
        socket = await websockets.connect(str(url), max_size=None)
        client = Client(socket, version)
        client.start()
        self._stack.push_async_callback(client.close)
        return client

    async def sql(self, *statements: str, user: str = "postgres") -> None:
        """Runs statements as the owner of the project, each its own transaction."""
        async with await psycopg.AsyncConnection.connect(
            self.database.conninfo(user), autocommit=True
        ) as connection:
            for statement in statements:
                await connection.execute(statement)

    async def fetch(self, statement: str) -> list[tuple[Any, ...]]:
        async with await psycopg.AsyncConnection.connect(
            self.database.conninfo(), autocommit=True
        ) as connection:
            return await (await connection.execute(statement)).fetchall()

    async def until(self, check: Callable[[], Awaitable[bool]], timeout_s: float = 10.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not await check():
                await asyncio.sleep(0.02)


Start = Callable[..., Awaitable[Stand]]


@pytest.fixture
async def start(fresh_database: FreshDatabase, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts workers on the test's database; all end with the test."""
    async with AsyncExitStack() as stack:

        async def make(bus: Bus | None = None, **settings: Any) -> Stand:
            happened: list[Event] = []
            events = Events(happened.append)
            database = Database(DatabaseSettings(conninfo=fresh_database.conninfo()), events)
            project = Project(
                ref="test",
                api_url="http://127.0.0.1",
                data_dir=tmp_path,
                database=_strip_user(database),
                secrets=SECRETS,
                layers=(ValuesLayer({**QUICK, **settings}),),
                events=events,
            )
            realtime = make_realtime(project, bus)
            await realtime.open()
            limits = replace(HttpLimits(), message_bytes_max=5_000_000)
            server = Server(realtime, events, limits=limits)
            port = await server.listen("127.0.0.1", 0)
            stack.push_async_callback(database.close)
            stack.push_async_callback(server.close)
            stack.push_async_callback(realtime.close)
            return Stand(realtime, port, fresh_database, happened, SECRETS, stack)

        yield make


def _strip_user(database: Database) -> Database:
    """Logins are chosen by the services; the private socket trusts them."""
    parts = psycopg.conninfo.conninfo_to_dict(database.settings.conninfo)
    parts.pop("user", None)
    database.settings = replace(database.settings, conninfo=psycopg.conninfo.make_conninfo(**parts))
    return database


@pytest.fixture
async def stand(start: Start) -> Stand:
    return await start()
