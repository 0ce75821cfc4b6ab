"""Signing in with an ID token that an app got by itself (`grant_type=id_token`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selfbase.auth import accounts, external, linking
from selfbase.auth.authenticate import read_bearer, require_user
from selfbase.auth.context import Context
from selfbase.auth.errors import AuthFailure, OAuthFailure, ValidationFailed
from selfbase.auth.issuers import IssuerUnusable
from selfbase.auth.logic import idtokens
from selfbase.auth.logic.custom_providers import PREFIX
from selfbase.auth.logic.fields import Fields
from selfbase.auth.logic.providers import catalog
from selfbase.auth.logic.providers.profile import Profile
from selfbase.auth.sessions import issue_session, session_response
from selfbase.auth.settings_more import ProviderSettings
from selfbase.auth.types_more import CustomProvider
from selfbase.http.values import Response

_FIXED_ISSUERS = {
    "google": catalog.GOOGLE_ISSUER,
    "facebook": catalog.FACEBOOK_ISSUER,
    "kakao": catalog.KAKAO_ISSUER,
    "vercel_marketplace": catalog.VERCEL_ISSUER,
    "snapchat": catalog.SNAPCHAT_ISSUER,
}


@dataclass(frozen=True, slots=True)
class _Accepted:
    """What a token must say: whose it is and for whom, and how its claims are read."""

    provider: str
    issuer: str
    audiences: tuple[str, ...]
    skip_nonce: bool = False
    email_optional: bool = False
    allow_private: bool = False
    custom: CustomProvider | None = None


def _refuse(description: str, internal: str | None = None) -> OAuthFailure:
    return OAuthFailure("invalid request", description, internal=internal)


async def grant_id_token(ctx: Context) -> Response:
    """POST /token?grant_type=id_token"""
    body = await ctx.fields()
    token, link = body.text("id_token"), body.flag("link_identity")
    if not token:
        raise _refuse("id_token required")
    if not body.text("provider") and not (body.text("client_id") and body.text("issuer")):
        raise _refuse("provider or client_id and issuer required")
    if link:
        if not read_bearer(ctx):
            raise _refuse("Linking requires a valid user access token in Authorization")
        await require_user(ctx)
    accepted = await _decide_accepted(ctx, body, token)
    claims = await _verify(ctx, accepted, token, body)
    profile = _read_profile(accepted, claims).settled()
    return await _finish(ctx, accepted, profile, link=link)


async def _verify(ctx: Context, accepted: _Accepted, token: str, body: Fields) -> Mapping[str, Any]:
    custom = accepted.custom
    try:
        claims = await external.verify_token(
            ctx,
            token,
            accepted.issuer,
            None,
            discovery_url=custom.discovery_url if custom is not None else None,
            allow_private=accepted.allow_private or ctx.settings.external_allow_private,
            access_token=body.text("access_token") or None,
        )
    except (idtokens.IdTokenInvalid, IssuerUnusable) as error:
        raise _refuse("Bad ID token", str(error)) from None
    if not isinstance(claims.get("sub"), str) or not claims["sub"]:
        raise _refuse("Missing sub claim in id_token")
    try:
        idtokens.require_audience(claims, accepted.audiences)
    except idtokens.AudienceMismatch:
        listed = " ".join(idtokens.audience_list(claims))
        raise _refuse(f"Unacceptable audience in id_token: [{listed}]") from None
    if not accepted.skip_nonce:
        try:
            idtokens.check_nonce(claims, body.text("nonce"))
        except idtokens.NonceMismatch:
            raise OAuthFailure("invalid nonce", "Nonces mismatch") from None
        except idtokens.IdTokenInvalid:
            raise _refuse(
                "Passed nonce and nonce in id_token should either both exist or not."
            ) from None
    return claims


def _read_profile(accepted: _Accepted, claims: Mapping[str, Any]) -> Profile:
    if accepted.custom is not None:
        return external.shape_custom(accepted.custom, claims)
    return idtokens.read_profile(claims)


async def _decide_accepted(ctx: Context, body: Fields, token: str) -> _Accepted:
    """Raises ValidationFailed, provider_disabled."""
    name, issuer = body.text("provider"), body.text("issuer")
    if name.startswith(PREFIX):
        return await _decide_custom(ctx, name)
    name = name or _name_of_issuer(ctx, issuer)
    claimed = idtokens.peek_issuer(token)
    if issuer and name in ("apple", "azure") and issuer != claimed:
        raise ValidationFailed("Provided issuer does not match ID token issuer")
    if name in _FIXED_ISSUERS:
        accepted_issuer = _FIXED_ISSUERS[name]
    elif name == "apple":
        if claimed not in catalog.APPLE_ISSUERS:
            raise ValidationFailed("Detected ID token issuer is not an Apple ID token issuer")
        accepted_issuer = claimed
    elif name == "azure":
        accepted_issuer = _decide_azure_issuer(ctx, claimed)
    elif name == "keycloak":
        accepted_issuer = ctx.settings.providers[name].url.removesuffix("/")
    else:
        return _decide_listed(ctx, name, issuer, body.text("client_id"))
    settings = ctx.settings.providers[name]
    _check_enabled(settings, accepted_issuer)
    audiences = settings.client_id
    if name == "apple" and ctx.settings.external_ios_bundle_id:
        audiences = (*audiences, ctx.settings.external_ios_bundle_id)
    return _Accepted(
        name,
        accepted_issuer,
        audiences,
        # Facebook's Limited Login hashes its nonce in a way of its own.
        skip_nonce=settings.skip_nonce_check or name == "facebook",
        email_optional=settings.email_optional,
        allow_private=name == "keycloak",
    )


def _name_of_issuer(ctx: Context, issuer: str) -> str:
    """The provider of an issuer, for clients of before there was `provider`."""
    if issuer in catalog.APPLE_ISSUERS:
        return "apple"
    if catalog.is_azure_issuer(issuer):
        return "azure"
    keycloak = ctx.settings.providers["keycloak"]
    if keycloak.enabled and keycloak.url and issuer == keycloak.url.removesuffix("/"):
        return "keycloak"
    return next((name for name, known in _FIXED_ISSUERS.items() if known == issuer), "")


def _decide_azure_issuer(ctx: Context, claimed: str) -> str:
    only = catalog.settle_azure_issuer(ctx.settings.providers["azure"].url)
    legacy = claimed.startswith("https://sts.windows.net/")
    if not (catalog.is_azure_issuer(claimed) or legacy) or (only and claimed != only):
        raise ValidationFailed("Detected ID token issuer is not an Azure ID token issuer")
    return claimed


def _check_enabled(settings: ProviderSettings, issuer: str) -> None:
    if not settings.enabled:
        raise AuthFailure(
            f'Provider (issuer "{issuer}") is not enabled', code="provider_disabled", status=400
        )


def _decide_listed(ctx: Context, name: str, issuer: str, client_id: str) -> _Accepted:
    """The deprecated form: any issuer the operator listed, with the client's own audience."""
    if issuer and client_id and issuer in ctx.settings.external_allowed_id_token_issuers:
        return _Accepted(issuer, issuer, (client_id,))
    raise ValidationFailed(f'Custom OIDC provider "{name}" not allowed')


