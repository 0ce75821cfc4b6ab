"""Cross-origin rules of Auth alone, where no gateway answers for it: every origin, by token.

Source: Fetch standard section 3.2; supabase/auth `internal/api/api.go` 2.196.
"""

from __future__ import annotations

from collections.abc import Sequence

from selfbase.http.headers import Headers
from selfbase.http.values import Response

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
HEADERS = (
    "accept", "authorization", "content-type", "x-client-ip", "x-client-info", "x-jwt-aud",
    "x-use-cookie", "x-supabase-api-version", "apikey",
)  # fmt: skip
EXPOSED = "X-Total-Count, Link, X-Supabase-Api-Version"


def is_preflight(method: str, headers: Headers) -> bool:
    return (
        method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers
    )


def answer_preflight(more: Sequence[str]) -> Response:
    """Says what scripts may send; `more` are further headers of the operator's."""
    allowed = ", ".join(dict.fromkeys((*HEADERS, *(name.strip().lower() for name in more))))
    return Response(
        204,
        [
            ("access-control-allow-origin", "*"),
            ("access-control-allow-methods", ", ".join(METHODS)),
            ("access-control-allow-headers", allowed),
            ("access-control-max-age", "600"),
        ],
    )


def add_cors(response: Response) -> None:
    """Lets scripts of any origin read the answer.  There are no cookies it could lay open."""
    response.headers.append(("access-control-allow-origin", "*"))
    response.headers.append(("access-control-expose-headers", EXPOSED))
