"""The parent of all processes: starts them in order, starts them again, and ends them.

Order: PostgreSQL, then the worker that prepares the database, then the other workers.  A child that
ends is started again with a growing delay.  SIGTERM or Ctrl-C drains; a second one forces.  Every
step is one line in the log.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from selfbase.database.binaries import find_binaries
from selfbase.database.cluster import Cluster, end_orphan
from selfbase.database.cluster_errors import ClusterError
from selfbase.database.cluster_settings import ClusterSettings
from selfbase.database.postmaster import is_alive
from selfbase.kit.failures import ConfigurationError, Failure
from selfbase.supervisor.backoff import Backoff
from selfbase.supervisor.child import Child, start_child
from selfbase.supervisor.logfiles import POSTGRES_LOG, LogWriter, rotate_foreign
from selfbase.supervisor.messages import Orders
from selfbase.supervisor.options import (
    Ports,
    StartOptions,
    plan_overrides,
    plan_ports,
    render_public_url,
)
from selfbase.supervisor.scrape import MetricsPort, is_answering
from selfbase.supervisor.state import (
    State,
    find_leftover,
    take_lock,
    wait_for_workers,
    write_state,
)
from selfbase.workspace.dsn import split_admin_url
from selfbase.workspace.layout import Layout
from selfbase.workspace.settings import StackSettings

DRAIN_S = 15.0
POSTGRES_POLL_S = 0.2
START_TIMEOUT_S = 300.0
PROBES_FAILED_MAX = 3
# How long workers of a killed supervisor may take to answer what they were asked.
LEFTOVER_TIMEOUT_S = 20.0

Say = Callable[[str], None]


class Supervisor:
    """One running installation."""

    def __init__(
        self, options: StartOptions, stack: StackSettings, ref: str, say: Say | None = None
    ) -> None:
        self.layout = Layout(options.state_dir)
        self.layout.make()
        self._options = options
        self._stack = stack
        self._ref = ref
        self._say = say or (lambda text: None)
        self._log = LogWriter(self.layout.logs_dir, "supervisor")
        self._ports: Ports
        self._cluster: Cluster | None = None
        self._cluster_turn = asyncio.Lock()
        self._children: dict[int, Child] = {}
        self._stop = asyncio.Event()
        self._force = asyncio.Event()
        self._keepers: list[asyncio.Task[None]] = []
        self._state: State

    async def run(self, on_ready: Callable[[State], Awaitable[None]]) -> None:
        """Starts everything, calls `on_ready`, and returns when all has ended.

        Raises Failure or ClusterError with the reason when it cannot start; nothing is left then.
        """
        lock = take_lock(self.layout)
        if lock is None:
            raise ConfigurationError(
                f"Selfbase already runs in {self.layout.root}",
                hint="See it with: selfbase status. End it with: selfbase stop.",
            )
        self._watch_signals()
        try:
            await self._start()
            await on_ready(self._state)
            await self._stop.wait()
        finally:
            await self._end()
            lock.close()

    # Start

    async def _start(self) -> None:
        started_s = time.monotonic()
        # The first worker loads its code while PostgreSQL starts.
        first = await start_child(self._hear)
        try:
            await asyncio.to_thread(self._end_leftovers)
            self._ports = plan_ports(self._stack)
            self._state = self._make_state()
            write_state(self.layout, self._state)
            if not self._stack.db_url:
                await self._on_cluster(self._start_cluster)
            await self._start_first(first)
        except BaseException:
            first.kill()
            await first.wait()
            raise
        others = range(1, self._stack.workers)
        await asyncio.gather(*(self._start_worker(index) for index in others))
        self._metrics = MetricsPort(self.layout)
        await self._metrics.listen(self._ports.admin)
        for index in range(self._stack.workers):
            self._keep(self._keep_worker(index))
        if self._cluster is not None:
            self._keep(self._keep_cluster())
        took_s = round(time.monotonic() - started_s, 3)
        self._publish(status="running")
        self._note("stack.started", took_s=took_s, pid=os.getpid())

    async def _start_first(self, child: Child) -> None:
        """Waits for the worker that prepares the database, or its reason for failing."""
        self._children[0] = child
        await child.give(self._make_orders(0, prepare=True))
        await self._wait_ready(child)

    async def _wait_ready(self, child: Child) -> None:
        ready = asyncio.create_task(child.ready.wait())
        ended = asyncio.create_task(child.wait())
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait(
                (ready, ended, stopped), timeout=START_TIMEOUT_S, return_when="FIRST_COMPLETED"
            )
        finally:
            for task in (ready, stopped):
                task.cancel()
        if child.ready.is_set():
            return
        if self._stop.is_set():
            raise ConfigurationError("Stopped before the start was complete")
        if not ended.done():
            raise Failure(
                f"The worker was not ready within {START_TIMEOUT_S:g} s",
                hint=f"See the logs in {self.layout.logs_dir}",
            )
        code = ended.result()
        told = child.failure or {}
        raise Failure(
            told.get("message") or f"The worker ended with code {code} before it was ready",
            hint=told.get("hint") or f"See the logs in {self.layout.logs_dir}",
        )

    def _end_leftovers(self) -> None:
        """Ends what a killed supervisor of this folder left: it may hold the ports we are to use."""
        left = find_leftover(self.layout)
        if left is None:
            return
        if not wait_for_workers(self.layout, LEFTOVER_TIMEOUT_S):
            pids = " ".join(str(pid) for pid in left.workers if is_alive(pid))
            raise ConfigurationError(
                f"Workers of a supervisor that was killed do not end in {self.layout.root}",
                hint=f"Force them with: kill -9 {pids}",
            )
        end_orphan(self.layout.data_dir)
        self._note("stack.recovered", level="warning", pid=left.pid)

    def _start_cluster(self) -> None:
        stack = self._stack
        binaries = find_binaries(stack.postgres)
        settings = ClusterSettings(
            data_dir=self.layout.data_dir,
            log_path=self.layout.logs_dir / POSTGRES_LOG,
            host=stack.host,
            port=self._ports.db,
            size=stack.db_size,
            overrides=plan_overrides(stack.db_settings),
        )
        cluster = Cluster(binaries, settings)
        if not cluster.exists():
            self._say("Creating the database")
            cluster.create()
            self._note("postgres.created", version=binaries.version)
        self._cluster = cluster
        try:
            cluster.start()
        except BaseException:
            self._cluster = None
            raise
        self._note("postgres.started", pid=cluster.pid, version=binaries.version)

    async def _on_cluster(self, step: Callable[[], None]) -> None:
        """Runs a step that waits for PostgreSQL.  It goes on when we are cancelled meanwhile, so
        that the next step, which waits for it, finds a cluster that is whole."""
        async with self._cluster_turn:
            running = asyncio.create_task(asyncio.to_thread(step))
            try:
                await asyncio.shield(running)
            except asyncio.CancelledError:
                await asyncio.wait((running,))
                raise

    async def _start_worker(self, index: int) -> Child:
        child = await start_child(self._hear)
        self._children[index] = child
        try:
            await child.give(self._make_orders(index, prepare=False))
            await self._wait_ready(child)
        except BaseException:
            child.kill()
            raise
        return child

    def _make_orders(self, index: int, *, prepare: bool) -> Orders:
        stack, ports, cluster = self._stack, self._ports, self._cluster
        if cluster is not None:
            conninfo = f"host={cluster.socket_dir} port={cluster.port} dbname=postgres"
            admin = cluster.superuser_dsn()
        else:
            conninfo, admin = split_admin_url(stack.db_url)
        return Orders(
            index=index,
            prepare=prepare,
            workspace=str(self._options.workspace),
            state_dir=str(self.layout.root),
            host=stack.host,
            api_port=ports.api,
            public_url=render_public_url(stack, ports),
            reuse_port=stack.workers > 1,
            admin_socket=str(self.layout.run_dir / f"worker-{index}.sock"),
            conninfo=conninfo,
            admin_conninfo=admin,
            trusted=cluster is not None,
            smtp_port=ports.smtp,
            mail_port=ports.mail if index == 0 else None,
            db_host=stack.host,
            db_port=ports.db,
            overrides=self._options.overrides,
        )

    # Keep

    def _keep(self, coroutine: Any) -> None:
        self._keepers.append(asyncio.create_task(coroutine))

    async def _keep_worker(self, index: int) -> None:
        backoff = Backoff()
        child = self._children[index]
        while True:
            code = await self._wait_for_end(child)
            if self._stop.is_set():
                return
            backoff = backoff.after_end(time.monotonic() - child.started_s)
            self._note("worker.ended", level="error", index=index, code=code, pid=child.pid)
            self._publish(status="degraded", problem=f"worker {index} ended with code {code}")
            while True:
                await asyncio.sleep(backoff.delay_s)
                try:
                    child = await self._start_worker(index)
                    break
                except (Failure, OSError) as error:
                    if self._stop.is_set():
                        return
                    backoff = backoff.after_end(0)
                    self._note("worker.failed", level="error", index=index, error=str(error))
            self._note("worker.started", index=index, pid=child.pid)
            self._publish(status="running", problem=None)

    async def _wait_for_end(self, child: Child) -> int:
        """Its exit code.  One that answers nothing any more is ended first."""
        ended = asyncio.create_task(child.wait())
        silent = 0
        while True:
            await asyncio.wait((ended,), timeout=self._stack.worker_probe_s or None)
            if ended.done():
                return ended.result()
            socket = str(self.layout.run_dir / f"worker-{child.index}.sock")
            answers = await is_answering(socket, self._stack.worker_probe_s)
            silent = 0 if answers else silent + 1
            if silent >= PROBES_FAILED_MAX and not ended.done():
                self._note("worker.silent", level="error", index=child.index, pid=child.pid)
                child.kill()

    async def _keep_cluster(self) -> None:
        backoff = Backoff()
        cluster = self._cluster
        assert cluster is not None
        started_s = time.monotonic()
        while True:
            await asyncio.sleep(POSTGRES_POLL_S)
            process = cluster.process
            if process is not None and process.poll() is None:
                rotate_foreign(self.layout.logs_dir / POSTGRES_LOG)
                continue
            if self._stop.is_set():
                return
            code = process.returncode if process else None
            backoff = backoff.after_end(time.monotonic() - started_s)
            self._note("postgres.ended", level="error", code=code)
            self._publish(status="degraded", problem="PostgreSQL ended")
            await asyncio.sleep(backoff.delay_s)
            started_s = time.monotonic()
            try:
                await self._on_cluster(cluster.stop)
                await self._on_cluster(cluster.start)
            except (ClusterError, OSError) as error:
                self._note("postgres.failed", level="error", error=str(error))
                continue
            self._note("postgres.started", pid=cluster.pid)
            self._publish(status="running", problem=None)

    # End

    async def _end(self) -> None:
        self._stop.set()
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        forced = asyncio.create_task(self._force.wait())
        draining = asyncio.ensure_future(
            asyncio.gather(*(child.stop(DRAIN_S) for child in self._children.values()))
        )
        await asyncio.wait((forced, draining), return_when="FIRST_COMPLETED")
        if not draining.done():
            for child in self._children.values():
                child.kill()
            await draining
        forced.cancel()
        metrics = getattr(self, "_metrics", None)
        if metrics is not None:
            await metrics.close()
        if self._cluster is not None:
            await self._on_cluster(self._cluster.stop)
        last = find_leftover(self.layout)
        if last is not None and last.pid == os.getpid():
            self.layout.state_path.unlink()
        self._note("stack.stopped", pid=os.getpid())
        self._log.close()

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()

        def hear_signal() -> None:
            if self._stop.is_set():
                self._force.set()
                if self._cluster is not None and self._cluster_turn.locked():
                    self._cluster.hasten()
            self._stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, hear_signal)

    # Say

    def _hear(self, child: Child, message: dict[str, Any]) -> None:
        if message.get("is") == "progress":
            self._say(str(message.get("message")))
            self._note("stack.progress", message=message.get("message"))

    def _note(self, name: str, level: str = "info", **fields: Any) -> None:
        self._log.write("supervisor", name, level, fields)
        self._log.flush()

    def _make_state(self) -> State:
        return State(
            pid=os.getpid(),
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            ref=self._ref,
            api_url=render_public_url(self._stack, self._ports),
            host=self._stack.host,
            api_port=self._ports.api,
            db_port=self._ports.db,
            mail_port=self._ports.mail,
            admin_port=self._ports.admin,
            external_database=bool(self._stack.db_url),
            workspace=str(self._options.workspace),
            overrides={
                name: value
                for name, value in self._options.overrides.items()
                if name != "stack.db_url"
            },
        )

    def _publish(self, **changes: Any) -> None:
        self._state = replace(
            self._state,
            workers=[child.pid for child in self._children.values()],
            postgres_pid=self._cluster.pid if self._cluster else None,
            **changes,
        )
        try:
            write_state(self.layout, self._state)
        except Failure as failure:  # other commands see what was, and serving goes on
            self._note("state.unwritten", level="error", error=failure.message)
