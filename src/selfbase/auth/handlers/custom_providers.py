"""Providers added by hand, for administrators."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from selfbase.auth.context import Context
from selfbase.auth.errors import AuthFailure, Conflict, ValidationFailed
from selfbase.auth.issuers import IssuerUnusable
from selfbase.auth.logic import custom_providers as logic
from selfbase.auth.logic.fields import Fields
from selfbase.auth.logic.render import render_moment
from selfbase.auth.outgoing import names_private
from selfbase.auth.queries import providers as rows
from selfbase.auth.sealed import seal
from selfbase.auth.types_more import CustomProvider
from selfbase.database.failures import UniqueViolation
from selfbase.http.values import Response, json_response

_FLAGS = ("pkce_enabled", "enabled", "email_optional", "skip_nonce_check")
_DEFAULT_FLAGS = {
    "pkce_enabled": True,
    "enabled": True,
    "email_optional": False,
    "skip_nonce_check": False,
}
_REQUIRED_URLS = {
    "oidc": ("issuer",),
    "oauth2": ("authorization_url", "token_url", "userinfo_url"),
}
_URLS = {
    "oidc": ("issuer", "discovery_url"),
    "oauth2": ("authorization_url", "token_url", "userinfo_url", "jwks_uri"),
}


def render_provider(provider: CustomProvider) -> dict[str, Any]:
    """The public form: never the secret."""
    shown: dict[str, Any] = {
        "id": provider.id,
        "provider_type": provider.provider_type,
        "identifier": provider.identifier,
        "name": provider.name,
        "client_id": provider.client_id,
        "acceptable_client_ids": list(provider.acceptable_client_ids),
        "scopes": list(provider.scopes),
        "pkce_enabled": provider.pkce_enabled,
        "attribute_mapping": dict(provider.attribute_mapping),
        "custom_claims_allowlist": list(provider.custom_claims_allowlist),
        "authorization_params": dict(provider.authorization_params),
        "enabled": provider.enabled,
        "email_optional": provider.email_optional,
        "skip_nonce_check": provider.skip_nonce_check,
        "created_at": render_moment(provider.created_at),
        "updated_at": render_moment(provider.updated_at),
    }
    for name in _URLS[provider.provider_type]:
        if getattr(provider, name):
            shown[name] = getattr(provider, name)
    if provider.is_oidc and provider.cached_discovery:
        shown["discovery_document"] = dict(provider.cached_discovery)
    return shown


async def list_providers(ctx: Context) -> Response:
    """GET /admin/custom-providers"""
    kind = ctx.request.query_value("type") or None
    if kind is not None and kind not in _URLS:
        raise ValidationFailed("type must be either 'oauth2' or 'oidc'")
    async with ctx.transaction("list custom providers") as tx:
        found = await rows.list_providers(tx, kind)
    return json_response({"providers": [render_provider(provider) for provider in found]})


async def create_provider(ctx: Context) -> Response:
    """POST /admin/custom-providers"""
    body = await ctx.fields()
    kind = body.text("provider_type")
    if kind not in _URLS:
        raise ValidationFailed("provider_type must be either 'oauth2' or 'oidc'")
    try:
        values = _read_new(body, kind)
        _refuse_private(ctx, values)
    except logic.CustomProviderInvalid as error:
        raise ValidationFailed(str(error)) from None
    values["id"] = str(uuid.uuid4())
    values["client_secret"] = seal(ctx, values["client_secret"], values["id"])
    if kind == "oidc":
        values |= await _discover(ctx, values["issuer"], values.get("discovery_url"))
    most = ctx.settings.custom_oauth_max_providers
    try:
        async with ctx.transaction("add a custom provider") as tx:
            if most > 0 and await rows.count_providers(tx) >= most:
                raise AuthFailure(
                    "Maximum number of custom OAuth/OIDC providers reached",
                    code="over_custom_provider_quota",
                    status=400,
                )
            provider = await rows.insert_provider(tx, values)
    except UniqueViolation:
        raise Conflict(
            "A custom OAuth provider with this identifier already exists", status=400
        ) from None
    return json_response(render_provider(provider), 201)


def _read_new(body: Fields, kind: str) -> dict[str, Any]:
    values: dict[str, Any] = {
        "provider_type": kind,
        "identifier": logic.require_identifier(body.raw.get("identifier")),
        "name": logic.require_text("name", body.raw.get("name"), 100),
        "client_id": logic.require_text("client_id", body.raw.get("client_id"), 512),
        "client_secret": logic.require_text("client_secret", body.raw.get("client_secret"), 4096),
        **{name: body.flag(name, default) for name, default in _DEFAULT_FLAGS.items()},
    }
    for name in _REQUIRED_URLS[kind]:
        if not body.has(name):
            word = "OIDC" if kind == "oidc" else "OAuth2"
            raise ValidationFailed(f"{name} is required for {word} providers")
    return values | _read_shared(body.raw, kind, fill=True)


def _read_shared(raw: Mapping[str, Any], kind: str, *, fill: bool) -> dict[str, Any]:
    """The members that may also be changed later; `fill` gives absent lists their empty value."""
    readers = {
        "acceptable_client_ids": lambda v: logic.require_texts("acceptable_client_ids", v),
        "scopes": lambda v: logic.require_texts("scopes", v),
        "custom_claims_allowlist": logic.require_claims_allowlist,
        "attribute_mapping": logic.require_attribute_mapping,
        "authorization_params": logic.require_authorization_params,
    }
    values = {
        name: read(raw.get(name))
        for name, read in readers.items()
        if fill or raw.get(name) is not None
    }
    for name in _URLS[kind]:
        if raw.get(name):
            values[name] = logic.require_https_url(name, raw[name])
    return values


def _refuse_private(ctx: Context, values: Mapping[str, Any]) -> None:
    """Says now what every request would be refused for.  Raises CustomProviderInvalid."""
    if ctx.settings.external_allow_private:
        return
    for name in {name for names in _URLS.values() for name in names} & values.keys():
        if names_private(urlsplit(values[name]).hostname or ""):
            raise logic.CustomProviderInvalid(
                f"{name} must not lead to localhost or a private network"
            )


async def _discover(ctx: Context, issuer: str, url: str | None) -> dict[str, Any]:
    """Finds out now whether the issuer is one, instead of at somebody's sign-in."""
    try:
        document = await ctx.core.issuers.discover(
            issuer,
            url=url or logic.default_discovery_url(issuer),
            allow_private=ctx.settings.external_allow_private,
            timeout_s=ctx.settings.external_timeout_s,
            fresh=True,
        )
    except IssuerUnusable as error:
        raise ValidationFailed(f"OIDC discovery failed: {error}") from None
    return {"cached_discovery": document, "discovery_cached_at": ctx.now}


