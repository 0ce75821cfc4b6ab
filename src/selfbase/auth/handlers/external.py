"""Signing in at an external provider in the browser, and linking an identity the same way."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from selfbase.auth import accounts, external, linking
from selfbase.auth.authenticate import is_uuid
from selfbase.auth.context import Context
from selfbase.auth.errors import (
    AuthFailure,
    OAuthFailure,
    UnexpectedFailure,
    UserNotFound,
    ValidationFailed,
)
from selfbase.auth.flows import (
    EXPIRY_FLOOR_S,
    redirect_target,
    redirect_with_code,
    redirect_with_session,
    see_other,
)
from selfbase.auth.linking import SignedIn
from selfbase.auth.logic.idtokens import with_apple_name
from selfbase.auth.logic.oauth_server import s256_challenge
from selfbase.auth.logic.pkce import parse_challenge
from selfbase.auth.logic.providers.catalog import TWITTER
from selfbase.auth.logic.providers.profile import Profile
from selfbase.auth.logic.providers.records import (
    ProviderSetup,
    render_authorize_url,
    select_passed_params,
)
from selfbase.auth.logic.redirects import with_fragment, with_query
from selfbase.auth.queries import flow as flow_rows
from selfbase.auth.queries import providers as rows
from selfbase.auth.queries.one_time_tokens import find_user_by_token
from selfbase.auth.sessions import Grant, issue_session
from selfbase.auth.types import FlowState
from selfbase.database.failures import UniqueViolation
from selfbase.http.values import Response, json_response

CLIENT_STATE_S = 300.0
_ERRORS = {
    400: "invalid_request",
    401: "unauthorized_client",
    403: "access_denied",
    500: "server_error",
    503: "temporarily_unavailable",
}
_DENIED = frozenset({"signup_disabled", "user_banned", "provider_email_needs_verification"})


async def authorize(ctx: Context) -> Response:
    """GET /authorize"""
    return see_other(await begin(ctx, None), 302)


async def authorize_linking(ctx: Context) -> Response:
    """GET /user/identities/authorize"""
    if not ctx.settings.security_manual_linking_enabled:
        raise AuthFailure("Manual linking is disabled", code="manual_linking_disabled", status=404)
    url = await begin(ctx, ctx.user.id)
    if ctx.request.query_value("skip_http_redirect") == "true":
        return json_response({"url": url})
    return see_other(url, 302)


async def begin(ctx: Context, target_id: str | None) -> str:
    """Where the browser goes.  `target_id` is the user an identity is to be linked to.

    Raises ValidationFailed, UserNotFound.
    """
    value = ctx.request.query_value
    name = (value("provider") or "").lower()
    try:
        setup = await external.find_setup(ctx, name, value("scopes") or "")
    except external.ProviderUnsupported as error:
        raise ValidationFailed(f"Unsupported provider: {error}") from None
    challenge = parse_challenge(value("code_challenge") or "", value("code_challenge_method") or "")
    invite = value("invite_token") or ""
    verifier = secrets.token_urlsafe(48) if setup.pkce else None
    async with ctx.transaction("begin an external sign-in") as tx:
        if invite and await find_user_by_token(tx, invite, ("confirmation_token",)) is None:
            raise UserNotFound("User identified by token not found")
        client_state = (
            await rows.insert_client_state(tx, name, verifier) if verifier is not None else None
        )
        flow = await flow_rows.insert_flow(
            tx,
            {
                "provider_type": name,
                "authentication_method": "oauth",
                "code_challenge": challenge.challenge if challenge else None,
                "code_challenge_method": challenge.method if challenge else None,
                "invite_token": invite or None,
                "referrer": redirect_target(ctx),
                "oauth_client_state_id": client_state,
                "linking_target_id": target_id,
                "email_optional": setup.email_optional,
            },
        )
    if name == TWITTER:
        return await _begin_twitter(ctx, setup, flow)
    return render_authorize_url(
        setup,
        state=flow.id,
        passed=select_passed_params(ctx.request.query_pairs()),
        code_challenge=None if verifier is None else s256_challenge(verifier),
    )


async def _begin_twitter(ctx: Context, setup: ProviderSetup, flow: FlowState) -> str:
    callback = f"{setup.redirect_uri}?{urlencode({'state': flow.id})}"
    try:
        token, secret = await external.request_twitter_token(ctx, setup, callback)
    except external.ProviderFailed as error:
        raise UnexpectedFailure(
            "Error requesting a token from Twitter", internal=str(error)
        ) from None
    async with ctx.transaction("keep a request token") as tx:
        await rows.set_request_token(tx, flow.id, token, secret)
    return f"{setup.authorize_url}?oauth_token={quote(token, safe='')}"


async def callback(ctx: Context) -> Response:
    """GET and POST /callback"""
    answer = await _read_answer(ctx)
    try:
        flow = await _load_flow(ctx, answer.get("state", ""))
    except AuthFailure as failure:
        # Nothing is known of where the person came from.
        return see_other(with_query(ctx.settings.site_url, error_members(failure)), 303)
    target = ctx.settings.external_redirect_url or flow.referrer or ctx.settings.site_url
    try:
        return await _finish(ctx, flow, answer, target)
    except AuthFailure as failure:
        members = error_members(failure)
        return see_other(with_fragment(with_query(target, members), members), 302)


async def _read_answer(ctx: Context) -> dict[str, str]:
    """What the provider sent: the query, and for a POST also the form, which counts more."""
    answer = dict(reversed(ctx.request.query_pairs()))
    if ctx.request.method == "POST":
        raw = await ctx.request.body.read(ctx.settings.api_body_bytes_max)
        posted = parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True)
        answer |= dict(reversed(posted))
    return answer


def error_members(failure: AuthFailure) -> dict[str, str]:
    if isinstance(failure, OAuthFailure):
        return {"error": failure.code, "error_description": failure.message}
    name = "access_denied" if failure.code in _DENIED else _ERRORS.get(failure.status)
    return {
        "error": name or "server_error",
        "error_code": failure.code,
        "error_description": failure.message,
    }


async def _load_flow(ctx: Context, state: str) -> FlowState:
    """The flow of a state.  Raises bad_oauth_callback, bad_oauth_state, flow_state_already_used."""
    if not state:
        raise AuthFailure("OAuth state parameter missing", code="bad_oauth_callback", status=400)
    if not is_uuid(state):
        raise AuthFailure("OAuth state parameter is invalid", code="bad_oauth_state", status=400)
    async with ctx.transaction("continue an external sign-in") as tx:
        flow = await flow_rows.find_flow(tx, state)
    if flow is None or flow.authentication_method != "oauth":
        raise AuthFailure("OAuth state not found or expired", code="bad_oauth_state", status=400)
    life_s = max(EXPIRY_FLOOR_S, ctx.settings.external_flow_state_expiry_duration)
    if flow.created_at is None or ctx.now > flow.created_at + timedelta(seconds=life_s):
        raise AuthFailure("OAuth state has expired", code="bad_oauth_state", status=400)
    if flow.is_pkce and flow.user_id is not None:
        raise _already_used()
    return flow


def _already_used() -> AuthFailure:
    return AuthFailure("State has already been used", code="flow_state_already_used", status=400)


@dataclass(frozen=True, slots=True)
class _Arrival:
    """Who arrived, with the provider's tokens."""

    profile: Profile
    tokens: external.Tokens


