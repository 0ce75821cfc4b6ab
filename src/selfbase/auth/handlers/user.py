"""GET and PUT /user, POST /logout, GET /reauthenticate, DELETE /user/identities/{id}."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from selfbase.auth import accounts, audit, one_time
from selfbase.auth.context import Context
from selfbase.auth.errors import (
    AuthFailure,
    EmailExists,
    EmailNotConfirmed,
    InsufficientAal,
    NotAdmin,
    PhoneExists,
    PhoneNotConfirmed,
    ValidationFailed,
)
from selfbase.auth.flows import begin_flow, read_challenge, redirect_target
from selfbase.auth.logic.accounts import merge_metadata
from selfbase.auth.logic.addresses import parse_email, parse_phone
from selfbase.auth.logic.fields import Fields, parse_uuid
from selfbase.auth.logic.one_time import hash_code, is_code_valid
from selfbase.auth.logic.render import dump_json, render_user
from selfbase.auth.password_rules import check_new_password
from selfbase.auth.queries import sessions as session_rows
from selfbase.auth.queries import users as rows
from selfbase.auth.types import Identity, Session, User
from selfbase.database.database import Transaction
from selfbase.http.values import JSON_UTF8, Response, json_response

RECENT = timedelta(hours=24)


def user_response(user: User) -> Response:
    return Response(200, [("content-type", JSON_UTF8)], dump_json(render_user(user)))


async def get_user(ctx: Context) -> Response:
    """The signed-in user."""
    if ctx.claims.get("aud") not in (ctx.settings.jwt_aud, [ctx.settings.jwt_aud], None):
        raise ValidationFailed("Token audience doesn't match request audience")
    return user_response(ctx.user)


async def log_out(ctx: Context) -> Response:
    """Ends this session, the others, or all."""
    scope = ctx.request.query_value("scope") or "global"
    if scope not in ("global", "local", "others"):
        raise ValidationFailed(f"Unsupported logout scope {scope[:50]!r}")
    async with ctx.transaction("sign-out") as tx:
        await audit.record(ctx, tx, "logout", ctx.user)
        if scope == "local":
            await session_rows.delete_session(tx, ctx.session.id)
        else:
            keep = ctx.session.id if scope == "others" else None
            await session_rows.delete_sessions(tx, ctx.user.id, keep=keep)
    return Response(204)


async def reauthenticate(ctx: Context) -> Response:
    """Sends a code that proves the person is still there."""
    user = ctx.user
    if not user.email and not user.phone:
        raise ValidationFailed(
            "Reauthentication requires the user to have an email or a phone number"
        )
    if user.email:
        if user.email_confirmed_at is None:
            raise EmailNotConfirmed("Please verify your email first.", status=422)
    elif user.phone_confirmed_at is None:
        raise PhoneNotConfirmed("Please verify your phone first.", status=422)
    message_id = ""
    async with ctx.transaction("reauthentication") as tx:
        await audit.record(ctx, tx, "user_reauthenticate_requested", user)
        if user.email:
            await one_time.send_reauthentication(ctx, tx, user)
        else:
            message_id = await one_time.send_phone_code(
                ctx, tx, user, user.phone, "reauthentication", "sms"
            )
    return json_response({"message_id": message_id} if message_id else {})


async def update_user(ctx: Context) -> Response:
    """Changes address, number, password or metadata of the signed-in user."""
    body = await ctx.fields()
    user, session = ctx.user, ctx.session
    email, phone = _read_addresses(ctx, body)
    password = body.text("password") if body.has("password") else None
    if body.has("app_metadata") and body.mapping("app_metadata") and not _is_admin(ctx, user):
        raise NotAdmin("Updating app_metadata requires admin privileges")
    changes_login = (
        bool(password) or (email not in ("", user.email)) or (phone not in ("", user.phone))
    )
    _check_may_change(user, session, changes_login, body)
    if password and user.is_anonymous and not email and not phone:
        raise ValidationFailed(
            "Updating password of an anonymous user without an email or phone is not allowed",
            status=422,
        )
    await _refuse_duplicates(ctx, user, email, phone)
    encrypted = None
    if password is not None:
        encrypted = await _prepare_password(ctx, body, password)
    challenge = read_challenge(body)
    target = redirect_target(ctx, body)
    channel = one_time.parse_channel(body.text("channel"), ctx.settings.sms_provider)
    async with ctx.transaction("change of the signed-in user") as tx:
        if encrypted:
            user = await accounts.set_password(ctx, tx, user, encrypted, keep_session=session.id)
            await audit.record(ctx, tx, "user_updated_password", user)
            await ctx.core.mailer.notify(ctx, tx, "password_changed", user)
        user = await _apply_metadata(tx, user, body)
        if email and email != user.email:
            if user.is_anonymous and ctx.settings.mailer_autoconfirm:
                user = await accounts.apply_email_change(ctx, tx, user, email)
            else:
                await begin_flow(
                    tx, challenge, provider="email_change", method="email_change", user_id=user.id
                )
                user = await one_time.send_email_change(
                    ctx, tx, user, email, redirect_to=target, pkce=challenge is not None
                )
        if phone and phone != user.phone:
            if ctx.settings.sms_autoconfirm:
                user = await accounts.apply_phone_change(ctx, tx, user, phone)
            else:
                await one_time.send_phone_code(ctx, tx, user, phone, "phone_change", channel)
        await audit.record(ctx, tx, "user_modified", user)
        user = await rows.get_user(tx, user.id)
    return user_response(user)


def _read_addresses(ctx: Context, body: Fields) -> tuple[str, str]:
    email, phone = body.text("email"), body.text("phone")
    extended = ctx.settings.mailer_email_validation_extended
    return (
        parse_email(email, extended=extended) if email else "",
        parse_phone(phone) if phone else "",
    )


def _is_admin(ctx: Context, user: User) -> bool:
    return user.role in ctx.settings.jwt_admin_roles


def _check_may_change(user: User, session: Session, changes_login: bool, body: Fields) -> None:
    if changes_login and user.verified_factors and session.aal != "aal2":
        raise InsufficientAal(
            "AAL2 session is required to update email or password when MFA is enabled."
        )
    if user.is_sso_user and (changes_login or body.text("nonce")):
        raise AuthFailure(
            "Updating email, phone, password of a SSO account only possible via SSO",
            code="user_sso_managed", status=422,
        )  # fmt: skip


async def _refuse_duplicates(ctx: Context, user: User, email: str, phone: str) -> None:
    async with ctx.transaction("change of address looks for its owner") as tx:
        if email and email != user.email:
            found = await accounts.find_duplicate_email(ctx, tx, email, besides=user)
            if found is not None:
                raise EmailExists
        if phone and phone != user.phone:
            other = await rows.find_user_by_phone(tx, phone, ctx.settings.jwt_aud)
            if other is not None:
                raise PhoneExists


async def _prepare_password(ctx: Context, body: Fields, password: str) -> str | None:
    """The hash of the new password, once everything asked for has been shown."""
    user, session = ctx.user, ctx.session
    await check_new_password(ctx, password)
    if ctx.settings.security_update_password_require_reauthentication:
        begun = session.created_at
        if begun is None or ctx.now > begun + RECENT:
            await _check_nonce(ctx, body.text("nonce"))
    if user.has_password:
        stored = accounts.read_password(ctx, user)
        recovering = {claim.method for claim in session.amr} & {"otp", "magiclink", "recovery"}
        if ctx.settings.security_update_password_require_current_password and not recovering:
            current = body.text("current_password")
            if not current:
                raise AuthFailure(
                    "Current password required when setting new password.",
                    code="current_password_required", status=400,
                )  # fmt: skip
            if not await ctx.core.passwords.verify(current, stored):
                raise AuthFailure(
                    "Current password required when setting new password.",
                    code="current_password_invalid", status=400,
                )  # fmt: skip
        if await ctx.core.passwords.verify(password, stored):
            raise AuthFailure(
                "New password should be different from the old password.",
                code="same_password", status=422,
            )  # fmt: skip
    return await ctx.core.passwords.hash(password, ctx.settings.password_hash_cost)


async def _check_nonce(ctx: Context, nonce: str) -> None:
    if not nonce:
        raise AuthFailure(
            "Password update requires reauthentication", code="reauthentication_needed", status=400
        )
    user = ctx.user
    address = user.email or user.phone
    life_s = ctx.settings.mailer_otp_exp if user.email else ctx.settings.sms_otp_exp
    valid = is_code_valid(
        hash_code(address, nonce), user.reauthentication_token, user.reauthentication_sent_at,
        life_s, ctx.now,
    )  # fmt: skip
    if not valid:
        async with ctx.transaction("wrong reauthentication code") as tx:
            await one_time.note_wrong_code(ctx, tx, user)
        raise AuthFailure(
            "Nonce has expired or is invalid", code="reauthentication_not_valid", status=422
        )


async def _apply_metadata(tx: Transaction, user: User, body: Fields) -> User:
    changes: dict[str, Any] = {}
    if body.has("data"):
        changes["user_metadata"] = merge_metadata(user.user_metadata, body.mapping("data"))
    if body.has("app_metadata") and body.mapping("app_metadata"):
        changes["app_metadata"] = merge_metadata(user.app_metadata, body.mapping("app_metadata"))
    return await rows.update_user(tx, user.id, changes) if changes else user


async def unlink_identity(ctx: Context) -> Response:
    """Removes one of the user's ways of signing in; never the last one."""
    if not ctx.settings.security_manual_linking_enabled:
        raise AuthFailure("Manual linking is disabled", code="manual_linking_disabled", status=404)
    identity_id = parse_uuid(
        ctx.request.params["identity_id"], "identity_id must be an UUID", status=404
    )
    async with ctx.transaction("unlinking an identity") as tx:
        user = await rows.find_user(tx, ctx.user.id, lock=True)
        if user is None or len(user.identities) <= 1:
            raise AuthFailure(
                "User must have at least 1 identity after unlinking",
                code="single_identity_not_deletable", status=422,
            )  # fmt: skip
        gone = next((i for i in user.identities if i.id == identity_id), None)
        if gone is None:
            raise AuthFailure("Identity doesn't exist", code="identity_not_found", status=422)
        await rows.delete_identity(tx, gone.id)
        await _forget_address(ctx, tx, user, gone)
        await audit.record(
            ctx, tx, "identity_unlinked", user,
            {"identity_id": gone.id, "provider": gone.provider, "provider_id": gone.provider_id},
        )  # fmt: skip
        user = await accounts.refresh_providers(tx, user.id)
        await ctx.core.mailer.notify(ctx, tx, "identity_unlinked", user, Provider=gone.provider)
    return json_response({})


