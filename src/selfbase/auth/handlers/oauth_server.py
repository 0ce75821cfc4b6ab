"""Auth as an OAuth 2.1 and OpenID Connect server: requests, consent, tokens, user info."""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from selfbase.auth import audit
from selfbase.auth.context import Context
from selfbase.auth.errors import (
    AuthFailure,
    InvalidCredentials,
    NoAuthorization,
    OAuthFailure,
    ValidationFailed,
)
from selfbase.auth.flows import see_other
from selfbase.auth.handlers.oauth_clients import check_enabled
from selfbase.auth.handlers.token import refresh_session
from selfbase.auth.logic import oauth_server as logic
from selfbase.auth.logic.fields import Fields, parse_uuid
from selfbase.auth.logic.redirects import is_allowed
from selfbase.auth.logic.render import render_moment
from selfbase.auth.queries import oauth as rows
from selfbase.auth.queries.users import find_user
from selfbase.auth.sessions import Grant, issue_session
from selfbase.auth.types import User
from selfbase.auth.types_more import OAuthAuthorization, OAuthClient
from selfbase.database.database import Transaction
from selfbase.http.values import Response, json_response

AUTHORIZATION_ID_CHARS = 32
ID_TOKEN_LIFE_S = 3600
METHOD = "oauth_provider/authorization_code"
_NO_STORE = [("cache-control", "no-store"), ("pragma", "no-cache")]


async def authorize(ctx: Context) -> Response:
    """GET /oauth/authorize"""
    check_enabled(ctx)
    # The first value of a repeated member counts, so that nothing can be slipped in behind it.
    query = dict(reversed(ctx.request.query_pairs()))
    client, redirect_uri = await _find_client(ctx, query)
    state = query.get("state", "")[: logic.STATE_LENGTH_MAX]
    try:
        form = logic.plan_authorization(
            query, default_scope=ctx.settings.oauth_server_default_scope
        )
    except logic.RequestInvalid as error:
        return see_other(
            logic.render_error(redirect_uri, "invalid_request", str(error), state), 302
        )
    path = ctx.settings.oauth_server_authorization_path
    if not path:
        words = "oauth authorization path not configured"
        return see_other(logic.render_error(redirect_uri, "server_error", words, state), 302)
    authorization_id = "".join(
        secrets.choice(string.ascii_lowercase + string.digits)
        for _ in range(AUTHORIZATION_ID_CHARS)
    )
    life = timedelta(seconds=ctx.settings.oauth_server_authorization_ttl)
    async with ctx.transaction("begin an authorization") as tx:
        await rows.insert_authorization(
            tx,
            {
                "authorization_id": authorization_id,
                "client_id": client.id,
                "redirect_uri": redirect_uri,
                "scope": form.scope,
                "state": form.state,
                "resource": form.resource,
                "nonce": form.nonce,
                "code_challenge": form.code_challenge,
                "code_challenge_method": form.code_challenge_method,
                "now": ctx.now,
                "expires_at": ctx.now + life,
            },
        )
    page = logic.join_path(ctx.settings.site_url, path)
    return see_other(logic.add_to_query(page, {"authorization_id": authorization_id}), 302)


async def _find_client(ctx: Context, query: Mapping[str, str]) -> tuple[OAuthClient, str]:
    """The client and its redirect address.  What is wrong here is never sent to that address.

    Raises ValidationFailed, oauth_client_not_found.
    """
    if not query.get("client_id"):
        raise ValidationFailed("client_id is required")
    redirect_uri = query.get("redirect_uri", "")
    if not redirect_uri:
        raise ValidationFailed("redirect_uri is required")
    async with ctx.transaction("find an OAuth client") as tx:
        client = await _find_client_by_id(tx, query["client_id"])
    if client is None:
        raise AuthFailure("invalid client_id", code="oauth_client_not_found", status=400)
    if not logic.is_registered_redirect(redirect_uri, client.redirect_uris):
        raise ValidationFailed("invalid redirect_uri")
    return client, redirect_uri


async def _find_client_by_id(tx: Transaction, text: str) -> OAuthClient | None:
    try:
        client_id = parse_uuid(text, "invalid client_id format")
    except ValidationFailed:
        return None
    return await rows.find_client(tx, client_id)


