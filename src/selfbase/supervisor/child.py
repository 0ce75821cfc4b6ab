"""One worker process as its parent sees it: started, told, heard, ended."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from selfbase.supervisor.messages import Orders, parse_message, render_message, render_orders

MESSAGE_BYTES_MAX = 1 << 20

Hear = Callable[["Child", dict[str, Any]], None]


class Child:
    """A started worker.  `hear` gets each message it sends."""

    def __init__(self, process: asyncio.subprocess.Process, hear: Hear) -> None:
        self.index = -1
        self.ready = asyncio.Event()
        self.failure: dict[str, Any] | None = None
        self.started_s = time.monotonic()
        self.stopping = False
        self._process = process
        self._hear = hear
        self._listener = asyncio.create_task(self._listen())

    @property
    def pid(self) -> int:
        return self._process.pid

    async def give(self, orders: Orders) -> None:
        """Hands over the orders; the worker has been starting up meanwhile."""
        self.index = orders.index
        await self._write(render_orders(orders))

    async def _write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its end is noticed apart
            self._process.stdin.write(data)
            await self._process.stdin.drain()

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            message = parse_message(line)
            if message.get("is") == "ready":
                self.ready.set()
            elif message.get("is") == "failed":
                self.failure = message
            self._hear(self, message)

    async def wait(self) -> int:
        """The exit code, after all its messages were heard."""
        code = await self._process.wait()
        await self._listener
        return code

    async def stop(self, timeout_s: float) -> None:
        """Asks it to drain, and ends it when it takes too long."""
        self.stopping = True
        await self._write(render_message(do="stop"))
        try:
            async with asyncio.timeout(timeout_s):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()

    def kill(self) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)


async def start_child(hear: Hear) -> Child:
    """Starts a worker process.  It is in a session of its own, so that Ctrl-C reaches the parent
    alone, which then lets its children finish."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "selfbase.cli.main",
        "worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
        limit=MESSAGE_BYTES_MAX,
    )
    return Child(process, hear)
