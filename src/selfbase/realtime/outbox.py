"""Writes once a turn of the loop what was sent to each socket in it.

A write is a system call, and the dearest part of a delivery: messages that come together leave
together.  Nothing waits longer than the turn that is already running.
"""

from __future__ import annotations

import asyncio
from typing import Protocol


class Writer(Protocol):
    """A connection with something to write."""

    def write_out(self) -> None: ...


class Outbox:
    """The connections that have something to write, in the order in which they got it."""

    __slots__ = ("_loop", "_scheduled", "_writers")

    def __init__(self) -> None:
        self._writers: list[Writer] = []
        self._scheduled = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, writer: Writer) -> None:
        """Has `write_out` called when this turn is over.  Each writer adds itself once a turn."""
        self._writers.append(writer)
        if not self._scheduled:
            self._scheduled = True
            self._loop = self._loop or asyncio.get_running_loop()
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        writers, self._writers = self._writers, []
        self._scheduled = False
        for writer in writers:
            writer.write_out()
