"""How large an object may be and of which type.

Source: reference/storage.md section 5.2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from selfbase.storage.errors import EntityTooLarge, InvalidMimeType, InvalidRequest
from selfbase.storage.types import FOLDER_PLACEHOLDER, Bucket

USER_METADATA_BYTES_MAX = 1024 * 1024
MIME_LENGTH_MAX = 1000

_SIZE = re.compile(r"(\d+(?:\.\d+)?)(gb|mb|kb|b)", re.IGNORECASE)
_UNITS = {"gb": 10**9, "mb": 10**6, "kb": 10**3, "b": 1}
_MIME_RULE = re.compile(
    r"[a-zA-Z0-9+.-]+/[a-zA-Z0-9+.-]+(;\s*charset=[a-zA-Z0-9-]+)?|[a-zA-Z0-9+.*-]*/?\*"
)


def parse_file_size_limit(value: int | float | str, global_max: int) -> int:
    """Bytes from a number or text such as `50MB` (decimal units, as clients know them).

    Raises InvalidRequest, and EntityTooLarge above the global limit.
    """
    if isinstance(value, str):
        match = _SIZE.fullmatch(value)
        if match is None:
            raise InvalidRequest("Invalid file size format, hint: use 20GB / 20MB / 30KB / 3B")
        value = float(match[1]) * _UNITS[match[2].lower()]
    size = int(value)
    if size > global_max:
        raise EntityTooLarge
    if size < 0:
        raise InvalidRequest("file_size_limit must be >= 0")
    return size


def check_mime_rules(rules: Sequence[str]) -> None:
    """Raises InvalidMimeType for a rule that could never be meant."""
    for rule in rules:
        if len(rule) > MIME_LENGTH_MAX or _MIME_RULE.fullmatch(rule) is None:
            raise InvalidMimeType(f"mime type {rule[:MIME_LENGTH_MAX]} is not supported")


def is_folder_placeholder(name: str) -> bool:
    """Whether this object only makes a folder visible."""
    return name.endswith(FOLDER_PLACEHOLDER)


def decide_bytes_max(bucket: Bucket, name: str, global_max: int, standard_max: int = 0) -> int:
    """The largest size of this object; `standard_max` counts for plain uploads when not 0."""
    if is_folder_placeholder(name):
        return 0
    limits = [global_max]
    if bucket.file_size_limit is not None:
        limits.append(bucket.file_size_limit)
    if standard_max > 0:
        limits.append(standard_max)
    return min(limits)


def check_mime_type(
    bucket: Bucket, name: str, mime_type: str, *, empty_refuses: bool = False
) -> None:
    """Raises InvalidMimeType when the bucket does not take this type.

    Types compare without parameters and without case, which takes more than the reference does.
    `empty_refuses`: an empty list refuses everything (resumable uploads) instead of nothing.
    """
    rules = bucket.allowed_mime_types
    if rules is None or (not rules and not empty_refuses) or is_folder_placeholder(name):
        return
    wanted = _bare(mime_type)
    for rule in rules:
        allowed = _bare(rule)
        if allowed in (wanted, "*/*", "*"):
            return
        if allowed.endswith("/*") and wanted.startswith(allowed[:-1]) and "/" in wanted:
            return
    raise InvalidMimeType(f"mime type {mime_type[:MIME_LENGTH_MAX]} is not supported")


def _bare(mime_type: str) -> str:
    return mime_type.partition(";")[0].strip().lower()