def _check_own_pages(ctx: Context) -> None:
    """Consent belongs to the project's own pages: not to other sites, and not to a client that
    acts for the user and would grant itself more."""
    if ctx.session.oauth_client_id is not None:
        raise NoAuthorization("OAuth clients cannot decide about consent", status=403)
    origin = ctx.request.headers.get("origin")
    if origin and not is_allowed(origin, ctx.settings.site_url, ctx.settings.uri_allow_list):
        raise ValidationFailed("unauthorized request origin")


def _not_found() -> AuthFailure:
    return AuthFailure("authorization not found", code="oauth_authorization_not_found", status=404)


async def _find_pending(ctx: Context, tx: Transaction) -> OAuthAuthorization | AuthFailure:
    """The request of the path.  A failure is returned, not raised, where the row has been marked
    as expired and must stay so.  Raises oauth_authorization_not_found, ValidationFailed."""
    found = await rows.find_authorization(tx, ctx.request.params["authorization_id"])
    if found is None:
        raise _not_found()
    if ctx.now > found.expires_at:
        if found.status == "pending":
            await rows.decide_authorization(tx, found.authorization_id, "expired")
        return _not_found()
    if found.user_id is not None and found.user_id != ctx.user.id:
        raise _not_found()
    if found.status != "pending":
        raise ValidationFailed("authorization request cannot be processed")
    return found


async def get_authorization(ctx: Context) -> Response:
    """GET /oauth/authorizations/{authorization_id}"""
    check_enabled(ctx)
    _check_own_pages(ctx)
    client: OAuthClient | None = None
    redirect_url: str | None = None
    async with ctx.transaction("show an authorization") as tx:
        found = await _find_pending(ctx, tx)
        if isinstance(found, OAuthAuthorization):
            client = await rows.find_client(tx, found.client_id)
            if client is None:
                raise _not_found()
            if found.user_id is None:
                await rows.claim_authorization(tx, found.authorization_id, ctx.user.id)
                granted = await rows.find_consent(tx, ctx.user.id, found.client_id)
                if granted is not None and logic.covers_scopes(granted, found.scope):
                    redirect_url = await _approve(tx, found)
    if isinstance(found, AuthFailure):
        raise found
    if redirect_url is not None:
        return json_response({"redirect_url": redirect_url}, headers=_NO_STORE)
    assert client is not None
    return json_response(
        {
            "authorization_id": found.authorization_id,
            "redirect_uri": found.redirect_uri,
            "client": _describe_client(client),
            "user": {"id": ctx.user.id, "email": ctx.user.email},
            "scope": found.scope,
        },
        headers=_NO_STORE,
    )


def _describe_client(client: OAuthClient) -> dict[str, str]:
    shown = {
        "id": client.id,
        "name": client.client_name,
        "uri": client.client_uri,
        "logo_uri": client.logo_uri,
    }
    return {name: value for name, value in shown.items() if value}


async def _approve(tx: Transaction, found: OAuthAuthorization) -> str:
    """Makes the code; where the browser goes with it."""
    code = secrets.token_urlsafe(32)
    await rows.decide_authorization(tx, found.authorization_id, "approved", code=code)
    return logic.render_success(found.redirect_uri, code, found.state)


async def decide_consent(ctx: Context) -> Response:
    """POST /oauth/authorizations/{authorization_id}/consent"""
    check_enabled(ctx)
    _check_own_pages(ctx)
    action = (await ctx.fields()).text("action")
    if action not in ("approve", "deny"):
        raise ValidationFailed("action must be 'approve' or 'deny'")
    url = ""
    async with ctx.transaction("decide an authorization") as tx:
        found = await _find_pending(ctx, tx)
        if isinstance(found, OAuthAuthorization):
            if found.user_id is None:
                # Only a request the user has been shown can be decided.
                raise _not_found()
            if action == "approve":
                url = await _approve(tx, found)
                await rows.put_consent(tx, ctx.user.id, found.client_id, found.scope)
            else:
                await rows.decide_authorization(tx, found.authorization_id, "denied")
                url = logic.render_error(
                    found.redirect_uri, "access_denied", "User denied the request", found.state
                )
    if isinstance(found, AuthFailure):
        raise found
    return json_response({"redirect_url": url}, headers=_NO_STORE)


