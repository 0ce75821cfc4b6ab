"""Signing in at an external provider: its setup, the exchange of a code, the profile.

Talks to providers; knows no routes and writes no accounts.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import orjson

from selfbase.auth.context import Context
from selfbase.auth.issuers import IssuerUnusable
from selfbase.auth.logic import idtokens, oauth1
from selfbase.auth.logic.custom_providers import PREFIX, default_discovery_url, shape_profile
from selfbase.auth.logic.providers import readers
from selfbase.auth.logic.providers.catalog import APPLE_ISSUERS, PROVIDERS, TWITTER, is_azure_issuer
from selfbase.auth.logic.providers.profile import Profile, ProfileInvalid, as_text
from selfbase.auth.logic.providers.records import (
    Answers,
    ProviderSetup,
    choose_base,
    set_up_provider,
)
from selfbase.auth.outgoing import AddressRefused, FetchFailed, Reply
from selfbase.auth.queries.providers import find_provider
from selfbase.auth.sealed import unseal
from selfbase.auth.types_more import CustomProvider

ANSWER_BYTES_MAX = 512 * 1024
TWITTER_HOST = "api.twitter.com"


class ProviderUnsupported(Exception):
    """There is no such provider, or it is not set up; the text is for the caller."""


class ProviderFailed(Exception):
    """The provider refused or answered nonsense; the text is for the log."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a provider handed out for a code."""

    access: str = field(repr=False)
    refresh: str = field(default="", repr=False)
    answer: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def id_token(self) -> str:
        return as_text(self.answer.get("id_token"))


def callback_url(ctx: Context) -> str:
    return f"{ctx.settings.external_url}/callback"


async def find_setup(ctx: Context, name: str, extra_scopes: str = "") -> ProviderSetup:
    """The provider of a name, ready to use.  Raises ProviderUnsupported."""
    name = name.lower()
    if name.startswith(PREFIX):
        return await _set_up_custom(ctx, name, extra_scopes)
    settings = ctx.settings.providers.get(name)
    record = PROVIDERS.get(name)
    if settings is None:
        raise ProviderUnsupported(f"Provider {name} could not be found")
    if not settings.enabled:
        raise ProviderUnsupported("provider is not enabled")
    if not settings.client_id:
        raise ProviderUnsupported("missing OAuth client ID")
    if not settings.secret:
        raise ProviderUnsupported("missing OAuth secret")
    redirect_uri = settings.redirect_uri or callback_url(ctx)
    if record is None:
        return _twitter_setup(ctx, redirect_uri)
    if record.url_required and not settings.url:
        raise ProviderUnsupported(f"unable to find URL for the {name} provider")
    return set_up_provider(
        record,
        client_ids=settings.client_id,
        secret=settings.secret.reveal(),
        redirect_uri=redirect_uri,
        url=settings.url,
        extra_scopes=extra_scopes,
        email_optional=settings.email_optional,
        skip_nonce_check=settings.skip_nonce_check,
    )


def _twitter_setup(ctx: Context, redirect_uri: str) -> ProviderSetup:
    settings = ctx.settings.providers[TWITTER]
    base = choose_base(settings.url, TWITTER_HOST)
    return ProviderSetup(
        name=TWITTER,
        client_ids=settings.client_id,
        secret=settings.secret.reveal(),
        redirect_uri=redirect_uri,
        authorize_url=f"{base}/oauth/authenticate",
        token_url=f"{base}/oauth/access_token",
        api=base,
        scopes=(),
        read=readers.read_twitter,
        email_optional=settings.email_optional,
    )


async def find_custom(ctx: Context, identifier: str) -> CustomProvider:
    """The enabled provider of an identifier.  Raises ProviderUnsupported."""
    if not ctx.settings.custom_oauth_enabled:
        raise ProviderUnsupported("custom OAuth providers are disabled")
    async with ctx.transaction("set up a custom provider") as tx:
        provider = await find_provider(tx, identifier)
    if provider is None:
        raise ProviderUnsupported(f"custom provider {identifier} not found")
    if not provider.enabled:
        raise ProviderUnsupported(f"custom provider {identifier} is disabled")
    return provider


