"""From what a client shows to what a service trusts: API keys to tokens.  Pure.

Source: reference/gateway-and-stack.md section 2.1, steps 3 to 9.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote_plus

from selfbase.gateway.routes import Gate
from selfbase.identity.apikeys import OPAQUE_PREFIX, ApiKey, KeyRing
from selfbase.kit.failures import Failure


class NoKey(Failure):
    code = "no_api_key"
    status = 401
    message = "No API key found in request"

    def __init__(self) -> None:
        super().__init__(hint="No `apikey` request header or url param was found.")


class InvalidKey(Failure):
    code = "invalid_api_key"
    status = 401
    message = "Invalid API key"

    def __init__(self) -> None:
        super().__init__(hint="Double check your Supabase `anon` or `service_role` API key.")


class WrongKey(Failure):
    code = "forbidden"
    status = 403
    message = "You cannot consume this service"

    def __init__(self) -> None:
        super().__init__(hint="This route needs the service_role or a secret API key.")


class Blocked(Failure):
    code = "forbidden"
    status = 403
    message = "Access is forbidden."


@dataclass(frozen=True, slots=True)
class Translated:
    """What goes on: `authorization` is the header's new value, None to remove it."""

    key: ApiKey | None
    query: str
    authorization: str | None = field(repr=False)


def translate_key(
    shown: str, authorization: str | None, query: str, ring: KeyRing, *, keep_query: bool
) -> Translated:
    """Finds the API key and makes the `Authorization` a service sees.

    `shown` is the `apikey` header, which wins over the query parameter.  A real JWT in
    `Authorization` is kept; anything else gives way to the key's token.  `keep_query` leaves the
    parameter in place, translated, for WebSocket services.
    """
    if "apikey=" in query:
        in_query, query = _take_parameter(query)
        shown = shown or in_query
    key = ring.find(shown) if shown else None
    if key is not None and keep_query:
        query = f"{query}&apikey={key.token}" if query else f"apikey={key.token}"
    if authorization is not None:
        bearer = authorization[7:].strip() if authorization[:7].lower() == "bearer " else ""
        if bearer and not bearer.startswith(OPAQUE_PREFIX):
            return Translated(key, query, authorization)
        if key is None:
            # Not a bearer token and no key: an S3 signature stays, an opaque key or nothing goes.
            keep = authorization.strip() and authorization[:6].lower() != "bearer"
            return Translated(None, query, authorization if keep else None)
    return Translated(key, query, f"Bearer {key.token}" if key else None)


def check_gate(gate: Gate, key: ApiKey | None, shown: str, *, required: bool = True) -> None:
    """Raises the failure of a caller who may not pass.  Where no key is `required`, one that is shown
    must still be right."""
    if gate is Gate.BLOCKED:
        raise Blocked
    if gate in (Gate.OPEN, Gate.BASIC):
        if key is None and shown.startswith(OPAQUE_PREFIX):
            raise InvalidKey
        return
    if key is None:
        if gate is Gate.KEY and not shown and not required:
            return
        raise InvalidKey if shown else NoKey
    if gate is Gate.SERVICE and key.role != "service_role":
        raise WrongKey


def find_shown_key(header: str, query: str) -> str:
    """The key as the client wrote it, for error messages: header first, then query."""
    return header or _take_parameter(query)[0]


def _take_parameter(query: str) -> tuple[str, str]:
    value = ""
    kept = []
    for part in query.split("&"):
        name, _, text = part.partition("=")
        if name == "apikey":
            value = value or unquote_plus(text)
        else:
            kept.append(part)
    return value, "&".join(kept)
