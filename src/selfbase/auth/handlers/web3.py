"""Signing in with a wallet (`grant_type=web3`)."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

from selfbase.auth import accounts, linking
from selfbase.auth.context import Context
from selfbase.auth.errors import AuthFailure, OAuthFailure, ValidationFailed
from selfbase.auth.linking import WEB3
from selfbase.auth.logic import web3
from selfbase.auth.logic.providers.profile import Profile, make_claims
from selfbase.auth.logic.rates import Rate
from selfbase.auth.logic.redirects import is_allowed
from selfbase.auth.sessions import issue_session, session_response
from selfbase.http.values import Response


async def grant_web3(ctx: Context) -> Response:
    """POST /token?grant_type=web3"""
    chain, max_age_s = await _decide_chain(ctx)
    body = await ctx.fields()
    text = body.text("message")
    size = len(text.encode())
    if size < web3.MESSAGE_BYTES_MIN:
        raise ValidationFailed("message is too short")
    if size > web3.MESSAGE_BYTES_MAX:
        raise ValidationFailed("message must not exceed 20KB")
    try:
        signature = web3.parse_signature(body.text("signature"), chain)
        message = web3.parse_message(text, chain)
    except web3.MessageInvalid as error:
        raise ValidationFailed(str(error)) from None
    if not web3.is_signed_by_address(message, signature):
        raise OAuthFailure("invalid_grant", "Signature does not match address in message")
    try:
        web3.judge_message(
            message,
            ctx.now,
            max_age=timedelta(seconds=max_age_s),
            is_redirect_allowed=lambda url: is_allowed(
                url, ctx.settings.site_url, ctx.settings.uri_allow_list
            ),
        )
    except web3.MessageRefused as error:
        raise OAuthFailure("invalid_grant", str(error)) from None
    await _claim(ctx, message, max_age_s)
    return await _finish(ctx, message)


async def _decide_chain(ctx: Context) -> tuple[web3.Chain, float]:
    """The chain asked for and how old its messages may be."""
    settings = ctx.settings
    enabled = {
        "solana": settings.external_web3_solana_enabled,
        "ethereum": settings.external_web3_ethereum_enabled,
    }
    if not any(enabled.values()):
        raise AuthFailure("Web3 provider is disabled", code="web3_provider_disabled", status=422)
    chain = (await ctx.fields()).text("chain")
    if chain not in enabled:
        raise AuthFailure("Unsupported chain", code="web3_unsupported_chain", status=400)
    if not enabled[chain]:
        raise AuthFailure(
            f"{chain.capitalize()} Web3 provider is disabled",
            code="web3_provider_disabled",
            status=422,
        )
    age_s = getattr(settings, f"external_web3_{chain}_maximum_validity_duration")
    return cast("web3.Chain", chain), float(age_s)


async def _claim(ctx: Context, message: web3.Web3Message, max_age_s: float) -> None:
    """A signed message signs in once: whoever sees it later cannot use it again."""
    once = Rate(1, 2 * max_age_s + 60)
    if await ctx.core.limiter.take(ctx, f"web3:{web3.replay_key(message)}", once) is not None:
        raise OAuthFailure("invalid_grant", "Signed message has already been used")


async def _finish(ctx: Context, message: web3.Web3Message) -> Response:
    claims = make_claims(sub=message.subject, custom_claims=message.custom_claims())
    profile = Profile(claims)
    prepared = await linking.prepare(ctx, WEB3, profile)
    async with ctx.transaction("sign in with a wallet") as tx:
        arrived = await linking.sign_in(
            ctx, tx, WEB3, profile, prepared=prepared, email_optional=True
        )
        grant = await issue_session(ctx, tx, arrived.user, WEB3)
    if arrived.is_new:
        await accounts.tell_after_created(ctx, arrived.user)
    return session_response(grant)