async def _finish(
    ctx: Context, flow: FlowState, answer: Mapping[str, str], target: str
) -> Response:
    arrival = await _arrive(ctx, flow, answer)
    profile = arrival.profile.settled()
    if not profile.subject:
        raise UnexpectedFailure("Error getting user profile from external provider")
    if not profile.emails and not flow.email_optional:
        raise UnexpectedFailure("Error getting user email from external provider")
    prepared = None
    if flow.linking_target_id is None and not flow.invite_token:
        prepared = await linking.prepare(ctx, flow.provider_type, profile)
    grant: Grant | None = None
    try:
        async with ctx.transaction("finish an external sign-in") as tx:
            # Taken under a lock: a state signs in once, however often it is shown.
            locked = await flow_rows.find_flow(tx, flow.id, lock=True)
            if locked is None or locked.user_id is not None:
                raise _already_used()
            arrived = await _sign_in(ctx, tx, flow, profile, prepared)
            if arrived.failure is None and flow.is_pkce:
                await flow_rows.complete_flow(
                    tx,
                    flow.id,
                    user_id=arrived.user.id,
                    access_token=arrival.tokens.access,
                    refresh_token=arrival.tokens.refresh,
                )
            elif arrived.failure is None:
                grant = await issue_session(ctx, tx, arrived.user, "oauth")
            if not flow.is_pkce:
                await flow_rows.delete_flow(tx, flow.id)
    except UniqueViolation as error:
        # The same person signed in twice at the same moment.
        raise UnexpectedFailure(
            "Database error saving new user", internal=error.diagnosis.constraint or ""
        ) from None
    if arrived.failure is not None:
        raise arrived.failure
    if arrived.is_new:
        await accounts.tell_after_created(ctx, arrived.user)
    if grant is None:
        response = redirect_with_code(target, flow.auth_code or "")
    else:
        response = redirect_with_session(
            target,
            grant,
            provider_token=arrival.tokens.access,
            provider_refresh_token=arrival.tokens.refresh or None,
        )
    response.status = 302
    return response


