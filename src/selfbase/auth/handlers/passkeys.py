"""Passkeys: registering them, signing in with one, and looking after them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from selfbase.auth import audit
from selfbase.auth.context import Context
from selfbase.auth.errors import (
    AuthFailure,
    EmailNotConfirmed,
    InsufficientAal,
    NoAuthorization,
    PhoneNotConfirmed,
    UserBanned,
    ValidationFailed,
)
from selfbase.auth.factors import relying_party
from selfbase.auth.handlers.mfa import describe_person
from selfbase.auth.logic import passkeys
from selfbase.auth.logic.fields import Fields, parse_uuid
from selfbase.auth.logic.render import render_moment
from selfbase.auth.queries import passkeys as rows
from selfbase.auth.queries.users import find_user
from selfbase.auth.sessions import issue_session, session_response
from selfbase.auth.types import User
from selfbase.auth.types_more import Passkey
from selfbase.database.database import Transaction
from selfbase.database.failures import UniqueViolation
from selfbase.http.values import Response, json_response

NAME_LENGTH_MAX = 120


class WebAuthnRefused(AuthFailure):
    """One answer for every way a ceremony can fail, so that it tells nothing about accounts."""

    code = "webauthn_verification_failed"
    status = 400
    message = "Credential verification failed"


def check_enabled(ctx: Context) -> None:
    """Raises passkey_disabled."""
    if not ctx.settings.passkey_enabled:
        raise AuthFailure("Passkeys are disabled", code="passkey_disabled", status=404)


def _check_manager(ctx: Context) -> None:
    """Raises unless the caller may add passkeys: at aal2 once a factor is verified."""
    if ctx.user.is_anonymous:
        raise NoAuthorization("Anonymous user not allowed to perform these actions", status=403)
    if ctx.user.is_sso_user:
        raise ValidationFailed("SSO users cannot register passkeys", status=422)
    _check_assurance(ctx)


def _check_assurance(ctx: Context) -> None:
    if ctx.user.verified_factors and ctx.session.aal != "aal2":
        raise InsufficientAal(
            "AAL2 session is required to manage passkeys when MFA is enabled", status=403
        )


async def begin_registration(ctx: Context) -> Response:
    """POST /passkeys/registration/options"""
    check_enabled(ctx)
    _check_manager(ctx)
    party, nonce = relying_party(ctx), secrets.token_bytes(passkeys.CHALLENGE_BYTES)
    async with ctx.transaction("begin registering a passkey") as tx:
        existing = await _list_below_limit(ctx, tx)
        options = passkeys.render_registration_options(
            party,
            describe_person(ctx.user),
            nonce,
            [passkey.credential for passkey in existing],
            discoverable=True,
        )
        return await _remember(ctx, tx, "registration", ctx.user.id, nonce, options)


async def _list_below_limit(ctx: Context, tx: Transaction) -> list[Passkey]:
    existing = await rows.list_passkeys(tx, ctx.user.id)
    if len(existing) >= ctx.settings.passkey_max_passkeys_per_user:
        raise AuthFailure(
            "Maximum number of passkeys reached", code="too_many_passkeys", status=422
        )
    return existing


async def _remember(
    ctx: Context,
    tx: Transaction,
    kind: str,
    user_id: str | None,
    nonce: bytes,
    options: Mapping[str, Any],
) -> Response:
    expires_at = ctx.now + timedelta(seconds=ctx.settings.webauthn_challenge_expiry_duration)
    data = passkeys.render_session_data(nonce, relying_party(ctx), user_id, expires_at)
    ceremony_id = await rows.insert_ceremony(
        tx, kind=kind, user_id=user_id, session_data=data, expires_at=expires_at, now=ctx.now
    )
    return json_response(
        {
            "challenge_id": ceremony_id,
            "options": options,
            "expires_at": int(expires_at.timestamp()),
        },
        headers=[("cache-control", "no-store")],
    )


async def finish_registration(ctx: Context) -> Response:
    """POST /passkeys/registration/verify"""
    check_enabled(ctx)
    _check_manager(ctx)
    body = await ctx.fields()
    nonce = await _consume(ctx, body, "registration", ctx.user.id)
    try:
        credential = passkeys.verify_registration(
            relying_party(ctx), body.mapping("credential"), nonce
        )
    except passkeys.CeremonyInvalid as error:
        raise WebAuthnRefused(internal=str(error)) from None
    try:
        async with ctx.transaction("register a passkey") as tx:
            await find_user(tx, ctx.user.id, lock=True)
            await _list_below_limit(ctx, tx)
            name = passkeys.name_authenticator(credential.aaguid)
            passkey = await rows.insert_passkey(tx, ctx.user.id, credential, name, ctx.now)
            await audit.record(ctx, tx, "passkey_created", ctx.user, {"passkey_id": passkey.id})
    except UniqueViolation:
        raise AuthFailure(
            "This credential is already registered", code="webauthn_credential_exists", status=422
        ) from None
    shown = render_passkey(passkey)
    shown.pop("last_used_at", None)
    return json_response(shown)


async def _consume(ctx: Context, body: Fields, kind: str, user_id: str | None) -> bytes:
    """The challenge of the ceremony the body names, which is gone after this.

    Raises webauthn_challenge_not_found, webauthn_challenge_expired, ValidationFailed.
    """
    if not body.text("challenge_id"):
        raise ValidationFailed("challenge_id is required")
    if not body.has("credential"):
        raise ValidationFailed("credential is required")
    ceremony_id = parse_uuid(body.text("challenge_id"), "challenge_id must be a valid UUID")
    async with ctx.transaction("take a passkey challenge") as tx:
        found = await rows.consume_ceremony(tx, ceremony_id, kind, user_id)
    nonce = None if found is None else passkeys.read_challenge(found[0])
    if found is None or nonce is None:
        raise AuthFailure(
            "Challenge not found or already used", code="webauthn_challenge_not_found", status=400
        )
    if ctx.now > found[1]:
        raise AuthFailure("Challenge has expired", code="webauthn_challenge_expired", status=400)
    return nonce


async def begin_authentication(ctx: Context) -> Response:
    """POST /passkeys/authentication/options"""
    check_enabled(ctx)
    nonce = secrets.token_bytes(passkeys.CHALLENGE_BYTES)
    options = passkeys.render_request_options(relying_party(ctx), nonce, [])
    async with ctx.transaction("begin a passkey sign-in") as tx:
        return await _remember(ctx, tx, "authentication", None, nonce, options)


async def finish_authentication(ctx: Context) -> Response:
    """POST /passkeys/authentication/verify"""
    check_enabled(ctx)
    body = await ctx.fields()
    nonce = await _consume(ctx, body, "authentication", None)
    answer = body.mapping("credential")
    credential_id = passkeys.answered_credential_id(answer)
    if credential_id is None:
        raise WebAuthnRefused("Invalid credential response")
    async with ctx.transaction("sign in with a passkey") as tx:
        passkey = await rows.find_passkey_by_credential(tx, credential_id)
        if passkey is None or passkeys.answered_user_handle(answer) != passkey.user_id:
            raise WebAuthnRefused
        try:
            count = passkeys.verify_assertion(relying_party(ctx), answer, nonce, passkey.credential)
        except passkeys.CeremonyInvalid as error:
            raise WebAuthnRefused(internal=str(error)) from None
        user = await find_user(tx, passkey.user_id)
        if user is None or user.deleted_at is not None:
            raise WebAuthnRefused
        _check_may_sign_in(ctx, user)
        await rows.touch_passkey(tx, passkey.id, count, ctx.now)
        await audit.record(ctx, tx, "login", user, {"passkey_id": passkey.id})
        grant = await issue_session(ctx, tx, user, "passkey")
    return session_response(grant)


def _check_may_sign_in(ctx: Context, user: User) -> None:
    if user.email and user.email_confirmed_at is None:
        raise EmailNotConfirmed(status=403)
    if user.phone and user.phone_confirmed_at is None:
        raise PhoneNotConfirmed(status=403)
    if user.is_banned(ctx.now):
        raise UserBanned(status=403)


def render_passkey(passkey: Passkey) -> dict[str, Any]:
    shown = {"id": passkey.id, "created_at": render_moment(passkey.created_at)}
    if passkey.friendly_name:
        shown["friendly_name"] = passkey.friendly_name
    if passkey.last_used_at is not None:
        shown["last_used_at"] = render_moment(passkey.last_used_at)
    return shown


async def list_passkeys(ctx: Context) -> Response:
    """GET /passkeys"""
    check_enabled(ctx)
    async with ctx.transaction("list passkeys") as tx:
        found = await rows.list_passkeys(tx, ctx.user.id)
    return json_response([render_passkey(passkey) for passkey in found])


async def rename_passkey(ctx: Context) -> Response:
    """PATCH /passkeys/{passkey_id}"""
    check_enabled(ctx)
    name = (await ctx.fields()).text("friendly_name")
    if not name:
        raise ValidationFailed("friendly_name is required")
    if len(name) > NAME_LENGTH_MAX:
        raise ValidationFailed("friendly_name must be 120 characters or less")
    async with ctx.transaction("rename a passkey") as tx:
        passkey = await find_of(tx, ctx.user.id, ctx.request.params["passkey_id"])
        renamed = await rows.rename_passkey(tx, passkey.id, name)
        await audit.record(ctx, tx, "passkey_updated", ctx.user, {"passkey_id": passkey.id})
    return json_response(render_passkey(renamed))


async def delete_passkey(ctx: Context) -> Response:
    """DELETE /passkeys/{passkey_id}"""
    check_enabled(ctx)
    _check_assurance(ctx)
    async with ctx.transaction("remove a passkey") as tx:
        passkey = await find_of(tx, ctx.user.id, ctx.request.params["passkey_id"])
        await rows.delete_passkey(tx, passkey.id)
        await audit.record(ctx, tx, "passkey_deleted", ctx.user, {"passkey_id": passkey.id})
    return Response(204)


async def find_of(tx: Transaction, user_id: str, passkey_id: str) -> Passkey:
    """A passkey of the user.  Raises ValidationFailed (404), also for another user's."""
    parsed = parse_uuid(passkey_id, "Passkey not found", status=404)
    passkey = await rows.find_passkey(tx, user_id, parsed)
    if passkey is None:
        raise ValidationFailed("Passkey not found", status=404)
    return passkey