async def _decide_custom(ctx: Context, name: str) -> _Accepted:
    try:
        provider = await external.find_custom(ctx, name)
    except external.ProviderUnsupported as error:
        disabled = "is disabled" in str(error)
        raise AuthFailure(
            f"Custom provider: {error}",
            code="provider_disabled" if disabled else "validation_failed",
            status=400,
        ) from None
    if not provider.is_oidc or not provider.issuer:
        raise ValidationFailed(f'Provider "{name}" is not an OIDC provider')
    return _Accepted(
        name,
        provider.issuer,
        (provider.client_id, *provider.acceptable_client_ids),
        skip_nonce=provider.skip_nonce_check,
        email_optional=provider.email_optional,
        custom=provider,
    )


async def _finish(ctx: Context, accepted: _Accepted, profile: Profile, *, link: bool) -> Response:
    prepared = None if link else await linking.prepare(ctx, accepted.provider, profile)
    grant = None
    async with ctx.transaction("sign in with an ID token") as tx:
        if link:
            arrived = await linking.link_to(ctx, tx, ctx.user.id, accepted.provider, profile)
        else:
            arrived = await linking.sign_in(
                ctx,
                tx,
                accepted.provider,
                profile,
                prepared=prepared,
                email_optional=accepted.email_optional,
            )
        if arrived.failure is None:
            grant = await issue_session(ctx, tx, arrived.user, "oauth")
    if arrived.failure is not None:
        raise arrived.failure
    if arrived.is_new:
        await accounts.tell_after_created(ctx, arrived.user)
    assert grant is not None
    return session_response(grant)
