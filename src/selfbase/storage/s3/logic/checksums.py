"""Digests of a body that a client may announce: MD5, the SHA family and the CRC family.

CRC32 is the interpreter's own; the others of the CRC family come from the C library of the AWS
Common Runtime, loaded when a client first asks for one.
Source: Amazon S3 user guide, "Checking object integrity".
"""

from __future__ import annotations

import hashlib
import hmac
import zlib
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from typing import Protocol

from selfbase.storage.s3.errors import BadDigest, InvalidDigest, InvalidS3Request

PREFIX = "x-amz-checksum-"
_SIZES = {"crc32": 4, "crc32c": 4, "crc64nvme": 8, "sha1": 20, "sha256": 32, "md5": 16}
# Names of the same family that say how, not what.
_NOT_DIGESTS = frozenset({"x-amz-checksum-algorithm", "x-amz-checksum-mode", "x-amz-checksum-type"})


class Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class _Crc:
    """A CRC that goes on from piece to piece."""

    def __init__(self, compute: Callable[[bytes, int], int], size: int) -> None:
        self._compute = compute
        self._size = size
        self._value = 0

    def update(self, data: bytes) -> None:
        self._value = self._compute(data, self._value)

    def digest(self) -> bytes:
        return (self._value & ((1 << (8 * self._size)) - 1)).to_bytes(self._size, "big")


def make_digest(name: str) -> Digest:
    """A fresh digest.  Raises InvalidS3Request for an algorithm nobody announced to know."""
    if name in ("sha1", "sha256", "md5"):
        return hashlib.new(name, usedforsecurity=False)
    if name == "crc32":
        return _Crc(zlib.crc32, 4)
    if name in ("crc32c", "crc64nvme"):
        from awscrt import checksums

        compute: Callable[[bytes, int], int] = getattr(checksums, name)
        return _Crc(compute, _SIZES[name])
    raise InvalidS3Request(f"The checksum algorithm {name} is not supported.")


def find_announced(headers: Mapping[str, str]) -> dict[str, bytes]:
    """The digests given in headers, by algorithm.  Raises InvalidDigest."""
    announced = {
        name.removeprefix(PREFIX): parse_value(name.removeprefix(PREFIX), value)
        for name, value in headers.items()
        if name.startswith(PREFIX) and name not in _NOT_DIGESTS
    }
    if "content-md5" in headers:
        announced["md5"] = parse_value("md5", headers["content-md5"])
    if len(announced.keys() - {"md5"}) > 1:
        raise InvalidS3Request("Expecting a single x-amz-checksum- header.")
    return announced


def parse_value(name: str, value: str) -> bytes:
    """A digest from its base64 form.  Raises InvalidDigest."""
    if name not in _SIZES:
        raise InvalidS3Request(f"The checksum algorithm {name} is not supported.")
    try:
        raw = b64decode(value, validate=True)
    except (Base64Error, ValueError):
        raise InvalidDigest from None
    if len(raw) != _SIZES[name]:
        raise InvalidDigest
    return raw


def check_digest(name: str, digest: Digest, announced: bytes) -> None:
    """Raises BadDigest."""
    if not hmac.compare_digest(digest.digest(), announced):
        raise BadDigest(f"The {name.upper()} you specified did not match the calculated checksum.")


def render_value(raw: bytes) -> str:
    return b64encode(raw).decode()
