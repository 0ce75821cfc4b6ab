"""The headers of the tus protocol 1.0.0, read and judged.

Source: tus.io/protocols/resumable-upload (1.0.0, core, creation, expiration, termination,
creation-defer-length, creation-with-upload); reference/storage.md section 2.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from selfbase.http.headers import Headers
from selfbase.storage.errors import InvalidUploadId, StorageError

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,creation-defer-length,termination,expiration"
OFFSET_STREAM = "application/offset+octet-stream"
METADATA_BYTES_MAX = 1024 * 1024

_NUMBER = re.compile(r"\d{1,18}")
_METADATA_KEY = re.compile(r"[^\s,]+")
_UPLOAD_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
_SECONDS = re.compile(r"-?\d{1,18}")


class TusError(StorageError):
    """A request that the protocol does not allow; `message` is the plain text of the answer."""

    code, status, error = "TusError", 400, "TusError"


@dataclass(frozen=True, slots=True)
class Creation:
    """What a request to create an upload says.  `length` is None while it is deferred."""

    bucket_id: str
    name: str
    length: int | None
    raw_metadata: str
    mime_type: str
    cache_control: str
    user_metadata: dict[str, object] | None


def check_version(headers: Headers) -> None:
    """Raises TusError 412 when the client speaks another version."""
    if headers.get("tus-resumable") != VERSION:
        raise TusError("Tus-Resumable Required", status=412)


def parse_creation(headers: Headers) -> Creation:
    """Raises TusError."""
    if "upload-concat" in headers:
        raise TusError("Concatenation extension is not (yet) supported.", status=501)
    length_text, defer = headers.find("upload-length"), headers.find("upload-defer-length")
    if (length_text is None) == (defer is None) or (defer is not None and defer != "1"):
        raise TusError("Upload-Length or Upload-Defer-Length header required")
    length = None if length_text is None else parse_number(length_text, "Upload-Length")
    raw = headers.get("upload-metadata")
    metadata = parse_metadata(raw)
    bucket_id, name = metadata.get("bucketName", ""), metadata.get("objectName", "")
    if not bucket_id or not name:
        raise TusError(
            "Metadata header is required" if not raw else "Invalid Upload-Metadata header"
        )
    cache = metadata.get("cacheControl", "")
    return Creation(
        bucket_id,
        name,
        length,
        raw,
        metadata.get("contentType") or "application/octet-stream",
        f"max-age={cache}" if _SECONDS.fullmatch(cache) else "no-cache",
        _parse_user_metadata(metadata.get("metadata")),
    )


def parse_metadata(raw: str) -> dict[str, str]:
    """`Upload-Metadata`: keys and base64 values.  Raises TusError."""
    invalid = TusError("Upload-Metadata is invalid. Invalid Upload-Metadata header")
    found: dict[str, str] = {}
    if not raw:
        return found
    if len(raw) > METADATA_BYTES_MAX:
        raise TusError("Upload-Metadata is too large", status=413)
    for pair in raw.split(","):
        key, _, value = pair.strip().partition(" ")
        if not _METADATA_KEY.fullmatch(key) or key in found:
            raise invalid
        try:
            found[key] = b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, ValueError):
            raise invalid from None
    return found


def _parse_user_metadata(text: str | None) -> dict[str, object] | None:
    if not text:
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) and "\\u0000" not in text else None


def parse_number(text: str, header: str) -> int:
    """A count of bytes.  Raises TusError."""
    if not _NUMBER.fullmatch(text.strip()):
        raise TusError(f"{header} is invalid")
    return int(text)


def parse_offset(headers: Headers) -> int:
    """`Upload-Offset` of a PATCH.  Raises TusError."""
    text = headers.find("upload-offset")
    if text is None:
        raise TusError("Upload-Offset header required", status=403)
    if headers.get("content-type") != OFFSET_STREAM:
        raise TusError("Content-Type header required", status=403)
    return parse_number(text, "Upload-Offset")


def render_public_id(bucket_id: str, name: str, upload_id: str) -> str:
    """The last part of an upload's URL."""
    return urlsafe_b64encode(f"{bucket_id}/{name}/{upload_id}".encode()).decode().rstrip("=")


def parse_public_id(text: str) -> tuple[str, str, str]:
    """Bucket, name and id.  Raises InvalidUploadId."""
    invalid = InvalidUploadId(status=404)
    try:
        decoded = urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, ValueError):
        raise invalid from None
    bucket_id, slash, rest = decoded.partition("/")
    name, _, upload_id = rest.rpartition("/")
    if not slash or not bucket_id or not name or "\0" in decoded:
        raise invalid
    if _UPLOAD_ID.fullmatch(upload_id) is None:
        raise invalid
    return bucket_id, name, upload_id


def describe_upload(
    received: int, length: int | None, raw_metadata: str, expires: str | None
) -> list[tuple[str, str]]:
    """The headers that tell how far an upload is."""
    headers = [("upload-offset", str(received))]
    if length is None:
        headers.append(("upload-defer-length", "1"))
    else:
        headers.append(("upload-length", str(length)))
    if raw_metadata:
        headers.append(("upload-metadata", raw_metadata))
    if expires is not None:
        headers.append(("upload-expires", expires))
    return headers


def render_location(
    headers: Mapping[str, str], *, scheme: str, host: str, public_url: str | None, path: str
) -> str:
    """The absolute URL of an upload: one configured address wins over every header.

    `headers` are those a proxy sets, by lower-case name; `path` begins with the service's prefix.
    """
    if public_url:
        return public_url.rstrip("/") + path
    scheme = headers.get("x-forwarded-proto", "").split(",")[0].strip() or scheme
    forwarded = headers.get("x-forwarded-host", "").split(",")[0].strip()
    if forwarded:
        host = forwarded
        port = headers.get("x-forwarded-port", "")
        if port.isdigit() and port not in ("80", "443"):
            host = f"{re.sub(r':[0-9]+$', '', host)}:{port}"
    return f"{scheme}://{host}{path}"
