"""The body of a signed request as plain data: frames taken off, every announced digest checked.

Data is handed on while it arrives; a mismatch is known only at the end and raised there, so that
whoever stores the data must throw it away when the stream raises.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from selfbase.http.values import Request
from selfbase.storage.s3.authenticate import Proof
from selfbase.storage.s3.errors import (
    ContentSha256Mismatch,
    IncompleteBody,
    InvalidArgument,
    InvalidS3Request,
    MissingContentLength,
)
from selfbase.storage.s3.logic.checksums import (
    PREFIX,
    Digest,
    check_digest,
    find_announced,
    make_digest,
    parse_value,
    render_value,
)
from selfbase.storage.s3.logic.chunks import ChunkDecoder, Signing
from selfbase.storage.s3.logic.signature import (
    EMPTY_SHA256,
    UNSIGNED,
    make_chunk_signer,
    make_trailer_signer,
)

_STREAMING = {
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD": (True, False),
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER": (True, True),
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER": (False, True),
}
_SHA256 = re.compile(r"[0-9a-f]{64}")
# The frames around the data of a chunked body: more would be an attack on our patience.
_FRAMES_PART = 16


@dataclass
class Payload:
    """One body.  `length` is that of the data; `checksums` holds what was verified, for the
    answer's headers, once the stream has ended."""

    request: Request
    proof: Proof
    length: int
    checksums: dict[str, str]
    of_object: bool = True

    async def read(self, bytes_max: int) -> bytes:
        """The whole data.  Raises InvalidS3Request when it is longer than allowed."""
        if self.length > bytes_max:
            raise InvalidS3Request("The request body is too large.")
        return b"".join([piece async for piece in self.stream()])

    async def stream(self) -> AsyncIterator[bytes]:
        """The data as it arrives.  Raises S3Error, BodyIncomplete."""
        headers = dict(self.request.headers)
        announced = find_announced(headers) if self.of_object else {}
        claimed = self.proof.claim.payload or EMPTY_SHA256
        decoder = _find_decoder(claimed, self.proof, headers)
        trailing = _find_trailing(headers) if decoder is not None and decoder.with_trailer else []
        digests: dict[str, Digest] = {name: make_digest(name) for name in (*announced, *trailing)}
        content = hashlib.sha256() if _SHA256.fullmatch(claimed) else None
        watched: list[Digest] = [*digests.values(), *([content] if content else [])]
        taken = 0
        async for piece in self._pieces(decoder):
            taken += len(piece)
            if taken > self.length:
                raise IncompleteBody("The body is longer than its headers say.")
            for digest in watched:
                digest.update(piece)
            yield piece
        if decoder is not None:
            decoder.finish()
            announced |= {
                name: parse_value(name, decoder.trailers.get(f"{PREFIX}{name}", ""))
                for name in trailing
            }
        if taken != self.length:
            raise IncompleteBody("The body is shorter than its headers say.")
        if content is not None and not hmac.compare_digest(content.hexdigest(), claimed):
            raise ContentSha256Mismatch
        for name, value in announced.items():
            check_digest(name, digests[name], value)
        self.checksums.update(
            {
                f"{PREFIX}{name}": render_value(raw)
                for name, raw in announced.items()
                if name != "md5"
            }
        )

    async def _pieces(self, decoder: ChunkDecoder | None) -> AsyncIterator[bytes]:
        if decoder is None:
            async for piece in self.request.body.stream(self.length):
                yield piece
            return
        async for raw in self.request.body.stream(self.length * _FRAMES_PART + 64 * 1024):
            for piece in decoder.feed(raw):
                yield piece


def open_payload(request: Request, proof: Proof, *, of_object: bool = True) -> Payload:
    """The body's data.  Raises MissingContentLength, InvalidArgument."""
    decoded = request.headers.find("x-amz-decoded-content-length")
    streaming = (proof.claim.payload or "") in _STREAMING
    text = decoded if streaming else request.headers.find("content-length")
    if text is None:
        raise MissingContentLength
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise InvalidArgument("The length of the body is not a number.")
    return Payload(request, proof, int(text), {}, of_object)


def _find_decoder(claimed: str, proof: Proof, headers: dict[str, str]) -> ChunkDecoder | None:
    if claimed in _STREAMING:
        signed, with_trailer = _STREAMING[claimed]
        if not signed:
            return ChunkDecoder(None, with_trailer)
        signing = Signing(
            proof.claim.signature,
            make_chunk_signer(proof.key, proof.claim),
            make_trailer_signer(proof.key, proof.claim),
        )
        return ChunkDecoder(signing, with_trailer)
    if claimed.startswith("STREAMING-"):
        raise InvalidS3Request(f"The payload form {claimed[:80]} is not supported.")
    if claimed != UNSIGNED and _SHA256.fullmatch(claimed) is None:
        raise InvalidArgument(
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-… or a valid sha256 value."
        )
    if "aws-chunked" in headers.get("content-encoding", "").lower():
        raise InvalidS3Request("An aws-chunked body needs x-amz-content-sha256: STREAMING-….")
    return None


def _find_trailing(headers: dict[str, str]) -> list[str]:
    """The digests that come after the data."""
    names = [name.strip().lower() for name in headers.get("x-amz-trailer", "").split(",")]
    wanted = [name.removeprefix(PREFIX) for name in names if name.startswith(PREFIX)]
    if len(wanted) > 1:
        raise InvalidS3Request("Expecting a single trailing checksum.")
    return wanted