async def _set_up_custom(ctx: Context, name: str, extra_scopes: str) -> ProviderSetup:
    provider = await find_custom(ctx, name)
    base = ctx.settings.custom_oauth_external_url or ctx.settings.external_url
    scopes = tuple(extra_scopes.split()) or provider.scopes
    authorize_url, token_url = provider.authorization_url or "", provider.token_url or ""
    userinfo, method = provider.userinfo_url or "", "auto"
    if provider.is_oidc:
        document = await discover(ctx, provider)
        authorize_url, token_url = document["authorization_endpoint"], document["token_endpoint"]
        userinfo = as_text(document.get("userinfo_endpoint"))
        offered = document.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        method = "basic" if "client_secret_basic" in offered else "post"
        if "openid" not in scopes:
            scopes = ("openid", *scopes)

    def read(answers: Answers) -> Profile:
        raw = answers.replies[0] if answers.replies else None
        if not isinstance(raw, Mapping):
            raise ProfileInvalid("the user info is not a JSON object")
        return shape_custom(provider, raw)

    return ProviderSetup(
        name=name,
        client_ids=(provider.client_id, *provider.acceptable_client_ids),
        secret=unseal(ctx, provider.client_secret, provider.id),
        redirect_uri=f"{base.rstrip('/')}/callback",
        authorize_url=authorize_url,
        token_url=token_url,
        api=provider.issuer or "",
        scopes=scopes,
        profile_urls=(userinfo,) if userinfo else (),
        read=read,
        read_claims=lambda claims: shape_custom(provider, claims),
        issuer=provider.issuer,
        discovery_url=provider.discovery_url,
        uses_id_token=provider.is_oidc,
        pkce=provider.pkce_enabled,
        client_auth="basic" if method == "basic" else "post" if method == "post" else "auto",
        authorize_params=tuple(
            (key, value)
            for key, value in provider.authorization_params.items()
            if isinstance(value, str)
        ),
        email_optional=provider.email_optional,
        skip_nonce_check=provider.skip_nonce_check,
    )


def shape_custom(provider: CustomProvider, raw: Mapping[str, Any]) -> Profile:
    """The profile in a custom provider's user info or verified claims.  Raises ProfileInvalid."""
    profile = shape_profile(
        raw,
        base=idtokens.read_profile(raw) if "iss" in raw else None,
        mapping=provider.attribute_mapping,
        allowlist=provider.custom_claims_allowlist,
    )
    if not profile.subject:
        subject = as_text(raw.get("sub")) or as_text(raw.get("id"))
        if not subject:
            raise ProfileInvalid("the provider did not say who signed in")
        profile = Profile({**profile.claims, "sub": subject}, profile.emails)
    return profile


async def discover(ctx: Context, provider: CustomProvider) -> dict[str, Any]:
    """Raises ProviderUnsupported."""
    issuer = provider.issuer or ""
    try:
        return await ctx.core.issuers.discover(
            issuer,
            url=provider.discovery_url or default_discovery_url(issuer),
            allow_private=ctx.settings.external_allow_private,
            timeout_s=ctx.settings.external_timeout_s,
        )
    except IssuerUnusable as error:
        raise ProviderUnsupported(f"failed to create OIDC provider: {error}") from None


def _may_be_private(ctx: Context, setup: ProviderSetup) -> bool:
    """An address the operator wrote into the settings is trusted; one that came in through the
    admin API is not, unless all are."""
    if ctx.settings.external_allow_private:
        return True
    settings = ctx.settings.providers.get(setup.name)
    return settings is not None and bool(settings.url)