async def _forget_address(ctx: Context, tx: Transaction, user: User, gone: Identity) -> None:
    """Takes the address of a removed identity from the user."""
    if gone.provider == "phone":
        await rows.update_user(tx, user.id, {"phone": "", "phone_confirmed_at": None})
        return
    left = [identity for identity in user.identities if identity.id != gone.id]
    if not gone.email or gone.email != user.email.lower():
        return
    if any(identity.email == gone.email for identity in left):
        return
    with_email = [identity for identity in left if identity.email]
    # Verified ones first, the oldest of them; rows come in order of creation.
    with_email.sort(key=lambda i: i.identity_data.get("email_verified") is not True)
    if not with_email:
        await rows.update_user(tx, user.id, {"email": "", "email_confirmed_at": None})
    else:
        chosen = with_email[0]
        other = await rows.find_user_by_email(tx, chosen.email, user.aud)
        if other is not None and other.id != user.id:
            raise AuthFailure(
                "Unable to unlink identity due to email conflict",
                code="email_conflict_identity_not_deletable", status=422,
            )  # fmt: skip
        verified = chosen.identity_data.get("email_verified") is True
        await rows.update_user(
            tx, user.id,
            {"email": chosen.email, "email_confirmed_at": ctx.now if verified else None},
        )  # fmt: skip
    await one_time.clear(tx, user.id)
