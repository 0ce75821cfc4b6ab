"""Cross-origin answers, for the service standing alone (in a project the gateway gives them).

Source: the Fetch standard; reference/rest.md section 7.2.
"""

from __future__ import annotations

from collections.abc import Sequence

from selfbase.http.values import Request, Response

_EXPOSED = (
    "Content-Encoding, Content-Location, Content-Range, Content-Type, Date, Location, Server,"
    " Transfer-Encoding, Range-Unit"
)


def is_preflight(request: Request) -> bool:
    return (
        request.method == "OPTIONS"
        and "origin" in request.headers
        and "access-control-request-method" in request.headers
    )


def _allow_origin(request: Request, origins: Sequence[str]) -> list[tuple[str, str]]:
    origin = request.headers.get("origin")
    if not origins:
        return [("Access-Control-Allow-Origin", "*")]
    if origin not in origins:
        return []
    return [
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Allow-Credentials", "true"),
        ("Vary", "Origin"),
    ]


def answer_preflight(request: Request, origins: Sequence[str]) -> Response:
    """The answer to a preflight; `origins` empty allows any."""
    asked = request.headers.get("access-control-request-headers")
    named = [name.strip() for name in asked.split(",") if name.strip()]
    allowed = ["Authorization", *named, "Accept", "Accept-Language", "Content-Language"]
    headers = [
        *_allow_origin(request, origins),
        ("Access-Control-Allow-Methods", "GET, POST, PATCH, PUT, DELETE, OPTIONS, HEAD"),
        ("Access-Control-Allow-Headers", ", ".join(allowed)),
        ("Access-Control-Max-Age", "86400"),
    ]
    return Response(200, headers, b"")


def add_trace_header(request: Request, response: Response, name: str) -> None:
    """Echoes the configured header, so that a request can be followed through."""
    if name:
        value = request.headers.find(name.lower())
        if value is not None:
            response.headers.append((name, value))


def add_cors_headers(request: Request, response: Response, origins: Sequence[str]) -> None:
    """Adds to an answer what lets a browser's script read it."""
    if "origin" not in request.headers or response.header("access-control-allow-origin"):
        return
    response.headers += _allow_origin(request, origins)
    response.headers.append(("Access-Control-Expose-Headers", _EXPOSED))
