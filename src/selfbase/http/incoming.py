"""A request body as it arrives from a socket: bounded, and the sender waits while we are busy."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from selfbase.http.values import BodyIncomplete, BodyTooLarge


class IncomingBody:
    """Pieces of one request's body.

    `resume` and `pause` steer the sender; `on_first_read` sends `100 Continue` when asked to.
    Waiting for the next piece ends with BodyIncomplete after `timeout_s` or when the client leaves.
    """

    __slots__ = (
        "_buffered",
        "_finished",
        "_limit",
        "_lost",
        "_on_first_read",
        "_pause",
        "_pieces",
        "_resume",
        "_timeout_s",
        "_waiter",
        "declared",
    )

    def __init__(
        self,
        *,
        declared: int | None,
        buffer_bytes: int,
        timeout_s: float,
        pause: Callable[[], None],
        resume: Callable[[], None],
        on_first_read: Callable[[], None] | None = None,
    ) -> None:
        self.declared = declared
        self._pieces: deque[bytes] = deque()
        self._buffered = 0
        self._limit = buffer_bytes
        self._timeout_s = timeout_s
        self._pause = pause
        self._resume = resume
        self._on_first_read = on_first_read
        self._finished = False
        self._lost = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_finished(self) -> bool:
        """All of it has arrived."""
        return self._finished

    def feed(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._buffered += len(piece)
        if self._buffered > self._limit:
            self._pause()
        self._wake()

    def finish(self) -> None:
        self._finished = True
        self._wake()

    def lose(self) -> None:
        self._lost = True
        self._wake()

    def discard(self) -> None:
        """Forgets what arrived: the handler has answered without reading it."""
        self._pieces.clear()
        self._buffered = 0

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def read(self, bytes_max: int) -> bytes:
        pieces = [piece async for piece in self.stream(bytes_max)]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def stream(self, bytes_max: int | None = None) -> AsyncIterator[bytes]:
        if bytes_max is not None and self.declared is not None and self.declared > bytes_max:
            raise BodyTooLarge
        # Also for an empty body: botocore takes a final answer alone for a refusal, and then
        # misreads the next answer on this connection.
        if self._on_first_read is not None and (not self._finished or self.declared == 0):
            self._on_first_read()
            self._on_first_read = None
        taken = 0
        while True:
            if self._pieces:
                piece = self._pieces.popleft()
                self._buffered -= len(piece)
                taken += len(piece)
                if bytes_max is not None and taken > bytes_max:
                    raise BodyTooLarge
                if self._buffered <= self._limit // 2:
                    self._resume()
                yield piece
            elif self._finished:
                return
            elif self._lost:
                raise BodyIncomplete
            else:
                await self._next()

    async def _next(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._waiter
        except TimeoutError:
            raise BodyIncomplete(
                "No more of the request body arrived in time", status=408
            ) from None
        finally:
            self._waiter = None
