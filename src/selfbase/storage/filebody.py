"""A file body as a stream, for those who need the bytes and not a socket."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

from selfbase.http.values import FileBody

_PIECE = 256 * 1024


async def read_file_body(body: FileBody) -> AsyncIterator[bytes]:
    """The bytes in pieces; closes the file at the end or when left early."""
    offset, left = body.offset, body.length
    try:
        while left > 0:
            piece = await asyncio.to_thread(os.pread, body.descriptor, min(_PIECE, left), offset)
            if not piece:
                raise OSError("file is shorter than promised")
            yield piece
            offset += len(piece)
            left -= len(piece)
    finally:
        os.close(body.descriptor)
