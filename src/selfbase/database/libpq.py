"""One libpq function that psycopg does not offer: end a pipeline without sending it yet.

`PQsendPipelineSync` (libpq 17) lets several batches travel in one write.  It is called in the very
library psycopg has loaded; where that cannot be found the caller falls back to `pipeline_sync`.
Source: PostgreSQL documentation, 32.5.2.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

VERSION_MIN = 170000


@lru_cache(maxsize=1)
def find_send_sync() -> Callable[[int], int] | None:
    """The function, taking `PGconn.pgconn_ptr` and answering 1 or 0; None when it is not there."""
    path = _find_loaded_library()
    if path is None:
        return None
    library = ctypes.CDLL(path)
    version = library.PQlibVersion
    version.restype = ctypes.c_int
    if version() < VERSION_MIN:
        return None
    function = library.PQsendPipelineSync
    function.argtypes = [ctypes.c_void_p]
    function.restype = ctypes.c_int
    send_sync: Callable[[int], int] = function
    return send_sync


def _find_loaded_library() -> str | None:
    if sys.platform != "linux":
        return None
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.partition("/")[1] + line.partition("/")[2]
        name = path.rpartition("/")[2]
        if name.startswith("libpq") and ".so" in name:
            return path
    return None
