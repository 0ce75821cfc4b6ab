"""The child of `parser`: reads requests from standard input until it ends, answers on output.

A request is a length and the JSON of `[operation, argument]`; an answer is one letter (`o` for an
answer, `e` for bad SQL, `r` for SQL that may not run read-only), a length and bytes.
"""

from __future__ import annotations

import resource
import struct
import sys
from collections.abc import Callable
from typing import Any

import orjson

from selfbase.meta.errors import BadRequest, ReadOnly
from selfbase.meta.logic.classify import check_read_only, classify_sql
from selfbase.meta.logic.format_sql import format_sql
from selfbase.meta.logic.syntax import deparse_tree, parse_tree

MEMORY_BYTES_MAX = 2 * 1024**3

_LENGTH = struct.Struct(">I")


def _answer_nothing(sql: str) -> bytes:
    check_read_only(sql)
    return b""


_OPERATIONS: dict[str, Callable[[Any], bytes]] = {
    "parse": parse_tree,
    "deparse": lambda tree: deparse_tree(tree).encode(),
    "format": lambda sql: format_sql(sql).encode(),
    "classify": lambda sql: orjson.dumps(classify_sql(sql)),
    "check_read_only": _answer_nothing,
}


def answer(request: bytes) -> tuple[bytes, bytes]:
    """The letter and the bytes of one answer."""
    operation, argument = orjson.loads(request)
    try:
        return b"o", _OPERATIONS[operation](argument)
    except ReadOnly as refused:
        return b"r", refused.message.encode()
    except BadRequest as refused:
        return b"e", refused.message.encode()
    except (RecursionError, MemoryError):
        return b"e", b"The SQL is nested too deep to be parsed"


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while head := source.read(_LENGTH.size):
        letter, data = answer(source.read(*_LENGTH.unpack(head)))
        sink.write(letter + _LENGTH.pack(len(data)) + data)
        sink.flush()


if __name__ == "__main__":
    main()
