"""Single sign-on: the request to an identity provider, and its answer (SAML 2.0)."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from selfbase.auth import accounts, linking
from selfbase.auth.authenticate import is_uuid
from selfbase.auth.context import Context
from selfbase.auth.errors import AuthFailure, UnexpectedFailure, ValidationFailed
from selfbase.auth.flows import (
    read_challenge,
    redirect_with_code,
    redirect_with_session,
    see_other,
)
from selfbase.auth.handlers.external import error_members
from selfbase.auth.logic.fields import parse_uuid
from selfbase.auth.logic.providers.profile import Profile
from selfbase.auth.logic.redirects import is_allowed, with_query
from selfbase.auth.logic.saml import attributes
from selfbase.auth.logic.saml.metadata import (
    PERSISTENT,
    IdentityProvider,
    MetadataInvalid,
    acs_url_of,
    entity_id_of,
    parse_identity_provider,
    render_service_provider,
)
from selfbase.auth.logic.saml.request import render_redirect, render_request
from selfbase.auth.logic.saml.response import (
    Assertion,
    Expected,
    ResponseInvalid,
    decode_response,
    peek_issuer,
    verify_response,
)
from selfbase.auth.queries import flow as flow_rows
from selfbase.auth.queries import sso as rows
from selfbase.auth.saml import ServiceProvider, fetch_metadata, open_service_provider
from selfbase.auth.sessions import Grant, issue_session
from selfbase.auth.types import FlowState
from selfbase.auth.types_more import RelayState, SsoProvider
from selfbase.http.values import Response, json_response

METHOD = "sso/saml"
METADATA_YEARS = 5


async def begin_sso(ctx: Context) -> Response:
    """POST /sso"""
    own = open_service_provider(ctx)
    body = await ctx.fields()
    provider_id, domain = body.text("provider_id"), body.text("domain")
    if provider_id and domain:
        raise ValidationFailed("Only one of provider_id or domain supported")
    if not provider_id and not domain:
        raise ValidationFailed("A provider_id or domain needs to be provided")
    challenge = read_challenge(body)
    redirect_to = body.text("redirect_to") or ctx.request.query_value("redirect_to") or ""
    async with ctx.transaction("begin a SAML sign-in") as tx:
        if provider_id:
            parsed = parse_uuid(provider_id, "provider_id must be an UUID")
            provider = await rows.find_provider(tx, parsed)
        else:
            provider = await rows.find_provider_by_domain(tx, domain)
        if provider is None:
            words = (
                "No such SSO provider"
                if provider_id
                else "No SSO provider assigned for this domain"
            )
            raise AuthFailure(words, code="sso_provider_not_found", status=404)
        _check_enabled(provider)
        identity_provider = _read_metadata(provider)
        if not identity_provider.sso_redirect_url:
            raise UnexpectedFailure("The identity provider offers no redirect binding")
        flow = await flow_rows.insert_flow(
            tx,
            {
                "provider_type": METHOD,
                "authentication_method": METHOD,
                "code_challenge": challenge.challenge if challenge else None,
                "code_challenge_method": challenge.method if challenge else None,
                "referrer": redirect_to or None,
            },
        )
        request_id = f"id-{uuid.uuid4()}"
        state = await rows.insert_relay_state(
            tx,
            provider_id=provider.id,
            request_id=request_id,
            redirect_to=redirect_to,
            flow_id=flow.id,
            now=ctx.now,
        )
    request = render_request(
        request_id,
        identity_provider,
        base_url=own.base_url,
        name_id_format=provider.name_id_format or PERSISTENT,
        now=ctx.now,
    )
    url = render_redirect(request, identity_provider, relay_state=state, key=own.key)
    if body.flag("skip_http_redirect"):
        return json_response({"url": url})
    return see_other(url)


def _check_enabled(provider: SsoProvider) -> None:
    if provider.disabled:
        raise AuthFailure(
            "SSO Provider is currently disabled", code="sso_provider_disabled", status=404
        )


def _read_metadata(provider: SsoProvider) -> IdentityProvider:
    try:
        return parse_identity_provider(provider.metadata_xml)
    except MetadataInvalid as error:
        raise UnexpectedFailure(
            "Error parsing SAML Metadata for SAML provider", internal=str(error)
        ) from None


async def get_metadata(ctx: Context) -> Response:
    """GET /sso/saml/metadata"""
    own = open_service_provider(ctx)
    download = ctx.request.query_value("download") == "true"
    until = ctx.now.replace(year=ctx.now.year + METADATA_YEARS, day=1) if download else None
    document = render_service_provider(
        own.base_url, own.certificates, encryption=own.encryption, valid_until=until
    )
    age_s = 600 if own.next_key is None else 60
    headers = [("content-type", "application/xml"), ("cache-control", f"public, max-age={age_s}")]
    if download:
        headers.append(("content-disposition", 'attachment; filename="metadata.xml"'))
    return Response(200, headers, document)


async def consume_assertion(ctx: Context) -> Response:
    """POST /sso/saml/acs"""
    try:
        return await _consume(ctx)
    except AuthFailure as failure:
        return see_other(with_query(ctx.settings.site_url, error_members(failure)))


@dataclass(frozen=True, slots=True)
class _Begun:
    """What is known of the sign-in before the response is read."""

    provider: SsoProvider
    redirect_to: str
    request_ids: tuple[str, ...] = ()
    flow: FlowState | None = None


async def _consume(ctx: Context) -> Response:
    own = open_service_provider(ctx)
    form: Mapping[str, object] = (await ctx.fields()).raw
    posted, state = str(form.get("SAMLResponse") or ""), str(form.get("RelayState") or "")
    if not posted:
        raise ValidationFailed("SAMLResponse is missing")
    try:
        raw = decode_response(posted)
    except ResponseInvalid:
        raise ValidationFailed("SAMLResponse is not a valid Base64 string") from None
    begun = await _find_begun(ctx, state, raw)
    _check_enabled(begun.provider)
    identity_provider = await _refresh_metadata(ctx, begun.provider)
    expected = Expected(
        identity_provider, entity_id_of(own.base_url), acs_url_of(own.base_url), begun.request_ids
    )
    try:
        # XML of a stranger, up to half a megabyte: not on the loop that serves everybody.
        assertion = await asyncio.to_thread(
            verify_response, raw, expected, ctx.now, decrypt=own.decrypt
        )
    except ResponseInvalid as error:
        raise ValidationFailed("SAML Assertion is not valid", internal=str(error)) from None
    profile = _read_profile(begun.provider, assertion)
    return await _finish(ctx, own, begun, assertion, profile)


async def _find_begun(ctx: Context, state: str, raw: bytes) -> _Begun:
    """By the relay state where we began, by the issuer where the provider did.

    Raises saml_relay_state_not_found, saml_relay_state_expired, saml_idp_not_found.
    """
    if is_uuid(state):
        return await _find_requested(ctx, state)
    if state and not urlsplit(state).scheme and not state.startswith("/"):
        raise ValidationFailed("SAML RelayState is not a valid UUID or URL")
    try:
        issuer = peek_issuer(raw)
    except ResponseInvalid:
        raise ValidationFailed("SAMLResponse is not a valid XML SAML assertion") from None
    async with ctx.transaction("find a SAML provider") as tx:
        provider = await rows.find_provider_by_entity(tx, issuer)
    if provider is None:
        raise AuthFailure(
            "A SAML connection has not been established with this Identity Provider",
            code="saml_idp_not_found",
            status=404,
        )
    return _Begun(provider, state)


async def _find_requested(ctx: Context, state: str) -> _Begun:
    flow = None
    async with ctx.transaction("continue a SAML sign-in") as tx:
        relay: RelayState | None = await rows.consume_relay_state(tx, state)
        provider = None if relay is None else await rows.find_provider(tx, relay.sso_provider_id)
        if relay is not None and relay.flow_state_id is not None:
            flow = await flow_rows.find_flow(tx, relay.flow_state_id)
    if relay is None or provider is None:
        raise AuthFailure(
            "SAML RelayState does not exist, try logging in again?",
            code="saml_relay_state_not_found",
            status=404,
        )
    age_s = (ctx.now - relay.created_at).total_seconds()
    if age_s >= ctx.settings.saml_relay_state_validity_period:
        raise AuthFailure(
            "SAML RelayState has expired. Try logging in again?",
            code="saml_relay_state_expired",
            status=422,
        )
    return _Begun(provider, relay.redirect_to, (relay.request_id,), flow)


async def _refresh_metadata(ctx: Context, provider: SsoProvider) -> IdentityProvider:
    """The provider's metadata, fetched anew where it is stale; the old one when that fails."""
    known = _read_metadata(provider)
    if provider.metadata_url is None or not known.is_stale(provider.metadata_updated_at, ctx.now):
        return known
    try:
        raw = await fetch_metadata(ctx, provider.metadata_url)
        fresh = parse_identity_provider(raw)
    except (AuthFailure, MetadataInvalid):
        return known
    if fresh.entity_id != provider.entity_id:
        return known
    async with ctx.transaction("store fresh SAML metadata") as tx:
        await rows.set_metadata(tx, provider.id, raw.decode())
    return fresh


