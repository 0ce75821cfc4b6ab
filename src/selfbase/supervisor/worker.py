"""A worker: one process that serves all services of its project on the shared port.

It is told what to do over standard input and reports over a pipe; when its parent dies it drains
and ends.  The first worker also brings the database up to date before anyone serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import uvloop

from selfbase.app import (
    Place,
    close_project,
    collect_orphans,
    load_services,
    make_gateway,
    make_project,
    open_services,
)
from selfbase.database.bootstrap import BootstrapError, bootstrap
from selfbase.database.migrations import MigrationError
from selfbase.gateway.health import probe_project
from selfbase.http.server import Server
from selfbase.http.values import Request, Response, WebSocket, json_response
from selfbase.identity.secrets import open_secrets
from selfbase.kit.events import Events
from selfbase.kit.failures import Failure
from selfbase.kit.settings import EnvLayer, Layer, TomlLayer, ValuesLayer, load_settings
from selfbase.project import Project
from selfbase.supervisor.logfiles import LogWriter
from selfbase.supervisor.messages import Orders, parse_message, parse_orders, render_message
from selfbase.supervisor.metrics import Metrics
from selfbase.supervisor.state import is_last_worker, known_as_worker
from selfbase.workspace.config_toml import UserFolder, list_secrets, open_user_folder
from selfbase.workspace.dsn import plan_passwords
from selfbase.workspace.layout import Layout
from selfbase.workspace.migrations import (
    apply_migrations,
    apply_seeds,
    find_seeds,
    list_migrations,
)
from selfbase.workspace.settings import StackSettings

FLUSH_S = 0.25


class AdminHandler:
    """The worker's own socket: metrics, health and maintenance, for supervisor and commands."""

    def __init__(self, project: Project, metrics: Metrics) -> None:
        self._project = project
        self._metrics = metrics

    async def answer(self, request: Request) -> Response:
        if request.path == "/metrics":
            kind = "text/plain; version=0.0.4; charset=utf-8"
            return Response(200, [("content-type", kind)], self._metrics.render().encode())
        if request.path == "/live":
            return json_response({"status": "LIVE"})
        if request.path == "/health":
            return json_response(await probe_project(self._project))
        if (request.method, request.path) == ("POST", "/storage/gc"):
            collect = collect_orphans(self._project, dry_run="dry_run=true" in request.query)
            return json_response(await collect)
        return Response(404)

    async def connect(self, socket: WebSocket) -> None:
        await socket.reject(Response(404))


@dataclass
class Worker:
    """What one worker holds while it runs."""

    orders: Orders
    layout: Layout
    events: Events
    log: LogWriter
    metrics: Metrics
    say: Callable[[dict[str, Any]], None]


def run_worker(environment: dict[str, str]) -> int:
    """Serves until told to stop; the exit code.  Reads its orders from standard input."""
    # The orders come when PostgreSQL is up; on a first start that takes a while.
    load_services()
    line = sys.stdin.buffer.readline()
    if not line:
        return 0
    orders = parse_orders(line)
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)

    def say(fields: dict[str, Any]) -> None:
        try:
            output.write(render_message(**fields))
        except BrokenPipeError:
            return  # the parent is gone; the closed input says so too and ends us

    layout = Layout(Path(orders.state_dir))
    log = LogWriter(layout.logs_dir, f"worker-{orders.index}")
    metrics = Metrics()
    worker = Worker(orders, layout, Events(log, metrics), log, metrics, say)
    with known_as_worker(layout) as mine:
        try:
            is_orphan = not uvloop.run(_serve(worker, environment))
        except (Failure, BootstrapError, MigrationError, psycopg.Error) as error:
            hint = getattr(error, "hint", None)
            say({"is": "failed", "message": str(error).strip(), "hint": hint})
            return 1
        finally:
            log.close()
        if is_orphan:
            if orders.trusted and is_last_worker(mine):
                _end_cluster(layout)
            # A thread that does not end must not hold up the next start, which waits for us.
            os._exit(0)
    return 0


def _end_cluster(layout: Layout) -> None:
    """Ends the PostgreSQL of a killed parent.  The next start would do so too, but who knows when."""
    from selfbase.database.cluster import end_orphan
    from selfbase.database.cluster_errors import ClusterError

    with contextlib.suppress(ClusterError):  # a new supervisor was faster
        end_orphan(layout.data_dir)


