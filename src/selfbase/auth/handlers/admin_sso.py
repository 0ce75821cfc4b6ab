"""SAML connections, for administrators."""

from __future__ import annotations

import re
from typing import Any

from selfbase.auth.authenticate import is_uuid
from selfbase.auth.context import Context
from selfbase.auth.errors import AuthFailure, Conflict, ValidationFailed
from selfbase.auth.logic.fields import Fields
from selfbase.auth.logic.render import render_moment
from selfbase.auth.logic.saml.attributes import MappingInvalid, require_mapping
from selfbase.auth.logic.saml.metadata import (
    NAME_ID_FORMATS,
    IdentityProvider,
    MetadataInvalid,
    parse_identity_provider,
)
from selfbase.auth.queries import sso as rows
from selfbase.auth.saml import fetch_metadata
from selfbase.auth.types_more import SsoProvider
from selfbase.database.database import Transaction
from selfbase.database.failures import UniqueViolation
from selfbase.http.values import Response, json_response

RESOURCE_PREFIX = "resource_"
DOMAINS_MAX = 500
_DOMAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


def render_provider(provider: SsoProvider, *, with_xml: bool = True) -> dict[str, Any]:
    saml: dict[str, Any] = {
        "entity_id": provider.entity_id,
        "attribute_mapping": dict(provider.attribute_mapping),
    }
    if with_xml:
        saml["metadata_xml"] = provider.metadata_xml
    if provider.metadata_url:
        saml["metadata_url"] = provider.metadata_url
    if provider.name_id_format:
        saml["name_id_format"] = provider.name_id_format
    shown: dict[str, Any] = {
        "id": provider.id,
        "disabled": provider.disabled,
        "saml": saml,
        "domains": [{"domain": domain} for domain in provider.domains],
        "created_at": render_moment(provider.created_at),
        "updated_at": render_moment(provider.updated_at),
    }
    if provider.resource_id is not None:
        shown["resource_id"] = provider.resource_id
    return shown


async def list_providers(ctx: Context) -> Response:
    """GET /admin/sso/providers"""
    async with ctx.transaction("list SSO providers") as tx:
        found = await rows.list_providers(
            tx,
            resource_id=ctx.request.query_value("resource_id") or None,
            resource_prefix=ctx.request.query_value("resource_id_prefix") or None,
        )
    return json_response({"items": [render_provider(p, with_xml=False) for p in found]})


async def create_provider(ctx: Context) -> Response:
    """POST /admin/sso/providers"""
    body = await ctx.fields()
    if body.text("type") != "saml":
        raise ValidationFailed("Only 'saml' supported for SSO provider type")
    if not body.text("metadata_url") and not body.text("metadata_xml"):
        raise ValidationFailed("Either metadata_xml or metadata_url must be set")
    xml, metadata = await _read_metadata(ctx, body)
    values: dict[str, Any] = {
        "entity_id": metadata.entity_id,
        "metadata_xml": xml,
        "metadata_url": body.text("metadata_url") or None,
        "attribute_mapping": _read_mapping(body),
        "name_id_format": _read_name_id_format(body),
        "domains": _read_domains(body),
        "resource_id": body.text("resource_id") or None,
        "disabled": body.flag("disabled") if body.has("disabled") else None,
    }
    try:
        async with ctx.transaction("add an SSO provider") as tx:
            if await rows.find_provider_by_entity(tx, metadata.entity_id) is not None:
                raise AuthFailure(
                    "SAML Identity Provider with this EntityID"
                    f" ({metadata.entity_id}) already exists",
                    code="saml_idp_already_exists",
                    status=422,
                )
            await _check_domains(tx, values["domains"], None)
            provider = await rows.insert_provider(tx, values)
    except UniqueViolation:
        raise _conflict() from None
    return json_response(render_provider(provider), 201)


async def _read_metadata(ctx: Context, body: Fields) -> tuple[str, IdentityProvider]:
    """The metadata given or fetched, and what it says.  Raises ValidationFailed,
    saml_metadata_fetch_failed."""
    xml, url = body.text("metadata_xml"), body.text("metadata_url")
    if xml and url:
        raise ValidationFailed("Only one of metadata_xml or metadata_url needs to be set")
    raw: str | bytes = xml
    if url:
        if not url.startswith("https://"):
            raise ValidationFailed("metadata_url is not a HTTPS URL")
        raw = await fetch_metadata(ctx, url)
    try:
        metadata = parse_identity_provider(raw)
    except MetadataInvalid as error:
        raise ValidationFailed(str(error)) from None
    return raw.decode() if isinstance(raw, bytes) else raw, metadata


