"""Who calls, on the REST surface, and how its failures look.

Source: reference/storage.md sections 1.1 and 5.3.
"""

from __future__ import annotations

import re

from selfbase.http.values import Request, Response, json_response
from selfbase.identity.caller import Caller, make_caller
from selfbase.identity.tokens import TokenInvalid
from selfbase.kit.routes import Access
from selfbase.storage.call import Surface
from selfbase.storage.context import Context
from selfbase.storage.errors import RoleRefused, SchemaInvalid, StorageError, TokenRefused

ANONYMOUS = make_caller({"role": "anon"}, "anon")

_BEARER = re.compile(r"bearer\s+", re.IGNORECASE)
_TOKEN_WORDS = {
    "expired": '"exp" claim timestamp check failed',
    "not_yet_valid": '"nbf" claim timestamp check failed',
    "signature": "signature verification failed",
    "no_key": "no applicable key found in the JSON Web Key Set",
    "algorithm": '"alg" (Algorithm) Header Parameter value not allowed',
}


def describe_token_failure(failure: TokenInvalid) -> str:
    """The words clients know for a token that does not hold."""
    return _TOKEN_WORDS.get(failure.reason, "Invalid Compact JWS")


def bearer_token(request: Request) -> str:
    """The token of the Authorization header, or empty."""
    return _BEARER.sub("", request.headers.get("authorization"), count=1).strip()


def caller_of_token(token: str, context: Context) -> Caller:
    """The caller a bearer token proves.  Raises TokenInvalid."""
    claims = context.tokens.verify(token, now_s=context.clock.now().timestamp())
    role = claims.get("role")
    return make_caller(claims, role if isinstance(role, str) and role else "anon", token)


async def authenticate(request: Request, context: Context, access: Access) -> Caller:
    """The caller of a REST request.

    Open routes have none; routes with optional proof fall back to an anonymous caller, whose
    token is empty.  Raises SchemaInvalid, TokenRefused, RoleRefused.
    """
    if access is Access.OPEN:
        return ANONYMOUS
    token = bearer_token(request)
    alone = not request.prefix
    if access is not Access.KEY and alone and "authorization" not in request.headers:
        # Behind a gateway the reference never sees this case: it gets an empty token there.
        raise SchemaInvalid("headers must have required property 'authorization'")
    try:
        caller = caller_of_token(token, context)
    except TokenInvalid as failure:
        if access is Access.KEY:
            return ANONYMOUS
        raise TokenRefused(describe_token_failure(failure)) from None
    if access is Access.SERVICE and not caller.is_service:
        raise RoleRefused
    return caller


def render_failure(failure: StorageError, request: Request) -> Response:
    """The REST body of a failure; a HEAD request gets its status alone."""
    body = {
        "statusCode": str(failure.status),
        "error": failure.error,
        "message": failure.message,
        "code": failure.code,
    }
    headers = [*failure.headers, ("cache-control", "no-store")]
    if request.method == "HEAD":
        return Response(failure.rest_status, headers)
    return json_response(body, failure.rest_status, headers)


REST = Surface("rest", authenticate, render_failure)
