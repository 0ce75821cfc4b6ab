"""Large answers: which requests are streamed, and their bodies piece by piece.

PostgreSQL settles the rows (on disk when they are many), counts them, and hands them over through a
cursor; no more than a piece of them is ever in our memory.  Source: reference/rest.md section 10.2.
"""

from __future__ import annotations

from selfbase.database.stream import Row, RowStream
from selfbase.rest.logic.compile import Compiled
from selfbase.rest.logic.request import Window

# A body above this is streamed the next time; below it one answer is cheaper.
STREAM_BYTES = 1024 * 1024
# What one fetch should bring.
PIECE_BYTES = 256 * 1024
ROWS_MAX = 2000
FEW_ROWS = 100
STREAMS_FEW = 4
SIZES_MAX = 4000


class Sizes:
    """Remembers which kinds of request have large answers.

    A kind that was not seen yet is streamed at first, unless it is known to be small: few rows, or
    small tables only.
    """

    def __init__(self) -> None:
        self._large: dict[bytes, bool] = {}

    def is_streamed(self, compiled: Compiled, window: Window, open_streams: int) -> bool:
        if compiled.stream is None:
            return False
        known = self._large.get(compiled.stream.sql)
        if known is not None:
            return known
        if open_streams >= STREAMS_FEW:
            # Slow readers hold the connections of streams; others need not wait for one.
            return False
        few = window.limit is not None and window.limit <= FEW_ROWS
        return not few and not compiled.plan.read.is_small

    def note(self, compiled: Compiled, body_bytes: int) -> None:
        """Learns from an answer."""
        if compiled.stream is None:
            return
        large = body_bytes >= STREAM_BYTES
        sql = compiled.stream.sql
        if self._large.get(sql) is not large:
            self._large[sql] = large
            if len(self._large) > SIZES_MAX:
                del self._large[next(iter(self._large))]


class RowPieces:
    """The JSON array of a stream of rows, as pieces of bytes; closes the stream at its end.

    It is one `among` the open ones until then.
    """

    def __init__(self, rows: RowStream, among: set[RowPieces]) -> None:
        self._rows = rows
        self._among = among
        among.add(self)
        self._count = 10
        self._ended = False
        self._begun = False
        self._ready: list[bytes] = []

    async def start(self) -> Row:
        """The first row, which describes the rest."""
        first, *rest = await self._rows.fetch(self._count)
        self._take(rest, whole=len(rest) + 1 < self._count)
        return first

    async def read_small(self) -> bytes | None:
        """The whole body if it is short enough to be sent at once, else None."""
        held = [await self.__anext__()]
        size = len(held[0])
        while size < STREAM_BYTES:
            try:
                held.append(await self.__anext__())
            except StopAsyncIteration:
                return b"".join(held)
            size += len(held[-1])
        self._ready = held
        return None

    def __aiter__(self) -> RowPieces:
        return self

    async def __anext__(self) -> bytes:
        if self._ready:
            return self._ready.pop(0)
        if self._ended:
            self._among.discard(self)
            await self._rows.close(whole=True)
            raise StopAsyncIteration
        fetched = await self._rows.fetch(self._count)
        self._take(fetched, whole=len(fetched) < self._count)
        return self._ready.pop(0)

    def _take(self, rows: list[Row], *, whole: bool) -> None:
        texts = [row[2] or b"null" for row in rows]
        opening = b"" if self._begun else b"["
        if self._begun and texts:
            opening = b", \n "
        self._begun = True
        self._ended = whole
        body = opening + b", \n ".join(texts) + (b"]" if whole else b"")
        self._ready.append(body)
        average = max(1, len(body) // max(1, len(texts)))
        self._count = max(1, min(ROWS_MAX, PIECE_BYTES // average))

    async def aclose(self) -> None:
        """Gives the connection back, however much was read."""
        self._among.discard(self)
        await self._rows.close(whole=False)