async def _sign_in(
    ctx: Context, tx: Any, flow: FlowState, profile: Profile, prepared: accounts.NewUser | None
) -> SignedIn:
    provider = flow.provider_type
    if flow.linking_target_id is not None:
        return await linking.link_to(ctx, tx, flow.linking_target_id, provider, profile)
    if flow.invite_token:
        return await linking.accept_invite(ctx, tx, flow.invite_token, provider, profile)
    return await linking.sign_in(
        ctx, tx, provider, profile, prepared=prepared, email_optional=flow.email_optional
    )


async def _arrive(ctx: Context, flow: FlowState, answer: Mapping[str, str]) -> _Arrival:
    try:
        setup = await external.find_setup(ctx, flow.provider_type)
    except external.ProviderUnsupported as error:
        raise AuthFailure(
            f"Unsupported provider: {error}", code="oauth_provider_not_supported", status=400
        ) from None
    if answer.get("error"):
        raise OAuthFailure(answer["error"][:200], answer.get("error_description", "")[:1000])
    if setup.name == TWITTER:
        return await _arrive_twitter(ctx, setup, flow, answer)
    code = answer.get("code", "")
    if not code:
        raise AuthFailure(
            "OAuth callback with missing authorization code missing",
            code="bad_oauth_callback",
            status=400,
        )
    verifier = await _take_verifier(ctx, setup, flow)
    try:
        tokens = await external.exchange_code(ctx, setup, code, verifier)
    except external.ProviderFailed as error:
        raise UnexpectedFailure(
            f"Unable to exchange external code: {code[:4]}", internal=str(error)
        ) from None
    try:
        profile = await external.fetch_profile(ctx, setup, tokens)
    except external.ProviderFailed as error:
        raise UnexpectedFailure(
            "Error getting user profile from external provider", internal=str(error)
        ) from None
    if setup.name == "apple" and answer.get("user"):
        profile = with_apple_name(profile, answer["user"])
    return _Arrival(profile, tokens)


async def _take_verifier(ctx: Context, setup: ProviderSetup, flow: FlowState) -> str | None:
    """Our verifier at a provider that wants PKCE; it works once.

    Raises oauth_client_state_not_found, oauth_client_state_expired, oauth_invalid_state.
    """
    if flow.oauth_client_state_id is None:
        if setup.pkce:
            raise AuthFailure(
                "OAuth PKCE code verifier missing", code="oauth_invalid_state", status=400
            )
        return None
    async with ctx.transaction("take our verifier") as tx:
        found = await rows.consume_client_state(tx, flow.oauth_client_state_id)
    if found is None:
        raise AuthFailure("OAuth state not found", code="oauth_client_state_not_found", status=422)
    provider, verifier, created_at = found
    if provider != flow.provider_type:
        raise AuthFailure("OAuth provider mismatch", code="oauth_invalid_state", status=400)
    if created_at is None or ctx.now > created_at + timedelta(seconds=CLIENT_STATE_S):
        raise AuthFailure("OAuth state expired", code="oauth_client_state_expired", status=422)
    return verifier


async def _arrive_twitter(
    ctx: Context, setup: ProviderSetup, flow: FlowState, answer: Mapping[str, str]
) -> _Arrival:
    token, verifier = answer.get("oauth_token", ""), answer.get("oauth_verifier", "")
    # The token must be the one this state was given: another would sign in another's person.
    if not token or not verifier or token != flow.provider_access_token:
        raise AuthFailure(
            "OAuth callback with missing or foreign token", code="bad_oauth_callback", status=400
        )
    try:
        tokens, profile = await external.exchange_twitter_token(
            ctx, setup, token, flow.provider_refresh_token or "", verifier
        )
    except external.ProviderFailed as error:
        raise UnexpectedFailure("Unable to retrieve access token", internal=str(error)) from None
    return _Arrival(profile, tokens)
