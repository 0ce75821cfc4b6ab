"""Clients of the OAuth server: registered by administrators, or by themselves (RFC 7591)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from selfbase.auth.context import Context
from selfbase.auth.errors import AuthFailure, FeatureDisabled, ValidationFailed
from selfbase.auth.logic import oauth_server as logic
from selfbase.auth.logic.fields import parse_uuid
from selfbase.auth.logic.paging import page_headers, parse_page
from selfbase.auth.logic.render import render_moment
from selfbase.auth.queries import oauth as rows
from selfbase.auth.types_more import OAuthClient
from selfbase.database.database import Transaction
from selfbase.http.values import Response, json_response


def check_enabled(ctx: Context) -> None:
    """Raises FeatureDisabled."""
    if not ctx.settings.oauth_server_enabled:
        raise FeatureDisabled("OAuth server is disabled")


def render_client(client: OAuthClient, secret: str | None = None) -> dict[str, Any]:
    """The public form; `secret` only when it has just been made."""
    shown: dict[str, Any] = {
        "client_id": client.id,
        "client_type": client.client_type,
        "redirect_uris": list(client.redirect_uris),
        "token_endpoint_auth_method": client.token_endpoint_auth_method,
        "grant_types": list(client.grant_types),
        "response_types": ["code"],
        "registration_type": client.registration_type,
        "created_at": render_moment(client.created_at),
        "updated_at": render_moment(client.updated_at),
    }
    if secret is not None:
        shown["client_secret"] = secret
    for name in ("client_name", "client_uri", "logo_uri"):
        if getattr(client, name):
            shown[name] = getattr(client, name)
    return shown


async def register_client(ctx: Context) -> Response:
    """POST /oauth/clients/register"""
    check_enabled(ctx)
    if not ctx.settings.oauth_server_allow_dynamic_registration:
        raise AuthFailure(
            "Dynamic client registration is not enabled",
            code="oauth_dynamic_client_registration_disabled",
            status=403,
        )
    return await _register(ctx, "dynamic")


async def create_client(ctx: Context) -> Response:
    """POST /admin/oauth/clients"""
    check_enabled(ctx)
    return await _register(ctx, "manual")


async def _register(ctx: Context, kind: str) -> Response:
    body = await ctx.fields()
    try:
        form = logic.plan_registration(logic.read_client_form(body.raw))
    except logic.ClientInvalid as error:
        raise ValidationFailed(str(error)) from None
    secret = None if form.client_type == "public" else secrets.token_urlsafe(32)
    values = {
        "client_name": None,
        "client_uri": None,
        "logo_uri": None,
        **_columns(form),
        "client_type": form.client_type,
        "registration_type": kind,
        "secret_hash": None if secret is None else logic.hash_client_secret(secret),
    }
    async with ctx.transaction("register an OAuth client") as tx:
        client = await rows.insert_client(tx, values)
    return json_response(
        render_client(client, secret), 201, headers=[("cache-control", "no-store")]
    )


def _columns(form: logic.ClientForm) -> dict[str, Any]:
    """The members that were given, as the columns hold them."""
    values: dict[str, Any] = {}
    for name in ("redirect_uris", "grant_types"):
        listed = getattr(form, name)
        if listed is not None:
            values[name] = ",".join(listed)
    for name in ("client_name", "client_uri", "logo_uri", "token_endpoint_auth_method"):
        text = getattr(form, name)
        if text is not None:
            values[name] = text or None
    return values


async def find_of_path(ctx: Context, tx: Transaction) -> OAuthClient:
    """The client the path names.  Raises oauth_client_not_found."""
    client_id = parse_uuid(ctx.request.params["client_id"], "invalid client_id format")
    client = await rows.find_client(tx, client_id)
    if client is None:
        raise AuthFailure("OAuth client not found", code="oauth_client_not_found", status=404)
    return client


async def list_clients(ctx: Context) -> Response:
    """GET /admin/oauth/clients"""
    check_enabled(ctx)
    page = parse_page(ctx.request.query_pairs())
    async with ctx.transaction("list OAuth clients") as tx:
        clients, total = await rows.list_clients(tx, limit=page.size, offset=page.offset)
    headers = page_headers(page, total, ctx.request.full_path or ctx.request.path)
    return json_response({"clients": [render_client(c) for c in clients]}, headers=headers)


async def get_client(ctx: Context) -> Response:
    """GET /admin/oauth/clients/{client_id}"""
    check_enabled(ctx)
    async with ctx.transaction("show an OAuth client") as tx:
        return json_response(render_client(await find_of_path(ctx, tx)))


async def update_client(ctx: Context) -> Response:
    """PUT /admin/oauth/clients/{client_id}"""
    check_enabled(ctx)
    body = await ctx.fields()
    async with ctx.transaction("change an OAuth client") as tx:
        client = await find_of_path(ctx, tx)
        values = _plan_update(body.raw, client)
        return json_response(render_client(await rows.update_client(tx, client.id, values)))


def _plan_update(raw: Mapping[str, Any], client: OAuthClient) -> dict[str, Any]:
    try:
        form = logic.plan_update(logic.read_client_form(raw), client.client_type)
    except logic.ClientInvalid as error:
        raise ValidationFailed(str(error)) from None
    return _columns(form)


async def delete_client(ctx: Context) -> Response:
    """DELETE /admin/oauth/clients/{client_id}"""
    check_enabled(ctx)
    async with ctx.transaction("delete an OAuth client") as tx:
        client = await find_of_path(ctx, tx)
        await rows.delete_client(tx, client.id)
    return Response(204)


async def regenerate_secret(ctx: Context) -> Response:
    """POST /admin/oauth/clients/{client_id}/regenerate_secret"""
    check_enabled(ctx)
    secret = secrets.token_urlsafe(32)
    async with ctx.transaction("make a new client secret") as tx:
        client = await find_of_path(ctx, tx)
        if client.client_type == "public":
            raise ValidationFailed("Cannot regenerate secret for public client")
        changed = await rows.update_client(
            tx, client.id, {"secret_hash": logic.hash_client_secret(secret)}
        )
    return json_response(render_client(changed, secret), headers=[("cache-control", "no-store")])
