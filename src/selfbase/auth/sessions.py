"""Issuing sessions: rows, tokens and the answer clients take for a session.

Every way of signing in ends in `issue_session`, inside the transaction that proved the person.
"""

from __future__ import annotations

import base64
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from ipaddress import ip_address
from typing import Any

from selfbase.auth.context import Context
from selfbase.auth.errors import UnexpectedFailure
from selfbase.auth.logic.claims import build_claims, check_hook_claims, decide_expiry
from selfbase.auth.logic.refresh import decide_upgrade, render_signed_token
from selfbase.auth.logic.render import dump_json, render_user
from selfbase.auth.queries import sessions as rows
from selfbase.auth.sealed import seal
from selfbase.auth.types import Session, User
from selfbase.database.database import Transaction
from selfbase.http.values import JSON_UTF8, Response

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A session as it is handed to a client."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_at: int
    expires_in: int
    user: User
    session: Session
    headers: tuple[tuple[str, str], ...] = ()


def make_refresh_token() -> str:
    """A version 1 token: 12 characters of lower-case base32 (60 random bits)."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(12))


def make_hmac_key() -> str:
    """The key of a version 2 session: 32 random bytes in base64url without padding."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()


def storable_address(text: str) -> str | None:
    """`text` if it is an IP address, for columns of type inet."""
    try:
        return str(ip_address(text))
    except ValueError:
        return None


async def issue_session(
    ctx: Context,
    tx: Transaction,
    user: User,
    method: str,
    *,
    aal: str = "aal1",
    factor_id: str | None = None,
    not_after: datetime | None = None,
    tag: str | None = None,
    oauth_client_id: str | None = None,
    scopes: str = "",
) -> Grant:
    """A new session for `user`, proven by `method` (an `amr` method of section 2.3).

    Writes session, method, refresh token and sign-in time in one statement; runs the
    custom-access-token hook.  Raises HookFailure, UnexpectedFailure.
    """
    session_id = str(uuid.uuid4())
    signed = ctx.settings.security_refresh_token_algorithm_version == 2 or decide_upgrade(
        session_id, ctx.settings.security_refresh_token_upgrade_percentage
    )
    hmac_key = make_hmac_key() if signed else None
    stored_token = None if signed else make_refresh_token()
    session = await rows.insert_session(
        tx,
        {
            "id": session_id, "user_id": user.id, "now": ctx.now, "factor_id": factor_id,
            "aal": aal, "not_after": not_after, "user_agent": ctx.user_agent,
            "ip": storable_address(ctx.ip), "tag": tag, "oauth_client_id": oauth_client_id,
            "scopes": scopes, "hmac_key": seal(ctx, hmac_key, session_id) if hmac_key else None, "counter": 0 if signed else None,
            "method": method, "refresh_token": stored_token,
        },
    )  # fmt: skip
    refresh_token = stored_token or render_signed_token(session_id, 0, hmac_key or "")
    signed_in = replace(user, last_sign_in_at=ctx.now, updated_at=ctx.now)
    return await grant_tokens(ctx, tx, signed_in, session, refresh_token, method)


async def grant_tokens(
    ctx: Context,
    tx: Transaction | None,
    user: User,
    session: Session,
    refresh_token: str,
    method: str,
    headers: Sequence[tuple[str, str]] = (),
) -> Grant:
    """An access token for a session that stands, with the refresh token that goes with it."""
    access_token, expires_at = await issue_access_token(ctx, tx, user, session, method)
    return Grant(
        access_token=access_token,
        refresh_token=refresh_token,
        expires_at=expires_at,
        expires_in=expires_at - int(ctx.now.timestamp()),
        user=user,
        session=session,
        headers=(*_headers(user, session, refresh_token), *headers),
    )


async def issue_access_token(
    ctx: Context, tx: Transaction | None, user: User, session: Session, method: str
) -> tuple[str, int]:
    """The signed token and when it ends.  The hook may replace the claims."""
    expires_at = decide_expiry(
        user,
        session,
        ctx.now,
        life_s=ctx.settings.jwt_exp,
        low_aal_s=ctx.settings.sessions_allow_low_aal,
    )
    claims = build_claims(
        user,
        session,
        issuer=ctx.settings.issuer,
        issued_at=int(ctx.now.timestamp()),
        expires_at=expires_at,
    )
    if ctx.settings.hooks["custom_access_token"].enabled:
        answer = await ctx.core.hooks.run(
            ctx,
            "custom_access_token",
            {"user_id": user.id, "claims": claims, "authentication_method": method},
            tx=tx,
        )
        claims = answer.get("claims", {})
        fault = check_hook_claims(claims)
        if fault is not None:
            raise UnexpectedFailure(
                "output claims do not conform to the expected schema: \n- " + fault
            )
    return ctx.core.tokens.sign(claims), expires_at


def _headers(user: User, session: Session, refresh_token: str) -> tuple[tuple[str, str], ...]:
    shown = [("sb-auth-user-id", user.id), ("sb-auth-session-id", session.id)]
    if session.refresh_token_counter is None:
        shown.append(("sb-auth-refresh-token-prefix", refresh_token[:5]))
    else:
        shown.append(("sb-auth-refresh-token-counter", str(session.refresh_token_counter)))
    return tuple(shown)


def session_body(grant: Grant, **more: Any) -> dict[str, Any]:
    """The session object; `more` are members such as `provider_token`, left out when None."""
    return {
        "access_token": grant.access_token,
        "token_type": "bearer",
        "expires_in": grant.expires_in,
        "expires_at": grant.expires_at,
        "refresh_token": grant.refresh_token,
        "user": render_user(grant.user),
        **{name: value for name, value in more.items() if value is not None},
    }


def session_response(grant: Grant, **more: Any) -> Response:
    """200 with the session object and the informational headers."""
    headers = [("content-type", JSON_UTF8), ("cache-control", "no-store"), *grant.headers]
    return Response(200, headers, dump_json(session_body(grant, **more)))