async def _serve(worker: Worker, environment: dict[str, str]) -> bool:
    """Whether the parent asked us to end; otherwise it is gone."""
    orders = worker.orders
    folder = open_user_folder(Path(orders.workspace), environment)
    layers = plan_layers(folder, orders.overrides)
    stack = load_settings(StackSettings, layers, owner="stack")
    secrets = open_secrets(worker.layout.secrets_path, stack.project_ref, list_secrets(folder))
    commands = await _open_commands()
    administrator = "" if orders.trusted else orders.admin_conninfo
    passwords = plan_passwords(secrets.database_passwords, administrator)
    if orders.prepare:
        await asyncio.to_thread(bootstrap, orders.admin_conninfo, passwords.to_set)
    place = Place(
        api_url=orders.public_url,
        data_dir=worker.layout.root,
        run_dir=worker.layout.run_dir,
        conninfo=orders.conninfo,
        passwords=passwords.to_use,
        smtp_port=orders.smtp_port,
    )
    project = make_project(secrets, layers, place, worker.events)
    closers: list[Callable[[], Awaitable[None]]] = [lambda: close_project(project)]
    flusher = asyncio.create_task(_flush(worker.log))
    try:

        async def migrate() -> None:
            if orders.prepare:
                conninfo = project.database.conninfo_for("postgres")
                await asyncio.to_thread(_migrate_user_folder, worker, folder, stack, conninfo)

        await open_services(project, migrate)
        closers += await _listen(worker, project)
        _settle_memory()
        worker.say({"is": "ready", "pid": os.getpid()})
        return await _obey(commands)
    finally:
        for close in reversed(closers):
            await close()
        flusher.cancel()


def _settle_memory() -> None:
    """Takes what is there after the start out of the garbage collector's sight, and lets it look
    less often: nearly all that a request makes is gone by reference count when it ends."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    gc.enable()


def plan_layers(folder: UserFolder, overrides: dict[str, Any]) -> list[Layer]:
    """Sources of settings, strongest first."""
    return [ValuesLayer(overrides), EnvLayer(folder.variables), TomlLayer(folder.config)]


def _migrate_user_folder(
    worker: Worker, folder: UserFolder, stack: StackSettings, conninfo: str
) -> None:
    def say(text: str) -> None:
        worker.say({"is": "progress", "message": text})

    supabase = folder.supabase_dir
    if stack.migrations_enabled:
        apply_migrations(conninfo, list_migrations(supabase / "migrations"), say)
    if stack.seed_enabled:
        seeds = find_seeds(supabase, stack.seed_paths)
        apply_seeds(conninfo, folder.root, seeds, say)


async def _listen(worker: Worker, project: Project) -> list[Callable[[], Awaitable[None]]]:
    orders = worker.orders
    public = Server(make_gateway(project), worker.events)
    await public.listen(orders.host, orders.api_port, reuse_port=orders.reuse_port)
    admin = Server(AdminHandler(project, worker.metrics), worker.events)
    await asyncio.to_thread(Path(orders.admin_socket).unlink, missing_ok=True)
    await admin.listen_unix(orders.admin_socket)
    return [*await _catch_mail(worker), admin.close, public.close]


async def _catch_mail(worker: Worker) -> list[Callable[[], Awaitable[None]]]:
    """The mail catcher and its page, in the one worker that was given their ports."""
    orders = worker.orders
    if orders.smtp_port is None or orders.mail_port is None:
        return []
    from selfbase.auth.mail.catcher import MailCatcher

    catcher = MailCatcher("127.0.0.1", orders.smtp_port)
    await catcher.open()
    page = Server(catcher, worker.events)
    await page.listen("127.0.0.1", orders.mail_port)
    return [catcher.close, page.close]


async def _open_commands() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def _obey(commands: asyncio.StreamReader) -> bool:
    """True when told to stop, False when the parent is gone."""
    while line := await commands.readline():
        if parse_message(line).get("do") == "stop":
            return True
    return False


async def _flush(log: LogWriter) -> None:
    while True:
        await asyncio.sleep(FLUSH_S)
        log.flush()