def _read_profile(provider: SsoProvider, assertion: Assertion) -> Profile:
    """Raises saml_assertion_no_user_id, saml_assertion_no_email."""
    user_id = attributes.find_user_id(assertion)
    if not user_id:
        raise AuthFailure(
            "SAML Assertion did not contain a persistent Subject Identifier attribute or Subject"
            " NameID uniquely identifying this user",
            code="saml_assertion_no_user_id",
            status=400,
        )
    claims = attributes.map_attributes(assertion, provider.attribute_mapping)
    mapped = claims.get("email")
    email = mapped if isinstance(mapped, str) and mapped else attributes.find_email(assertion)
    if not email:
        raise AuthFailure(
            "SAML Assertion does not contain an email address",
            code="saml_assertion_no_email",
            status=400,
        )
    return attributes.read_assertion_profile(
        assertion, user_id=user_id, email=email, claims=claims
    ).settled()


async def _finish(
    ctx: Context, own: ServiceProvider, begun: _Begun, assertion: Assertion, profile: Profile
) -> Response:
    provider, flow = f"sso:{begun.provider.id}", begun.flow
    prepared = await linking.prepare(ctx, provider, profile)
    digest = hashlib.sha256(f"{assertion.issuer}\n{assertion.id}".encode()).hexdigest()
    grant: Grant | None = None
    async with ctx.transaction("finish a SAML sign-in") as tx:
        # An assertion signs in once, also where the provider began and no relay state guards it.
        if not await rows.claim_assertion(
            tx, begun.provider.id, digest, assertion.usable_until, ctx.now
        ):
            raise ValidationFailed("SAML Assertion has already been used")
        arrived = await linking.sign_in(ctx, tx, provider, profile, prepared=prepared)
        if arrived.failure is None and flow is not None and flow.is_pkce:
            locked = await flow_rows.find_flow(tx, flow.id, lock=True)
            if locked is None or locked.user_id is not None:
                raise AuthFailure(
                    "State has already been used", code="flow_state_already_used", status=400
                )
            await flow_rows.complete_flow(
                tx, flow.id, user_id=arrived.user.id, access_token="", refresh_token=""
            )
        elif arrived.failure is None:
            grant = await issue_session(
                ctx, tx, arrived.user, METHOD, not_after=assertion.session_ends_at
            )
            if flow is not None:
                await flow_rows.delete_flow(tx, flow.id)
    if arrived.failure is not None:
        raise arrived.failure
    if arrived.is_new:
        await accounts.tell_after_created(ctx, arrived.user)
    target = begun.redirect_to
    if not target or not is_allowed(target, ctx.settings.site_url, ctx.settings.uri_allow_list):
        target = ctx.settings.site_url
    response = (
        redirect_with_code(target, (flow.auth_code if flow else "") or "")
        if grant is None
        else redirect_with_session(target, grant)
    )
    response.status = 302
    return response