def _read_mapping(body: Fields) -> dict[str, Any]:
    try:
        return require_mapping(body.raw.get("attribute_mapping"))
    except MappingInvalid as error:
        raise ValidationFailed(str(error)) from None


def _read_name_id_format(body: Fields) -> str | None:
    value = body.text("name_id_format")
    if value and value not in NAME_ID_FORMATS:
        listed = ", ".join(NAME_ID_FORMATS)
        raise ValidationFailed(f"name_id_format must be unspecified or one of {listed}")
    return value or None


def _read_domains(body: Fields) -> list[str]:
    domains = list(dict.fromkeys(domain.strip().lower() for domain in body.texts("domains")))
    if len(domains) > DOMAINS_MAX:
        raise ValidationFailed(f"domains may hold at most {DOMAINS_MAX}")
    for domain in domains:
        if not _DOMAIN.fullmatch(domain):
            raise ValidationFailed(f"'{domain[:100]}' is not a domain")
    return domains


async def _check_domains(tx: Transaction, domains: list[str], own_id: str | None) -> None:
    for domain in domains:
        owner = await rows.find_provider_by_domain(tx, domain)
        if owner is not None and owner.id != own_id:
            raise AuthFailure(
                f"SSO Domain '{domain}' is already assigned to an SSO identity provider"
                f" ({owner.id})",
                code="sso_domain_already_exists",
                status=400,
            )


def _conflict() -> Conflict:
    return Conflict(
        "Updating SSO provider failed, likely due to a conflict. Try again?", status=422
    )


async def _find(ctx: Context, tx: Transaction) -> SsoProvider:
    """By id, or by `resource_<resource id>`.  Raises sso_provider_not_found."""
    text = ctx.request.params["provider_id"]
    provider = None
    if text.startswith(RESOURCE_PREFIX):
        provider = await rows.find_provider_by_resource(tx, text.removeprefix(RESOURCE_PREFIX))
    elif is_uuid(text):
        provider = await rows.find_provider(tx, text)
    if provider is None:
        raise AuthFailure(
            "SSO Identity Provider not found", code="sso_provider_not_found", status=404
        )
    return provider


async def get_provider(ctx: Context) -> Response:
    """GET /admin/sso/providers/{provider_id}"""
    async with ctx.transaction("show an SSO provider") as tx:
        return json_response(render_provider(await _find(ctx, tx)))


async def update_provider(ctx: Context) -> Response:
    """PUT /admin/sso/providers/{provider_id}"""
    body = await ctx.fields()
    async with ctx.transaction("find an SSO provider") as tx:
        provider = await _find(ctx, tx)
    values: dict[str, Any] = {
        "metadata_xml": provider.metadata_xml,
        "metadata_url": provider.metadata_url,
        "attribute_mapping": provider.attribute_mapping,
        "name_id_format": _read_name_id_format(body),
        "domains": list(provider.domains),
        "resource_id": provider.resource_id,
        "disabled": provider.disabled,
    }
    # Fetched outside the transaction: nothing waits for a foreign server while holding rows.
    if body.text("metadata_xml") or body.text("metadata_url"):
        values |= await _read_new_metadata(ctx, body, provider)
    mapping = _read_mapping(body)
    if mapping:
        values["attribute_mapping"] = mapping
    if body.has("domains"):
        values["domains"] = _read_domains(body)
    if body.has("resource_id"):
        values["resource_id"] = body.text("resource_id") or None
    if body.has("disabled"):
        values["disabled"] = body.flag("disabled")
    try:
        async with ctx.transaction("change an SSO provider") as tx:
            await _check_domains(tx, values["domains"], provider.id)
            changed = await rows.update_provider(tx, provider, values)
    except UniqueViolation:
        raise _conflict() from None
    return json_response(render_provider(changed))


async def _read_new_metadata(ctx: Context, body: Fields, provider: SsoProvider) -> dict[str, Any]:
    xml, metadata = await _read_metadata(ctx, body)
    if metadata.entity_id != provider.entity_id:
        raise AuthFailure(
            "SAML Metadata can be updated only if the EntityID matches for the provider; expected"
            f" '{provider.entity_id}' but got '{metadata.entity_id}'",
            code="saml_entity_id_mismatch",
            status=400,
        )
    return {
        "metadata_xml": xml,
        "metadata_url": body.text("metadata_url") or provider.metadata_url,
    }


async def delete_provider(ctx: Context) -> Response:
    """DELETE /admin/sso/providers/{provider_id}"""
    async with ctx.transaction("remove an SSO provider") as tx:
        provider = await _find(ctx, tx)
        await rows.delete_provider(tx, provider.id)
    return json_response(render_provider(provider))
