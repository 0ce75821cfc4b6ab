"""The parse stage: what the client asks for, with nothing looked up yet.

`Ask` is hashable and holds no values, so it is the key under which the compiled request is kept.
Source: reference/rest.md sections 1.6, 2.1 and 2.8.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple
from urllib.parse import unquote

from selfbase.rest.errors import (
    RestFailure,
    range_failure,
    unacceptable_schema,
)
from selfbase.rest.logic.media import MediaType
from selfbase.rest.logic.payload import Payload
from selfbase.rest.logic.preferences import Preferences
from selfbase.rest.logic.scan import Scan, Shape

Action = Literal["read", "insert", "update", "upsert", "delete", "call", "info", "root"]
Target = Literal["relation", "function", "root"]

_RANGE = re.compile(r"^([0-9]{1,18})-([0-9]{0,18})$")
_ACTIONS: dict[tuple[str, str], Action] = {
    ("relation", "GET"): "read",
    ("relation", "HEAD"): "read",
    ("relation", "POST"): "insert",
    ("relation", "PATCH"): "update",
    ("relation", "PUT"): "upsert",
    ("relation", "DELETE"): "delete",
    ("relation", "OPTIONS"): "info",
    ("function", "GET"): "call",
    ("function", "HEAD"): "call",
    ("function", "POST"): "call",
    ("function", "OPTIONS"): "info",
    ("root", "GET"): "root",
    ("root", "HEAD"): "root",
    ("root", "OPTIONS"): "info",
}


class Ask(NamedTuple):
    """One kind of request.  `body` is None when no body counts."""

    method: str
    action: Action
    target: Target
    name: str
    schema: str
    profiled: bool
    shape: Shape
    accept: tuple[MediaType, ...]
    preferences: Preferences
    content_type: MediaType
    body: BodyShape | None
    limited: bool
    offset: bool

    @property
    def calling(self) -> bool:
        return self.action == "call"


class BodyShape(NamedTuple):
    """`kind` is object, array, raw (parsed by nobody) or form.  `keys` are sorted; those of a form
    stand as they came, with repeats."""

    kind: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """The rows asked for: `limit` None means all."""

    offset: int = 0
    limit: int | None = None


@lru_cache(maxsize=1024)
def parse_path(path: str) -> tuple[Target, str]:
    """What the path names.  Raises RestFailure PGRST125."""
    segments = path.split("/")[1:]
    if segments and segments[-1] == "":
        segments.pop()
    if not segments:
        return "root", ""
    if len(segments) == 1:
        return "relation", unquote(segments[0])
    if len(segments) == 2 and segments[0] == "rpc":
        return "function", unquote(segments[1])
    raise RestFailure("PGRST125", 404, "Invalid path specified in request URL")


def choose_schema(
    method: str, accept_profile: str | None, content_profile: str | None, schemas: Sequence[str]
) -> tuple[str, bool]:
    """The schema and whether the answer names it.  Raises RestFailure PGRST106."""
    writing = method in ("POST", "PATCH", "PUT", "DELETE")
    profile = content_profile if writing else accept_profile
    if profile is None:
        return schemas[0], len(schemas) > 1
    if profile not in schemas:
        raise unacceptable_schema(profile, schemas)
    return profile, True


def decode_header(value: str | None) -> str | None:
    """A header's text: shells hand it over byte by byte, clients mean UTF-8."""
    if value is None or value.isascii():
        return value
    try:
        return value.encode("latin-1").decode()
    except ValueError:
        return value


def choose_action(target: Target, method: str) -> Action:
    """Raises RestFailure PGRST101, PGRST117."""
    action = _ACTIONS.get((target, method))
    if action is not None:
        return action
    if target == "function":
        raise RestFailure("PGRST101", 405, f"Cannot use the {method} method on RPC")
    raise RestFailure("PGRST117", 405, f"Unsupported HTTP method: {method}")


def decide_window(
    method: str, scan: Scan, range_header: str | None, rows_max: int | None
) -> Window:
    """The rows of the root.  Raises RestFailure PGRST103, PGRST114."""
    if scan.limit is None and scan.offset is None and range_header is None:
        return Window(0, rows_max)
    if scan.limit is not None and scan.limit < 0:
        raise range_failure("Limit should be greater than or equal to zero.")
    offset = max(scan.offset or 0, 0)
    limit = scan.limit
    if method == "PUT" and (scan.limit is not None or offset > 0):
        raise RestFailure(
            "PGRST114", 400, "limit/offset querystring parameters are not allowed for PUT"
        )
    found = _RANGE.match(range_header) if range_header and method == "GET" else None
    if found is not None and limit != 0:
        first = int(found[1])
        last = int(found[2]) if found[2] else None
        if limit is not None:
            end = offset + limit - 1
            last = end if last is None else min(last, end)
        offset = max(offset, first)
        if last is not None and last < offset:
            raise range_failure(
                "The lower boundary must be lower than or equal to the upper boundary in the"
                " Range header."
            )
        limit = None if last is None else last - offset + 1
    if limit == 0:
        # An empty window begins nowhere.
        offset = 0
    if rows_max is not None:
        limit = rows_max if limit is None else min(limit, rows_max)
    return Window(offset, limit)


def shape_body(payload: Payload | None) -> BodyShape | None:
    return None if payload is None else BodyShape(payload.kind, payload.keys)