async def get_provider(ctx: Context) -> Response:
    """GET /admin/custom-providers/{identifier}"""
    return json_response(render_provider(await _find(ctx)))


async def _find(ctx: Context) -> CustomProvider:
    """Raises custom_provider_not_found."""
    identifier = _identifier(ctx)
    async with ctx.transaction("show a custom provider") as tx:
        provider = await rows.find_provider(tx, identifier)
    if provider is None:
        raise _not_found()
    return provider


def _identifier(ctx: Context) -> str:
    identifier = ctx.request.params["identifier"]
    if not identifier.startswith(logic.PREFIX):
        raise ValidationFailed("identifier must start with 'custom:' prefix")
    return identifier


def _not_found() -> AuthFailure:
    return AuthFailure(
        "Custom OAuth provider not found", code="custom_provider_not_found", status=404
    )


async def update_provider(ctx: Context) -> Response:
    """PUT /admin/custom-providers/{identifier}"""
    body = await ctx.fields()
    provider = await _find(ctx)
    try:
        values = _read_shared(body.raw, provider.provider_type, fill=False)
        for name, length in (("name", 100), ("client_id", 512), ("client_secret", 4096)):
            if body.raw.get(name):
                values[name] = logic.require_text(name, body.raw[name], length)
        _refuse_private(ctx, values)
    except logic.CustomProviderInvalid as error:
        raise ValidationFailed(str(error)) from None
    if "client_secret" in values:
        values["client_secret"] = seal(ctx, values["client_secret"], provider.id)
    values |= {name: body.flag(name) for name in _FLAGS if body.has(name)}
    if "issuer" in values or "discovery_url" in values:
        issuer = values.get("issuer") or provider.issuer or ""
        values |= await _discover(
            ctx, issuer, values.get("discovery_url") or provider.discovery_url
        )
    async with ctx.transaction("change a custom provider") as tx:
        changed = await rows.update_provider(tx, provider.id, values)
    return json_response(render_provider(changed))


async def delete_provider(ctx: Context) -> Response:
    """DELETE /admin/custom-providers/{identifier}"""
    identifier = _identifier(ctx)
    async with ctx.transaction("remove a custom provider") as tx:
        if not await rows.delete_provider(tx, identifier):
            raise _not_found()
    return Response(204)
