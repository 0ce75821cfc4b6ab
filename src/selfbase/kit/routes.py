"""Routes as data: method, path, handler, who may call, which body and which limit.

A path pattern is made of literal segments, `{name}` for one segment and `{name:rest}` for the
remaining path (last place only, at least one character).  Segments are percent-decoded after the
path is split, so that an encoded slash is part of a name and never a separator.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar
from urllib.parse import unquote

H = TypeVar("H")


class Access(Enum):
    """Who may call a route, checked by the service before its handler runs."""

    OPEN = "open"
    KEY = "any key"
    BEARER = "any bearer token"
    USER = "a user's token"
    SERVICE = "service role"


@dataclass(frozen=True, slots=True)
class Route(Generic[H]):
    """One operation of a service.  `operation` is a stable dotted name for logs and metrics."""

    method: str
    path: str
    handler: H
    operation: str
    access: Access = Access.KEY
    limit: str | None = None
    extra: Any = None


@dataclass(frozen=True, slots=True)
class Found(Generic[H]):
    route: Route[H]
    params: dict[str, str]


@dataclass(frozen=True, slots=True)
class NotFound:
    """`allowed` holds the methods other routes offer at this path: empty means 404, else 405."""

    allowed: tuple[str, ...]


class Router(Generic[H]):
    """Finds the route of a request.  Literal segments win over names, names over `rest`."""

    def __init__(self, routes: Iterable[Route[H]]) -> None:
        self._routes: list[tuple[list[str], Route[H]]] = []
        for route in routes:
            self._routes.append((route.path.strip("/").split("/"), route))
        self._routes.sort(key=lambda item: [_rank(part) for part in item[0]])
        self._literal: dict[tuple[str, str], Route[H]] = {
            (route.method, "/" + "/".join(parts)): route
            for parts, route in self._routes
            if not any(part.startswith("{") for part in parts)
        }

    @property
    def routes(self) -> Sequence[Route[H]]:
        return [route for _, route in self._routes]

    def find(self, method: str, raw_path: str) -> Found[H] | NotFound:
        """`raw_path` is percent-encoded and starts with a slash."""
        literal = self._literal.get((method, raw_path))
        if literal is not None:
            return Found(literal, {})
        segments = raw_path.lstrip("/").split("/")
        allowed: list[str] = []
        for parts, route in self._routes:
            params = _match(parts, segments)
            if params is None:
                continue
            if route.method == method:
                return Found(route, params)
            allowed.append(route.method)
        return NotFound(tuple(dict.fromkeys(allowed)))


def _rank(part: str) -> int:
    if not part.startswith("{"):
        return 0
    return 2 if part.endswith(":rest}") else 1


def _match(parts: list[str], segments: list[str]) -> dict[str, str] | None:
    params: dict[str, str] = {}
    for index, part in enumerate(parts):
        if part.endswith(":rest}"):
            rest = "/".join(segments[index:])
            if not rest:
                return None
            params[part[1:-6]] = unquote(rest)
            return params
        if index >= len(segments):
            return None
        if part.startswith("{"):
            if not segments[index]:
                return None
            params[part[1:-1]] = unquote(segments[index])
        elif part != segments[index]:
            return None
    return params if len(parts) == len(segments) else None
