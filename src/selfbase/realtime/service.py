"""Realtime of one project: connections in, rooms and database changes out.

    socket ──► Connection ──► SocketProtocol (pure) ──► Channel ──► Rooms ──► other sockets, bus
                                                           └──────► Feed ◄── replication slot

`connect` serves one WebSocket from upgrade to end, `answer` the HTTP surface.  The database may be
down at any time: connections wait or are told, and what was subscribed is resumed.
Source: reference/realtime.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Sequence
from datetime import timedelta
from importlib import resources
from pathlib import Path

import psycopg

from selfbase.database.database import Database, DatabaseSettings
from selfbase.database.failures import DatabaseFailure
from selfbase.database.migrations import apply_migrations
from selfbase.http.values import Request, Response, WebSocket, json_response
from selfbase.identity.apikeys import KeyRing
from selfbase.identity.tokens import TokenVerifier, key_from_secret, keys_from_text
from selfbase.kit.clock import Clock
from selfbase.kit.events import Events
from selfbase.kit.failures import ConfigurationError, Failure
from selfbase.kit.routes import Found, Router
from selfbase.kit.settings import Layer, load_settings
from selfbase.project import Health, Project
from selfbase.realtime.authorization import LOGIN, Authorizer
from selfbase.realtime.bus.inprocess import InProcessBus
from selfbase.realtime.bus.machine import MachineBus
from selfbase.realtime.bus.port import Bus
from selfbase.realtime.cluster import CHANGES_TOPIC, Cluster, Hooks
from selfbase.realtime.connection import Connection
from selfbase.realtime.core import Core, Tasks
from selfbase.realtime.errors import RealtimeFailure, Restarting, Suspended, TooManyConnections
from selfbase.realtime.events import ConnectionRefused, TaskFailed
from selfbase.realtime.handlers import read_headers, render_failure
from selfbase.realtime.janitor import tend_partitions
from selfbase.realtime.logic.frames import Broadcast, parse_version
from selfbase.realtime.meters import Meters
from selfbase.realtime.replication.feed import Feed, Links
from selfbase.realtime.rooms import Rooms
from selfbase.realtime.routes import ROUTES, SOCKET_PATHS
from selfbase.realtime.settings import RealtimeSettings, StandaloneSettings
from selfbase.realtime.tokens import Doorkeeper

MIGRATIONS = resources.files("selfbase.realtime") / "sql" / "migrations"
SWEEP_S = 5.0
PREPARE_RETRY_S = 1.0
GOING_AWAY = 1012


class Realtime:
    """The service.  `name` and the methods are `project.Service`."""

    name = "realtime"

    def __init__(
        self,
        ref: str,
        settings: RealtimeSettings,
        database: Database,
        *,
        tokens: TokenVerifier,
        keys: KeyRing,
        events: Events,
        clock: Clock,
        bus: Bus,
        worker: str,
    ) -> None:
        self.ref = ref
        self._router = Router(ROUTES)
        self._prepared = asyncio.Event()
        self._background: list[asyncio.Task[None]] = []
        self._state = Health.STOPPED
        meters = Meters(clock, ref)
        rooms = Rooms(bus, worker, meters.count_messages)
        self._cluster = Cluster(
            bus,
            worker,
            Hooks(
                receive_room=rooms.receive,
                receive_changes=lambda data: self.core.feed.receive(data),
                on_worker_lost=rooms.drop_worker,
                on_leader=lambda ready: self.core.feed.reader.follow(ready=ready),
                on_bus=self._on_bus,
                on_disconnect=self._disconnect_here,
                is_leading=lambda: self.core.feed.reader.is_leading,
                is_wanted_here=lambda: bool(self.core.connections),
            ),
            beat_s=settings.worker_beat_s,
            clock=clock,
            events=events,
        )
        links = Links(
            send=self._send_from_sql,
            publish=lambda data: bus.publish(CHANGES_TOPIC, data),
            is_wanted=self._cluster.is_wanted,
            list_workers=self._cluster.list_workers,
            is_shared=bus.is_shared,
            worker=worker,
        )
        self.core = Core(
            settings=settings,
            database=database,
            clock=clock,
            events=events,
            doorkeeper=Doorkeeper(tokens, keys, clock, settings.claim_validators),
            authorizer=Authorizer(database, settings.authorization_timeout_s),
            rooms=rooms,
            feed=Feed(settings, database, links, clock=clock, events=events, meters=meters),
            meters=meters,
            tasks=Tasks(events),
            worker=worker,
        )

    # The service

    async def open(self) -> None:
        """Starts; the schema is made as soon as the database answers."""
        self._state = Health.STARTING
        await self._cluster.open()
        loop = asyncio.get_running_loop()
        try:
            await self._prepare()
        except (DatabaseFailure, psycopg.OperationalError):
            self._background.append(loop.create_task(self._prepare_later(), name="prepare"))
        self._background.append(loop.create_task(self._sweep(), name="sweep sockets"))
        if self.core.settings.janitor:
            self._background.append(loop.create_task(self._tend(), name="janitor"))

    async def _prepare(self) -> None:
        conninfo = self.core.database.conninfo_for(LOGIN, application_name="selfbase-realtime")
        await asyncio.to_thread(_migrate, conninfo)
        await self._tend_once()
        self._prepared.set()
        self._state = Health.HEALTHY

    async def _prepare_later(self) -> None:
        while not self._prepared.is_set():
            await asyncio.sleep(PREPARE_RETRY_S)
            with contextlib.suppress(DatabaseFailure, psycopg.OperationalError):
                await self._prepare()

    async def close(self) -> None:
        """Sends clients away so that they come back elsewhere, and waits for everything."""
        self.core.draining = True
        self._disconnect_here()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        closing = [connection.socket.close(GOING_AWAY) for connection in self.core.connections]
        await asyncio.gather(*closing, return_exceptions=True)
        await self.core.feed.close()
        await self._cluster.close()
        await self.core.rooms.close()
        await self.core.tasks.close()
        self._state = Health.STOPPED

    async def health(self) -> Health:
        return self._state

    async def is_database_up(self) -> bool:
        """Whether the database answers now."""
        try:
            async with self.core.database.as_service("health check", login=LOGIN) as tx:
                await tx.execute("select 1")
        except DatabaseFailure:
            return False
        return True

    async def answer(self, request: Request) -> Response:
        """One HTTP request."""
        found = self._router.find(request.method, request.path)
        if not isinstance(found, Found):
            if request.path in SOCKET_PATHS:
                return json_response({"error": "expected a WebSocket upgrade"}, 426)
            status = 405 if found.allowed else 404
            return json_response({"error": "Not found"}, status)
        request.params = found.params
        try:
            return await found.route.handler(self, request)
        except Failure as failure:
            return render_failure(failure)

    # Connections

    async def connect(self, socket: WebSocket) -> None:
        """One WebSocket: checks the opening, then serves it to its end."""
        request = socket.request
        version = parse_version(request.query_value("vsn"))
        try:
            if request.path not in SOCKET_PATHS:
                raise RealtimeFailure("Not found", status=404)
            if version is None:
                raise RealtimeFailure("Unknown serializer version", status=403)
            token = self._admit(request)
        except RealtimeFailure as failure:
            self.core.events.emit(ConnectionRefused(failure.code, request.client))
            # A client that is refused tries again at once: the pause is what slows it down.
            await asyncio.sleep(self.core.settings.connect_error_pause_s)
            await socket.reject(json_response({"error": failure.message}, failure.status))
            return
        await socket.accept()
        self.core.feed.touch()
        if not self.core.connections:
            # The worker that reads the log must not stop for want of clients.
            asyncio.get_running_loop().call_soon(self._cluster.show)
        await Connection(self.core, socket, version, token, read_headers(request)).run()

    def _admit(self, request: Request) -> str:
        core = self.core
        if core.draining:
            raise Restarting
        if core.settings.is_off:
            raise Suspended("Realtime was disabled for this tenant")
        if len(core.connections) >= core.settings.connections_max:
            raise TooManyConnections
        token = request.headers.get("x-api-key") or request.query_value("apikey") or ""
        return core.doorkeeper.verify(token).caller.token

    def disconnect_all(self) -> None:
        """Ends every connection of the project, on all workers."""
        self._cluster.disconnect_all()

    def _disconnect_here(self) -> None:
        for connection in list(self.core.connections):
            for channel in connection.channels.values():
                channel.tell_system("system", "ok", "Server requested disconnect")
            connection.drop(GOING_AWAY, "server requested disconnect")

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            now_s = self.core.clock.monotonic_s()
            for connection in list(self.core.connections):
                connection.check_idle(now_s)

    # Parts meeting

    def _send_from_sql(self, private: bool, subtopic: str, message: Broadcast) -> None:
        self.core.meters.count_messages(1)
        self.core.rooms.send((private, subtopic), message)

    def _on_bus(self, up: bool) -> None:
        status = "ok" if up else "error"
        message = (
            "Connection to other servers restored"
            if up
            else "Connection to other servers lost: messages from there may be missing"
        )
        for connection in list(self.core.connections):
            for channel in list(connection.channels.values()):
                channel.tell_system("system", status, message)
        if up:
            self.core.rooms.resync()

    # The partitions of realtime.messages

    async def _tend(self) -> None:
        await self._prepared.wait()
        while True:
            await asyncio.sleep(self.core.settings.janitor_interval_s)
            try:
                await self._tend_once()
            except DatabaseFailure as failure:
                self.core.events.emit(TaskFailed("janitor", failure.sqlstate))

    async def _tend_once(self) -> None:
        if self.core.settings.janitor:
            keep = timedelta(hours=self.core.settings.messages_keep_hours)
            await tend_partitions(self.core.database, self.core.clock.now(), keep)


def _migrate(conninfo: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        apply_migrations(connection, "realtime", MIGRATIONS)


def migrate_realtime(conninfo: str) -> None:
    """Brings the realtime schema of a bootstrapped database up to this release."""
    _migrate(conninfo)


def make_bus(address: str, ref: str, worker: str) -> Bus:
    """The bus a setting names.  Raises ConfigurationError."""
    if not address:
        return InProcessBus()
    if address.startswith("unix:"):
        return MachineBus(Path(address.removeprefix("unix:")))
    if address.startswith(("redis://", "rediss://")):
        # Only here, because the client is large and most installations have no Redis.
        from selfbase.realtime.bus.redis import RedisBus

        return RedisBus(address, ref, worker)
    raise ConfigurationError(
        "realtime: bus is not an address we know", hint="Use unix:<path> or redis://host:port."
    )


def make_realtime(project: Project, bus: Bus | None = None) -> Realtime:
    """Realtime of a project.  `bus` replaces the one the settings name."""
    settings = load_settings(RealtimeSettings, project.layers, owner="realtime")
    worker = secrets.token_hex(16)
    return Realtime(
        project.ref,
        settings,
        project.database,
        tokens=project.tokens,
        keys=project.keys,
        events=project.events,
        clock=project.clock,
        bus=bus or make_bus(settings.bus, project.ref, worker),
        worker=worker,
    )


def make_standalone_realtime(layers: Sequence[Layer], events: Events, clock: Clock) -> Realtime:
    """Realtime alone, against any database, set by the upstream environment names."""
    settings = load_settings(RealtimeSettings, layers, owner="realtime")
    given = load_settings(StandaloneSettings, layers, owner="realtime")
    parts = {
        "host": given.db_host,
        "port": str(given.db_port),
        "dbname": given.db_name,
        "user": given.db_user,
        "sslmode": "require" if given.db_ssl else "prefer",
    }
    database = Database(
        DatabaseSettings(
            conninfo=psycopg.conninfo.make_conninfo(**parts),
            passwords={given.db_user: given.db_password.reveal()},
            user=given.db_user,
        ),
        events,
    )
    keys = [key_from_secret(given.jwt_secret.reveal())]
    if given.jwks:
        keys += keys_from_text(given.jwks.reveal())
    worker = secrets.token_hex(16)
    return Realtime(
        given.ref,
        settings,
        database,
        tokens=TokenVerifier(keys),
        keys=KeyRing(()),
        events=events,
        clock=clock,
        bus=make_bus(settings.bus, given.ref, worker),
        worker=worker,
    )