async def _request(
    ctx: Context,
    setup: ProviderSetup,
    method: str,
    url: str,
    headers: Mapping[str, str],
    form: Mapping[str, str] | None = None,
) -> Reply:
    try:
        return await ctx.core.outgoing.fetch(
            method,
            url,
            headers={"accept": "application/json", "user-agent": "selfbase", **headers},
            form=form,
            timeout_s=ctx.settings.external_timeout_s,
            reply_bytes_max=ANSWER_BYTES_MAX,
            allow_private=_may_be_private(ctx, setup),
        )
    except (AddressRefused, FetchFailed, TimeoutError) as error:
        raise ProviderFailed(f"{setup.name}: {type(error).__name__}") from None


def _read_json(setup: ProviderSetup, reply: Reply) -> Any:
    if not 200 <= reply.status < 300:
        raise ProviderFailed(f"{setup.name} answered {reply.status}")
    try:
        return orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        raise ProviderFailed(f"{setup.name} did not answer JSON") from None


async def exchange_code(
    ctx: Context, setup: ProviderSetup, code: str, verifier: str | None
) -> Tokens:
    """Raises ProviderFailed."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": setup.redirect_uri,
        **({"code_verifier": verifier} if verifier else {}),
    }
    pair = f"{quote(setup.client_id, safe='')}:{quote(setup.secret, safe='')}"
    basic = {"authorization": f"Basic {b64encode(pair.encode()).decode()}"}
    posted = {**form, "client_id": setup.client_id, "client_secret": setup.secret}
    if setup.client_auth == "post":
        reply = await _request(ctx, setup, "POST", setup.token_url, {}, posted)
    else:
        reply = await _request(ctx, setup, "POST", setup.token_url, basic, form)
        if setup.client_auth == "auto" and reply.status in (400, 401):
            # Servers of this kind do not say which way they want it.
            reply = await _request(ctx, setup, "POST", setup.token_url, {}, posted)
    answer = _read_json(setup, reply)
    # Some answer 200 with an error inside.
    if not isinstance(answer, Mapping) or not as_text(answer.get("access_token")):
        raise ProviderFailed(f"{setup.name} gave no access token")
    return Tokens(
        as_text(answer["access_token"]), as_text(answer.get("refresh_token")), dict(answer)
    )


async def fetch_profile(ctx: Context, setup: ProviderSetup, tokens: Tokens) -> Profile:
    """From the ID token where there is one, else from the provider's API.

    Raises ProviderFailed.
    """
    try:
        if setup.uses_id_token and tokens.id_token:
            claims = await verify_answered_token(ctx, setup, tokens)
            return (setup.read_claims or idtokens.read_profile)(claims)
        if setup.read is None:
            raise ProviderFailed(f"{setup.name} gave no ID token")
        return setup.read(Answers(setup.api, await _fetch_all(ctx, setup, tokens), tokens.answer))
    except ProfileInvalid as error:
        raise ProviderFailed(f"{setup.name}: {error}") from None
    except (idtokens.IdTokenInvalid, IssuerUnusable) as error:
        raise ProviderFailed(f"{setup.name}: ID token: {error}") from None


async def _fetch_all(ctx: Context, setup: ProviderSetup, tokens: Tokens) -> tuple[Any, ...]:
    headers = {"authorization": f"Bearer {tokens.access}", **dict(setup.profile_headers)}
    proof = hmac.new(setup.secret.encode(), tokens.access.encode(), hashlib.sha256).hexdigest()
    replies = []
    for pattern in setup.profile_urls:
        url = pattern.replace("{appsecret_proof}", proof)
        replies.append(_read_json(setup, await _request(ctx, setup, "GET", url, headers)))
    return tuple(replies)


async def verify_answered_token(
    ctx: Context, setup: ProviderSetup, tokens: Tokens
) -> Mapping[str, Any]:
    """The claims of the ID token in a token answer.  Raises IdTokenInvalid, IssuerUnusable."""
    claimed = idtokens.peek_issuer(tokens.id_token)
    if setup.issuer is not None and setup.issuer in APPLE_ISSUERS and claimed in APPLE_ISSUERS:
        issuer = claimed
    elif setup.issuer is not None:
        issuer = setup.issuer
    elif is_azure_issuer(claimed):
        issuer = claimed
    else:
        raise idtokens.IdTokenInvalid("another issuer")
    return await verify_token(
        ctx,
        tokens.id_token,
        issuer,
        setup.client_ids,
        discovery_url=setup.discovery_url,
        allow_private=_may_be_private(ctx, setup),
        access_token=tokens.access,
    )


async def verify_token(
    ctx: Context,
    token: str,
    issuer: str,
    audiences: tuple[str, ...] | None,
    *,
    discovery_url: str | None = None,
    allow_private: bool = False,
    access_token: str | None = None,
) -> Mapping[str, Any]:
    """The claims of an ID token of an issuer.  Raises IdTokenInvalid, IssuerUnusable."""
    timeout_s = ctx.settings.external_timeout_s
    document = await ctx.core.issuers.discover(
        issuer, url=discovery_url, allow_private=allow_private, timeout_s=timeout_s
    )
    keys = await ctx.core.issuers.keys_for(
        token, document["jwks_uri"], allow_private=allow_private, timeout_s=timeout_s
    )
    return idtokens.verify_id_token(
        token,
        keys,
        issuers={issuer},
        now_s=ctx.now.timestamp(),
        audiences=audiences,
        access_token=access_token,
    )


async def request_twitter_token(
    ctx: Context, setup: ProviderSetup, callback: str
) -> tuple[str, str]:
    """A request token and its secret (OAuth 1.0a).  Raises ProviderFailed."""
    url = f"{setup.api}/oauth/request_token"
    return await _twitter_tokens(ctx, setup, url, {"oauth_callback": callback}, "", "")


async def exchange_twitter_token(
    ctx: Context, setup: ProviderSetup, token: str, secret: str, verifier: str
) -> tuple[Tokens, Profile]:
    """The access token for a request token, and the profile.  Raises ProviderFailed."""
    access, access_secret = await _twitter_tokens(
        ctx, setup, setup.token_url, {"oauth_verifier": verifier}, token, secret
    )
    url = (
        f"{setup.api}/1.1/account/verify_credentials.json"
        "?include_email=true&include_entities=false&skip_status=true"
    )
    header = _twitter_header(ctx, setup, "GET", url, {}, access, access_secret)
    reply = await _request(ctx, setup, "GET", url, {"authorization": header})
    try:
        profile = readers.read_twitter(Answers(setup.api, (_read_json(setup, reply),)))
    except ProfileInvalid as error:
        raise ProviderFailed(f"{setup.name}: {error}") from None
    return Tokens(access), profile


async def _twitter_tokens(
    ctx: Context,
    setup: ProviderSetup,
    url: str,
    members: Mapping[str, str],
    token: str,
    secret: str,
) -> tuple[str, str]:
    header = _twitter_header(ctx, setup, "POST", url, members, token, secret)
    reply = await _request(ctx, setup, "POST", url, {"authorization": header})
    answered, answered_secret = oauth1.read_token_answer(reply.body)
    if reply.status != 200 or not answered:
        raise ProviderFailed(f"{setup.name} gave no token")
    return answered, answered_secret


def _twitter_header(
    ctx: Context,
    setup: ProviderSetup,
    method: str,
    url: str,
    members: Mapping[str, str],
    token: str,
    secret: str,
) -> str:
    return oauth1.render_authorization(
        method,
        url,
        consumer_key=setup.client_id,
        consumer_secret=setup.secret,
        nonce=secrets.token_hex(16),
        timestamp_s=int(ctx.now.timestamp()),
        token=token,
        token_secret=secret,
        members=members,
    )
