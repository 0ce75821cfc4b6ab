"""Cross-origin rules of the public port (Fetch standard, section 3.2): every origin, no credentials."""

from __future__ import annotations

from selfbase.http.headers import Headers
from selfbase.http.values import Response

METHODS = "GET, POST, PUT, PATCH, DELETE, OPTIONS, HEAD"
MAX_AGE_S = 3600
REQUEST_HEADERS = (
    "authorization, content-type, apikey, x-client-info, prefer, range, accept, accept-profile,"
    " content-profile, x-upsert, x-supabase-api-version, tus-resumable, upload-length,"
    " upload-metadata, upload-offset, upload-concat, upload-defer-length"
)
EXPOSED = (
    "content-range, content-location, content-length, content-type, location, link, date, server,"
    " x-total-count, preference-applied, upload-offset, upload-length, upload-expires,"
    " tus-resumable, etag, sb-request-id, sb-gateway-version, x-supabase-api-version,"
    " proxy-status, retry-after, server-timing"
)


def is_preflight(method: str, headers: Headers) -> bool:
    return (
        method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers
    )


def answer_preflight(headers: Headers) -> Response:
    """Allows what is asked for: keys and tokens decide, not origins."""
    asked = headers.get("access-control-request-headers", REQUEST_HEADERS)
    return Response(
        200,
        [
            ("access-control-allow-origin", "*"),
            ("access-control-allow-methods", METHODS),
            ("access-control-allow-headers", asked),
            ("access-control-max-age", str(MAX_AGE_S)),
            ("vary", "access-control-request-headers"),
        ],
    )


def add_cors(response: Response) -> None:
    """Lets scripts of any origin read the response; a service's own rules give way."""
    response.headers = [
        pair for pair in response.headers if not pair[0].lower().startswith("access-control-")
    ]
    response.headers.append(("access-control-allow-origin", "*"))
    response.headers.append(("access-control-expose-headers", EXPOSED))
