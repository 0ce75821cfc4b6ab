"""Flows that continue in a browser: where people are sent back to, and PKCE."""

from __future__ import annotations

from datetime import timedelta

from selfbase.auth.context import Context
from selfbase.auth.errors import AuthFailure
from selfbase.auth.logic.fields import Fields
from selfbase.auth.logic.pkce import Challenge, parse_challenge
from selfbase.auth.logic.redirects import (
    decide_redirect,
    render_error_redirect,
    with_fragment,
    with_query,
)
from selfbase.auth.queries import flow as rows
from selfbase.auth.sessions import Grant
from selfbase.auth.types import FlowState
from selfbase.database.database import Transaction
from selfbase.http.values import Response

EXPIRY_FLOOR_S = 300.0


def redirect_target(ctx: Context, body: Fields | None = None) -> str:
    """Where to send the person: `redirect_to` of header, query or body, else the referring page,
    else the site; each only where the allow list has it."""
    headers = ctx.request.headers
    candidates = [
        headers.get("redirect_to"),
        ctx.request.query_value("redirect_to") or "",
        body.text("redirect_to") if body is not None else "",
        headers.get("referer"),
    ]
    return decide_redirect(candidates, ctx.settings.site_url, ctx.settings.uri_allow_list)


def read_challenge(body: Fields) -> Challenge | None:
    """The PKCE pair of a request.  Raises ValidationFailed."""
    return parse_challenge(body.text("code_challenge"), body.text("code_challenge_method"))


async def begin_flow(
    tx: Transaction, challenge: Challenge | None, *, provider: str, method: str, user_id: str | None
) -> FlowState | None:
    """Stores the challenge of a PKCE flow; nothing for an implicit one."""
    if challenge is None:
        return None
    return await rows.insert_flow(
        tx,
        {
            "user_id": user_id, "provider_type": provider, "authentication_method": method,
            "code_challenge": challenge.challenge, "code_challenge_method": challenge.method,
        },
    )  # fmt: skip


def check_flow_life(ctx: Context, flow: FlowState) -> None:
    """Raises flow_state_expired.  The time runs from the moment the code was handed out."""
    life_s = max(EXPIRY_FLOOR_S, ctx.settings.external_flow_state_expiry_duration)
    begun = flow.auth_code_issued_at or flow.created_at
    if begun is None or ctx.now > begun + timedelta(seconds=life_s):
        raise AuthFailure(
            "invalid flow state, flow state has expired", code="flow_state_expired", status=422
        )


def see_other(location: str, status: int = 303) -> Response:
    """A redirect that no cache keeps."""
    return Response(status, [("location", location), ("cache-control", "no-store")])


def redirect_with_session(target: str, grant: Grant, **more: str | None) -> Response:
    """The implicit flow's end: the session in the fragment."""
    members = {
        "access_token": grant.access_token,
        "token_type": "bearer",
        "expires_in": str(grant.expires_in),
        "expires_at": str(grant.expires_at),
        "refresh_token": grant.refresh_token,
        **{name: value for name, value in more.items() if value},
    }
    response = see_other(with_fragment(target, members))
    response.headers += grant.headers
    return response


def redirect_with_code(target: str, code: str) -> Response:
    """The PKCE flow's end: a code in the query."""
    return see_other(with_query(target, {"code": code}))


def redirect_with_message(target: str, message: str, *, pkce: bool) -> Response:
    if pkce:
        target = with_query(target, {"message": message})
    return see_other(with_fragment(target, {"message": message}))


def redirect_with_error(
    target: str, failure: AuthFailure, *, pkce: bool, name: str | None = None, status: int = 303
) -> Response:
    location = render_error_redirect(
        target, status=failure.status, code=failure.code, message=failure.message, pkce=pkce,
        name=name,
    )  # fmt: skip
    return see_other(location, status)