async def exchange_token(ctx: Context) -> Response:
    """POST /oauth/token"""
    check_enabled(ctx)
    body = await ctx.fields()
    client = await _authenticate_client(ctx, body)
    grant_type = body.text("grant_type")
    if not grant_type:
        raise OAuthFailure("invalid_request", "grant_type is required")
    if grant_type not in client.grant_types:
        raise OAuthFailure(
            "unsupported_grant_type", f"Client is not allowed to use grant type: {grant_type[:100]}"
        )
    if grant_type == "authorization_code":
        return await _exchange_code(ctx, body, client)
    return await _refresh(ctx, body, client)


async def _authenticate_client(ctx: Context, body: Fields) -> OAuthClient:
    """Raises InvalidCredentials, in the same words for an unknown client and a wrong secret."""
    try:
        proof = logic.read_client_proof(ctx.request.headers.get("authorization"), body.raw)
    except logic.ProofInvalid as error:
        raise InvalidCredentials(f"Invalid client credentials: {error}") from None
    async with ctx.transaction("authenticate an OAuth client") as tx:
        client = await _find_client_by_id(tx, proof.client_id)
    if client is None:
        raise InvalidCredentials("Invalid client credentials")
    try:
        logic.judge_client_proof(
            proof,
            client_type=client.client_type,
            method=client.token_endpoint_auth_method,
            secret_hash=client.secret_hash,
        )
    except logic.ProofInvalid as error:
        raise InvalidCredentials("Invalid client credentials", internal=str(error)) from None
    return client


async def _exchange_code(ctx: Context, body: Fields, client: OAuthClient) -> Response:
    code = body.text("code")
    if not code:
        raise OAuthFailure("invalid_request", "code is required for authorization_code grant")
    failure: OAuthFailure | None = None
    async with ctx.transaction("exchange an authorization code") as tx:
        found = await rows.find_authorization_by_code(tx, code)
        if found is None or found.status != "approved":
            raise OAuthFailure("invalid_grant", "Invalid authorization code")
        if found.client_id != client.id:
            raise OAuthFailure("invalid_grant", "Authorization code was not issued for this client")
        failure = _find_code_fault(ctx, body, found)
        # Used, or shown with something wrong: either way the code is spent.
        await rows.delete_authorization(tx, found.authorization_id)
        if failure is None:
            user = await find_user(tx, found.user_id or "")
            failure = _find_user_fault(ctx, user)
        if failure is None and user is not None:
            await audit.record(
                ctx,
                tx,
                "login",
                user,
                {"provider_type": METHOD.replace("/", "_"), "client_id": client.id},
            )
            grant = await issue_session(
                ctx, tx, user, METHOD, oauth_client_id=client.id, scopes=found.scope
            )
    if failure is not None:
        raise failure
    id_token = _make_id_token(ctx, grant.user, found)
    return _token_response(grant, id_token)


def _find_code_fault(ctx: Context, body: Fields, found: OAuthAuthorization) -> OAuthFailure | None:
    if ctx.now > found.expires_at:
        return OAuthFailure("invalid_grant", "Authorization code has expired")
    resource, redirect_uri = body.text("resource"), body.text("redirect_uri")
    if resource and resource != found.resource:
        return OAuthFailure(
            "invalid_grant", "Authorization code resource does not match the resource parameter"
        )
    if redirect_uri and redirect_uri != found.redirect_uri:
        return OAuthFailure("invalid_grant", "Invalid redirect_uri")
    if not logic.verify_pkce(
        found.code_challenge, found.code_challenge_method, body.text("code_verifier")
    ):
        return OAuthFailure("invalid_grant", "PKCE verification failed")
    if found.user_id is None:
        return OAuthFailure("invalid_grant", "Authorization code has no associated user")
    return None


def _find_user_fault(ctx: Context, user: User | None) -> OAuthFailure | None:
    if user is None or user.deleted_at is not None:
        return OAuthFailure("invalid_grant", "User not found for authorization code")
    if user.is_banned(ctx.now):
        return OAuthFailure("access_denied", "User is banned")
    return None


