"""The public route table, as data, in the order in which it is tried.

Every row matches a path prefix; the prefix is stripped and replaced by `upstream`.  Source:
reference/gateway-and-stack.md section 2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache


class Gate(Enum):
    """What a caller must show at the gateway, before the service's own judgement."""

    OPEN = "open"
    KEY = "key"
    SERVICE = "service"
    BLOCKED = "blocked"
    BASIC = "basic"


@dataclass(frozen=True, slots=True)
class Row:
    """One prefix.  A prefix that ends with a slash also matches the path without it.

    `exact` matches the path alone.  `keys` tells whether API keys are translated on the way.
    `timeout_s` of None leaves time to the service.  `raw` leaves the path as the client spelt it,
    for names in which slashes and dots are part of the name.
    """

    prefix: str
    service: str
    upstream: str
    gate: Gate
    timeout_s: float | None = 30.0
    exact: bool = False
    keys: bool = True
    raw: bool = False

    def rest_of(self, path: str) -> str | None:
        """What follows the prefix, or None when the row does not match."""
        if self.exact:
            return "" if path in (self.prefix, self.prefix + "/") else None
        if path.startswith(self.prefix):
            rest = path[len(self.prefix) :]
            if self.prefix.endswith("/") or not rest or rest[0] == "/":
                return rest
            return None
        if self.prefix.endswith("/") and path == self.prefix[:-1]:
            return ""
        return None


_OPEN_AUTH = (
    "/verify",
    "/callback",
    "/authorize",
    "/.well-known/jwks.json",
    "/.well-known/openid-configuration",
    "/.well-known/oauth-authorization-server",
    "/sso/saml/acs",
    "/sso/saml/metadata",
    "/oauth/authorize",
    "/oauth/token",
    "/oauth/clients/register",
    "/oauth/userinfo",
)

ROUTES: tuple[Row, ...] = (
    *(Row("/auth/v1" + path, "auth", path, Gate.OPEN) for path in _OPEN_AUTH),
    Row(
        "/.well-known/oauth-authorization-server",
        "auth",
        "/.well-known/oauth-authorization-server",
        Gate.OPEN,
    ),
    Row("/sso/saml/acs", "auth", "/sso/saml/acs", Gate.OPEN),
    Row("/sso/saml/metadata", "auth", "/sso/saml/metadata", Gate.OPEN),
    Row("/auth/v1/", "auth", "/", Gate.KEY),
    Row("/rest/v1", "rest", "/", Gate.SERVICE, exact=True),
    Row("/rest/v1/", "rest", "/", Gate.KEY, timeout_s=None),
    Row("/graphql/v1", "graphql", "/", Gate.KEY),
    Row("/realtime/v1/api/tenants", "realtime", "", Gate.BLOCKED),
    Row("/realtime/v1/api/openapi", "realtime", "", Gate.BLOCKED),
    Row("/realtime/v1/api/", "realtime", "/api/", Gate.KEY),
    Row("/realtime/v1/", "realtime", "/socket/", Gate.KEY),
    Row("/storage/v1/", "storage", "/", Gate.OPEN, timeout_s=None, raw=True),
    # Signed processing URLs; they carry whole addresses in their path.
    Row("/images/v1/", "images", "/", Gate.OPEN, timeout_s=None, raw=True),
    Row("/functions/v1/", "functions", "/", Gate.OPEN, timeout_s=150.0, keys=False),
    Row("/pg/", "meta", "/", Gate.SERVICE, timeout_s=150.0),
    Row("/api/mcp", "studio", "", Gate.BLOCKED),
    Row("/mcp", "studio", "", Gate.BLOCKED),
    Row("/analytics/v1/", "logs", "", Gate.BLOCKED),
    Row("/", "studio", "/", Gate.BASIC),
)


@dataclass(frozen=True, slots=True)
class Match:
    """`path` is what the service sees; `prefix` what was taken off the front; `whole` the path of
    the request in its one spelling."""

    row: Row
    path: str
    prefix: str
    whole: str


# Paths worth remembering: those of tables recur, those of files are long and many.
_KNOWN_MAX, _KNOWN_PATH_MAX = 1024, 128


class RouteTable:
    """Rows in order, looked up by the first segment of the path."""

    def __init__(self, rows: tuple[Row, ...] = ROUTES) -> None:
        if rows[-1].prefix != "/":
            raise ValueError("the last row must match everything")
        if len({row.prefix for row in rows}) < len(rows):
            raise ValueError("two rows have the same prefix")
        firsts = {_first_segment(row.prefix) for row in rows}
        self._rows = {
            first: tuple(row for row in rows if _first_segment(row.prefix) in (first, ""))
            for first in firsts
        }
        self._raw = tuple(row for row in rows if row.raw)
        self._recall = lru_cache(maxsize=_KNOWN_MAX)(self._match)

    def match(self, path: str) -> Match:
        """The row of a path as the client spelt it.  Raises PathRefused."""
        return self._recall(path) if len(path) <= _KNOWN_PATH_MAX else self._match(path)

    def _match(self, path: str) -> Match:
        return self.find_raw(path) or self.find(normalise_path(path))

    def find(self, path: str) -> Match:
        """The row of a normalised path."""
        for row in self._rows.get(_first_segment(path), self._rows[""]):
            rest = row.rest_of(path)
            if rest is not None:
                upstream = row.upstream
                joined = upstream + (rest.lstrip("/") if upstream.endswith("/") else rest)
                return Match(row, joined or "/", row.prefix.rstrip("/"), path)
        raise LookupError(path)

    def find_raw(self, path: str) -> Match | None:
        """The row of a path that must stay as it was spelt, or None."""
        for row in self._raw:
            if path.startswith(row.prefix):
                rest = path[len(row.prefix) :]
                return Match(row, row.upstream + rest, row.prefix.rstrip("/"), path)
        return None


def _first_segment(path: str) -> str:
    return path[1:].partition("/")[0]


class PathRefused(ValueError):
    """A path that different programs would read in different ways."""


_ESCAPED_SLASH = re.compile(r"%2f|%5c|\\", re.IGNORECASE)
_ESCAPED_DOT = re.compile(r"%2e", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x20\x7f]|%00", re.IGNORECASE)


def normalise_path(path: str) -> str:
    """One spelling for each path: no doubled slashes, no dot segments, no escaped separators.

    Raises PathRefused for escaped slashes, control characters, and paths that leave the root.
    """
    if _CONTROL.search(path):
        raise PathRefused("control characters")
    if "%" in path or "\\" in path:
        if _ESCAPED_SLASH.search(path):
            raise PathRefused("escaped slashes")
        path = _ESCAPED_DOT.sub(".", path)
    if "//" not in path and "/." not in path:
        return path
    kept: list[str] = []
    segments = [part for part in path.split("/") if part not in ("", ".")]
    for part in segments:
        if part == "..":
            if not kept:
                raise PathRefused("leaves the root")
            kept.pop()
        else:
            kept.append(part)
    slash = "/" if path.endswith(("/", "/.", "/..")) and kept else ""
    return "/" + "/".join(kept) + slash
