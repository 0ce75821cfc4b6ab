"""Request heads that were parsed before, found by their bytes.

A client repeats its header fields with every request and changes the request line only.  The bytes
after that line, once the parser has taken them, lead straight to the fields it read.  There is no
second parser here: the request line must be of the plainest kind, and anything that is not, or not
known, goes the parser's way.
"""

from __future__ import annotations

import re

from selfbase.http.headers import Headers

# What RFC 3986 allows in a path and a query, nothing a parser could see differently.
_LINE = re.compile(rb"(GET|HEAD) (/[A-Za-z0-9\-._~!$&'()*+,;=:@%/?]*) HTTP/1\.1\r\n")
_END = b"\r\n\r\n"
_BYTES_MAX = 4096
_KNOWN_MAX = 512


class Heads:
    """The header fields seen lately on any connection of a server; bounded in number and size."""

    def __init__(self) -> None:
        self._known: dict[bytes, Headers] = {}

    def __len__(self) -> int:
        return len(self._known)

    def recall(self, data: bytes) -> tuple[str, str, Headers] | None:
        """Method, target and fields of the one request that `data` is, when its fields are known."""
        line = _LINE.match(data)
        if line is None:
            return None
        fields = self._known.get(data[line.end() :])
        if fields is None:
            return None
        method, target = line.groups()
        return method.decode(), target.decode(), fields.share()

    def keep(self, data: bytes, fields: Headers) -> None:
        """Remembers the fields of `data`, which is one request without a body, on a connection that
        goes on, if its request line is plain enough to be told apart from them."""
        line = _LINE.match(data)
        if line is None or len(data) - line.end() > _BYTES_MAX or data.find(_END) != len(data) - 4:
            return
        self._known[data[line.end() :]] = fields
        if len(self._known) > _KNOWN_MAX:
            del self._known[next(iter(self._known))]
