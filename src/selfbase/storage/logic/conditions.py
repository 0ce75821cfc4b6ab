"""Conditional and range requests: whether to send, and which bytes.

Source: RFC 9110 sections 13.2.2 (order of conditions) and 14 (ranges).  Multi-part ranges are
answered with the whole, which the RFC allows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from selfbase.http.headers import Headers
from selfbase.storage.errors import InvalidRange

_RANGE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to answer: 200, 206, 304 or 412, and which bytes of the object."""

    status: int
    offset: int = 0
    length: int = 0


def plan_download(headers: Headers, etag: str, modified_at: datetime, size: int) -> Plan:
    """The answer to a GET or HEAD.  Raises InvalidRange."""
    status = decide_condition(headers, etag, modified_at)
    if status != 200:
        return Plan(status)
    wanted = headers.find("range")
    if wanted is None or not _range_applies(headers, etag, modified_at):
        return Plan(200, 0, size)
    return plan_range(wanted, size)


def decide_condition(headers: Headers, etag: str, modified_at: datetime) -> int:
    """200 to go on, 304 or 412 to stop."""
    match = headers.find("if-match")
    if match is not None:
        if not _names(match, etag, weak=False):
            return 412
    elif (since := _moment(headers.find("if-unmodified-since"))) and modified_at > since:
        return 412
    none_match = headers.find("if-none-match")
    if none_match is not None:
        return 304 if _names(none_match, etag, weak=True) else 200
    since = _moment(headers.find("if-modified-since"))
    return 304 if since is not None and modified_at <= since else 200


def plan_range(wanted: str, size: int) -> Plan:
    """The bytes of one range.  Raises InvalidRange for one that lies outside or makes no sense."""
    if "," in wanted or not wanted.lower().lstrip().startswith("bytes="):
        return Plan(200, 0, size)
    outside = InvalidRange(headers=[("content-range", f"bytes */{size}")])
    match = _RANGE.fullmatch(wanted.strip())
    if match is None or size == 0 or not (match[1] or match[2]):
        raise outside
    if not match[1]:
        length = min(int(match[2]), size)
        if length == 0:
            raise outside
        return Plan(206, size - length, length)
    first = int(match[1])
    last = min(int(match[2]), size - 1) if match[2] else size - 1
    if first >= size or last < first:
        raise outside
    return Plan(206, first, last - first + 1)


def _range_applies(headers: Headers, etag: str, modified_at: datetime) -> bool:
    condition = headers.find("if-range")
    if condition is None:
        return True
    if condition.strip().startswith('"'):
        return condition.strip() == etag and bool(etag)
    return _moment(condition) == modified_at


def _names(header: str, etag: str, *, weak: bool) -> bool:
    if header.strip() == "*":
        return True
    if not etag:
        return False
    wanted = etag.removeprefix("W/") if weak else etag
    for item in header.split(","):
        given = item.strip()
        if weak:
            given = given.removeprefix("W/")
        # Clients that lost the quotes mean the same.
        if given in (wanted, wanted.strip('"')):
            return True
    return False


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
