"""Who sends a request: from the bearer token to claims, and to a live user and session.

Auth never looks at `apikey`: the gateway has turned it into a bearer already.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from selfbase.auth.context import Context
from selfbase.auth.errors import (
    AuthFailure,
    BadJwt,
    NoAuthorization,
    NotAdmin,
    SessionNotFound,
    UserBanned,
    UserNotFound,
)
from selfbase.auth.logic.refresh import SessionLimits, find_session_fault
from selfbase.auth.queries.sessions import SESSION_DOCUMENT
from selfbase.auth.queries.users import USER_DOCUMENT
from selfbase.auth.types import Session, User
from selfbase.identity.tokens import TokenInvalid

_LOAD = (
    "select jsonb_build_object('user', " + USER_DOCUMENT + ", 'session', (select "
    + SESSION_DOCUMENT
    + " from auth.sessions s where s.id = $2::uuid and s.user_id = u.id))"
    " from auth.users u where u.id = $1::uuid"
).encode()  # fmt: skip

_WORDS = {
    "expired": "invalid JWT: unable to parse or verify signature, token has invalid claims: token is expired",
    "malformed": "invalid JWT: unable to parse or verify signature, token is malformed",
    "signature": "invalid JWT: unable to parse or verify signature, token signature is invalid",
}


# Set by the gateway on a request whose bearer it made.
BEARER_FROM_KEY = "bearer_from_key"


def read_bearer(ctx: Context) -> str:
    """The token of the Authorization header, or an empty text."""
    scheme, _, token = ctx.request.headers.get("authorization").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def verify_bearer(ctx: Context) -> Mapping[str, Any]:
    """Checks the bearer token and puts its claims into the context.

    Raises NoAuthorization without one, BadJwt for one that is not genuine and in time.
    """
    token = read_bearer(ctx)
    if not token:
        raise NoAuthorization
    try:
        ctx.claims = ctx.core.tokens.verify(token, ctx.now)
    except TokenInvalid as error:
        words = _WORDS.get(error.reason, "invalid JWT: unable to parse or verify signature")
        raise BadJwt(words, internal=str(error)) from None
    ctx.token = token
    return ctx.claims


async def require_user(ctx: Context) -> None:
    """Loads the caller and the session of the token, in one round trip.

    Raises BadJwt, UserNotFound, SessionNotFound, UserBanned (all 403) or NoAuthorization.
    """
    verifier = ctx.core.tokens.verifier
    try:
        claims = verify_bearer(ctx)
    except BadJwt:
        # Perhaps a key that came into use a moment ago, in another worker.
        ctx.settings = await ctx.core.runtime.current()
        if ctx.core.tokens.verifier is verifier:
            raise
        claims = verify_bearer(ctx)
    subject, session_id = claims.get("sub"), claims.get("session_id")
    if not subject:
        if ctx.request.state.get(BEARER_FROM_KEY):
            # The gateway made it of the API key: the client itself sent none.
            raise NoAuthorization
        # An API key was sent where a person's token belongs.
        raise BadJwt(
            "invalid claim: missing sub claim (this endpoint requires a user's Bearer token)"
        )
    if not is_uuid(subject):
        raise BadJwt("invalid claim: sub claim must be a UUID")
    if not is_uuid(session_id):
        session_id = None
    found = await ctx.core.read_current(ctx, _LOAD, str(subject), session_id)
    if ctx.core.tokens.verifier is not verifier:
        # Keys have changed since: one of them may have been revoked.
        verify_bearer(ctx)
    if not found:
        raise UserNotFound("User from sub claim in JWT does not exist", status=403)
    user = User.from_document(found[0]["user"])
    if user.is_banned(ctx.now):
        raise UserBanned(status=403)
    document = found[0]["session"]
    if document is None:
        # A token of a session that has ended keeps its signature; here it ends for good.
        raise SessionNotFound
    ctx.signed_in = (user, Session.from_document(document))


async def require_admin(ctx: Context) -> None:
    """Only roles named as administrators; a user's token among them also needs its session."""
    claims = verify_bearer(ctx)
    if claims.get("role") not in ctx.settings.jwt_admin_roles:
        raise NotAdmin
    if claims.get("session_id"):
        await require_user(ctx)
        user, session = ctx.user, ctx.session
        fault = find_session_fault(user, session, None, ctx.now, session_limits(ctx))
        if fault is not None:
            raise AuthFailure(fault, code="session_expired", status=403)


def session_limits(ctx: Context) -> SessionLimits:
    """The session limits in force."""
    settings = ctx.settings
    return SessionLimits(
        timebox_s=settings.sessions_timebox,
        inactivity_s=settings.sessions_inactivity_timeout,
        low_aal_s=settings.sessions_allow_low_aal,
        single_per_user=settings.sessions_single_per_user,
    )


def is_admin_bearer(ctx: Context) -> bool:
    """Whether the request carries a genuine administrator's token; never raises."""
    try:
        return verify_bearer(ctx).get("role") in ctx.settings.jwt_admin_roles
    except AuthFailure:
        return False


def is_uuid(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        UUID(value)
    except ValueError:
        return False
    return True
