"""PostgreSQL's parser in a process of its own.

libpg_query is C and recursive: SQL nested deep enough, or a syntax tree made up by hand, ends the
process that parses it.  That process must not be the one that serves everybody, so a child parses,
and is replaced when it dies.  It starts with the first request and ends when it has been idle.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import sys
from pathlib import Path
from typing import Any

import orjson

import selfbase
from selfbase.meta.errors import BadRequest, Overloaded, ReadOnly

ANSWER_TIMEOUT_S = 10.0
IDLE_S = 30.0
WAITING_MAX = 50
ANSWER_BYTES_MAX = 256 * 1024 * 1024

_LENGTH = struct.Struct(">I")


class Parser:
    """Runs the operations of `parser_child`, one at a time."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._ended: list[asyncio.subprocess.Process] = []
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._idle: asyncio.TimerHandle | None = None

    async def run(self, operation: str, argument: Any) -> bytes:
        """The answer's bytes.  Raises BadRequest for SQL that cannot be parsed, ReadOnly for SQL
        that may change something when asked to check that, Overloaded."""
        if self._waiting >= WAITING_MAX:
            raise Overloaded
        self._waiting += 1
        try:
            async with self._turn:
                self._stop_idle_timer()
                try:
                    return await self._ask(operation, argument)
                finally:
                    loop = asyncio.get_running_loop()
                    self._idle = loop.call_later(IDLE_S, self._end)
        finally:
            self._waiting -= 1

    async def _ask(self, operation: str, argument: Any) -> bytes:
        request = orjson.dumps([operation, argument])
        process = await self._start()
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the parser was started without pipes")
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                process.stdin.write(_LENGTH.pack(len(request)) + request)
                await process.stdin.drain()
                outcome = await process.stdout.readexactly(1)
                (length,) = _LENGTH.unpack(await process.stdout.readexactly(4))
                if length > ANSWER_BYTES_MAX:
                    raise BadRequest("The syntax tree is too large")
                answer = await process.stdout.readexactly(length)
        except BaseException as error:
            # Whatever it was doing, the next request must not read the rest of this answer.
            self._end()
            if isinstance(error, (asyncio.IncompleteReadError, ConnectionError)):
                raise BadRequest("The SQL is nested too deep to be parsed") from None
            if isinstance(error, TimeoutError):
                raise BadRequest("The SQL is too large to be parsed in time") from None
            raise
        if outcome == b"r":
            raise ReadOnly(answer.decode())
        if outcome == b"e":
            raise BadRequest(answer.decode())
        return answer

    async def _start(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is not None:
            self._end()
        if self._process is None:
            # The child sees our package and nothing of our environment.
            path = str(Path(selfbase.__file__).parents[1])
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "selfbase.meta.parser_child",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
                # Ctrl-C at a terminal is for the parent, which ends the child by its pipe.
                start_new_session=True,
            )
        return self._process

    def _stop_idle_timer(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _end(self) -> None:
        """Kills the child; the next request gets a new one at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._ended = [old for old in self._ended if old.returncode is None]
            self._ended.append(self._process)
            self._process = None

    async def close(self) -> None:
        """Ends the child and waits for it."""
        self._stop_idle_timer()
        self._end()
        for process in self._ended:
            await process.wait()
        self._ended.clear()
