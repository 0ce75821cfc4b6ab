"""The framing `aws-chunked`: pieces of bytes go in, data comes out, signatures are checked.

    hexsize[;chunk-signature=…]\\r\\n data \\r\\n … 0[;chunk-signature=…]\\r\\n [trailers\\r\\n] \\r\\n

Data is handed on before its chunk's signature is known: whoever takes it must throw it away when
`feed` or `finish` raises.  Source: Amazon S3 API reference, "Signature calculations: chunked upload".
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from enum import Enum, auto

from selfbase.storage.s3.errors import IncompleteBody, SignatureDoesNotMatch
from selfbase.storage.s3.logic.signature import ChunkSigner

HEADER_BYTES_MAX = 256
TRAILER_BYTES_MAX = 8 * 1024
_HEADER = re.compile(rb"([0-9a-fA-F]{1,16})(?:;chunk-signature=([0-9a-f]{64}))?")


class _State(Enum):
    HEADER = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILER = auto()
    DONE = auto()


@dataclass(frozen=True, slots=True)
class Signing:
    """How chunks are signed, starting from the signature of the request."""

    seed: str
    chunk: ChunkSigner
    trailer: ChunkSigner


@dataclass
class ChunkDecoder:
    """Decodes one body.  `signing` is None for unsigned chunks; `with_trailer` says that trailing
    headers must follow the last chunk."""

    signing: Signing | None
    with_trailer: bool
    trailers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._state = _State.HEADER
        self._buffer = bytearray()
        self._left = 0
        self._claimed = ""
        self._previous = self.signing.seed if self.signing else ""
        self._hash = hashlib.sha256()
        self._last = False
        self._lines: list[bytes] = []
        self._trailer_bytes = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The data within the next bytes of the body.  Raises IncompleteBody,
        SignatureDoesNotMatch."""
        found: list[bytes] = []
        position = 0
        while position < len(data):
            if self._state is _State.DATA:
                piece = data[position : position + self._left]
                position += len(piece)
                self._take(piece, found)
            elif self._state is _State.DONE:
                raise IncompleteBody("There are bytes after the last chunk.")
            else:
                position = self._take_line(data, position)
        return found

    def finish(self) -> None:
        """The body has ended.  Raises IncompleteBody when it was cut off."""
        if self._state is not _State.DONE:
            raise IncompleteBody("The body ended before its last chunk was complete.")

    def _take(self, piece: bytes, found: list[bytes]) -> None:
        if self.signing is not None:
            self._hash.update(piece)
        found.append(piece)
        self._left -= len(piece)
        if self._left == 0:
            self._check_chunk()
            self._state = _State.DATA_END

    def _take_line(self, data: bytes, position: int) -> int:
        end = data.find(b"\n", position)
        stop = len(data) if end < 0 else end + 1
        self._buffer += data[position:stop]
        most = TRAILER_BYTES_MAX if self._state is _State.TRAILER else HEADER_BYTES_MAX
        if len(self._buffer) > most:
            raise IncompleteBody("A chunk header or trailer is too long.")
        if end >= 0:
            line = bytes(self._buffer)
            self._buffer.clear()
            if not line.endswith(b"\r\n") and self._state is not _State.TRAILER:
                raise IncompleteBody("A chunk header does not end as it must.")
            self._read_line(line.rstrip(b"\r\n"))
        return stop

    def _read_line(self, line: bytes) -> None:
        if self._state is _State.DATA_END:
            if line:
                raise IncompleteBody("A chunk is longer than its header says.")
            self._state = _State.HEADER
        elif self._state is _State.HEADER:
            self._read_header(line)
        else:
            self._read_trailer(line)

    def _read_header(self, line: bytes) -> None:
        match = _HEADER.fullmatch(line)
        if match is None or (self.signing is not None and match[2] is None):
            raise IncompleteBody("A chunk header is malformed.")
        self._left = int(match[1], 16)
        self._claimed = (match[2] or b"").decode()
        self._hash = hashlib.sha256()
        self._last = self._left == 0
        if self._last:
            self._check_chunk()
        self._state = _State.TRAILER if self._last else _State.DATA

    def _check_chunk(self) -> None:
        if self.signing is None:
            return
        expected = self.signing.chunk(self._previous, self._hash.hexdigest())
        if not hmac.compare_digest(expected, self._claimed):
            raise SignatureDoesNotMatch
        self._previous = expected

    def _read_trailer(self, line: bytes) -> None:
        if line:
            self._trailer_bytes += len(line)
            if self._trailer_bytes > TRAILER_BYTES_MAX or not self.with_trailer:
                raise IncompleteBody("There are trailing headers that were not announced.")
            self._lines.append(line)
            return
        if self.with_trailer:
            self._end_trailer()
        self._state = _State.DONE

    def _end_trailer(self) -> None:
        signed: list[bytes] = []
        signature: str | None = None
        for line in self._lines:
            name, colon, value = line.decode("latin-1").partition(":")
            name, value = name.strip().lower(), value.strip()
            if not colon or name in self.trailers:
                raise IncompleteBody("A trailing header is malformed.")
            if name == "x-amz-trailer-signature":
                signature = value
                continue
            self.trailers[name] = value
            signed.append(f"{name}:{value}\n".encode("latin-1"))
        if not self.trailers:
            raise IncompleteBody("The announced trailing headers are missing.")
        if self.signing is None:
            return
        digest = hashlib.sha256(b"".join(signed)).hexdigest()
        expected = self.signing.trailer(self._previous, digest)
        if signature is None or not hmac.compare_digest(expected, signature):
            raise SignatureDoesNotMatch