def _make_id_token(ctx: Context, user: User, found: OAuthAuthorization) -> str | None:
    """For the scope openid, where tokens are signed with a key that can be published: a client
    could not verify a shared secret, and with it could forge."""
    scopes = logic.split_scope(found.scope)
    if "openid" not in scopes or ctx.core.tokens.signing.kind == "oct":
        return None
    now_s = int(ctx.now.timestamp())
    signed_in = user.last_sign_in_at or ctx.now
    claims: dict[str, Any] = {
        "iss": ctx.settings.issuer,
        **_userinfo(user, scopes, id_token=True),
        "aud": found.client_id,
        "exp": now_s + ID_TOKEN_LIFE_S,
        "iat": now_s,
        "auth_time": int(signed_in.timestamp()),
        "client_id": found.client_id,
    }
    if found.nonce:
        claims["nonce"] = found.nonce
    return ctx.core.tokens.sign(claims)


def _token_response(grant: Grant, id_token: str | None = None) -> Response:
    body: dict[str, Any] = {
        "access_token": grant.access_token,
        "token_type": "bearer",
        "expires_in": grant.expires_in,
        "refresh_token": grant.refresh_token,
    }
    if id_token is not None:
        body["id_token"] = id_token
    return json_response(body, headers=[*_NO_STORE, *grant.headers])


async def _refresh(ctx: Context, body: Fields, client: OAuthClient) -> Response:
    text = body.text("refresh_token")
    if not text:
        raise OAuthFailure("invalid_request", "refresh_token is required for refresh_token grant")
    return _token_response(await refresh_session(ctx, text, oauth_client_id=client.id))


async def get_userinfo(ctx: Context) -> Response:
    """GET /oauth/userinfo"""
    check_enabled(ctx)
    scopes = logic.split_scope(ctx.session.scopes)
    return json_response(_userinfo(ctx.user, scopes, id_token=False), headers=_NO_STORE)


def _userinfo(user: User, scopes: list[str], *, id_token: bool) -> dict[str, Any]:
    updated = user.updated_at
    return logic.select_userinfo(
        user_id=user.id,
        email=user.email,
        email_confirmed=user.email_confirmed_at is not None,
        phone=user.phone,
        phone_confirmed=user.phone_confirmed_at is not None,
        metadata=user.user_metadata,
        updated_at_s=None if updated is None else int(updated.timestamp()),
        scopes=scopes,
        id_token=id_token,
    )


async def list_grants(ctx: Context) -> Response:
    """GET /user/oauth/grants"""
    check_enabled(ctx)
    async with ctx.transaction("list a user's OAuth grants") as tx:
        found = await rows.list_consents(tx, ctx.user.id)
    return json_response(
        [
            {
                "client": _describe_client(client),
                "scopes": logic.split_scope(scopes),
                "granted_at": render_moment(granted_at),
            }
            for client, scopes, granted_at in found
        ]
    )


async def revoke_grant(ctx: Context) -> Response:
    """DELETE /user/oauth/grants"""
    check_enabled(ctx)
    text = ctx.request.query_value("client_id") or ""
    if not text:
        raise ValidationFailed("client_id query parameter is required")
    client_id = parse_uuid(text, "invalid client_id format")
    async with ctx.transaction("revoke an OAuth grant") as tx:
        if not await rows.revoke_consent(tx, ctx.user.id, client_id):
            raise AuthFailure(
                "No active grant found for this client",
                code="oauth_consent_not_found",
                status=404,
            )
        await audit.record(
            ctx,
            tx,
            "token_revoked",
            ctx.user,
            {"oauth_client_id": client_id, "action": "revoke_oauth_grant"},
        )
    return Response(204)


async def get_server_metadata(ctx: Context) -> Response:
    """GET /.well-known/oauth-authorization-server (RFC 8414)"""
    check_enabled(ctx)
    issuer = ctx.settings.issuer
    dynamic = ctx.settings.oauth_server_allow_dynamic_registration
    document = logic.render_discovery(
        issuer,
        authorization=f"{issuer}/oauth/authorize",
        token=f"{issuer}/oauth/token",
        jwks=f"{issuer}/.well-known/jwks.json",
        userinfo=f"{issuer}/oauth/userinfo",
        registration=f"{issuer}/oauth/clients/register" if dynamic else None,
    )
    return json_response(document, headers=[("cache-control", "public, max-age=600")])
