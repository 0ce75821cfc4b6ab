"""POST /otp, /magiclink, /recover and /resend: codes and links people ask for.

The answers are the same for known and unknown addresses.
"""

from __future__ import annotations

import secrets

from selfbase.auth import accounts, audit, one_time
from selfbase.auth.accounts import NewUser
from selfbase.auth.context import Context
from selfbase.auth.errors import (
    EmailProviderDisabled,
    OtpDisabled,
    PhoneProviderDisabled,
    SignupDisabled,
    ValidationFailed,
)
from selfbase.auth.flows import begin_flow, read_challenge, redirect_target
from selfbase.auth.levelling import levelled
from selfbase.auth.logic.addresses import parse_email, parse_phone
from selfbase.auth.logic.fields import Fields
from selfbase.auth.logic.pkce import Challenge
from selfbase.auth.queries import users as rows
from selfbase.auth.types import User
from selfbase.database.database import Transaction
from selfbase.http.values import Response, json_response


@levelled
async def send_otp(ctx: Context) -> Response:
    """A code or link to sign in with, by mail or phone."""
    body = await ctx.fields()
    email, phone = body.text("email"), body.text("phone")
    if email and phone:
        raise ValidationFailed("Only an email address or phone number should be provided")
    if email:
        return await _send_magic_link(ctx, body, create=body.flag("create_user", True))
    if phone:
        return await _send_sms_code(ctx, body, create=body.flag("create_user", True))
    raise ValidationFailed("One of email or phone must be set")


@levelled
async def send_magic_link(ctx: Context) -> Response:
    """The older form of /otp for e-mail."""
    return await _send_magic_link(ctx, await ctx.fields(), create=True)


async def _send_magic_link(ctx: Context, body: Fields, *, create: bool) -> Response:
    settings = ctx.settings
    if not settings.external_email_enabled:
        raise EmailProviderDisabled("Email logins are disabled", status=422)
    if not settings.external_email_magic_link_enabled:
        raise EmailProviderDisabled("Login with magic link is disabled", status=422)
    email = parse_email(body.text("email"), extended=settings.mailer_email_validation_extended)
    challenge, target = read_challenge(body), redirect_target(ctx, body)
    data = body.mapping("data")
    async with ctx.transaction("magic link looks for the address") as tx:
        user = await rows.find_user_by_email(tx, email, settings.jwt_aud)
    if user is not None and user.email_confirmed_at is not None:
        async with ctx.transaction("magic link") as tx:
            await begin_flow(
                tx, challenge, provider="magiclink", method="magiclink", user_id=user.id
            )
            await one_time.send_mail_code(
                ctx, tx, user, one_time.MAGIC_LINK, redirect_to=target, pkce=challenge is not None
            )
        return json_response({})
    if user is None and not create:
        raise OtpDisabled
    # Somebody new, or not confirmed yet: signing up, with a password nobody knows.
    if settings.disable_signup and user is None:
        raise SignupDisabled
    if user is None:
        new = await _invent(ctx, NewUser(provider="email", email=email, user_metadata=data))
        async with ctx.transaction("sign-up by magic link") as tx:
            user = await _create_with_identity(ctx, tx, new, {"email": email})
            user = await _send_confirmation_or_link(ctx, tx, user, challenge, target)
        await accounts.tell_after_created(ctx, user)
    else:
        async with ctx.transaction("magic link before confirmation") as tx:
            await _send_confirmation_or_link(ctx, tx, user, challenge, target)
    return json_response({})


async def _send_confirmation_or_link(
    ctx: Context, tx: Transaction, user: User, challenge: Challenge | None, target: str
) -> User:
    """The confirmation mail; with autoconfirm the address counts as confirmed, and the link comes."""
    kind = one_time.CONFIRMATION
    provider, method = "email", "email/signup"
    if ctx.settings.mailer_autoconfirm:
        await audit.record(ctx, tx, "user_signedup", user, {"provider": "email"})
        user = await accounts.confirm_email(ctx, tx, user)
        kind, provider, method = one_time.MAGIC_LINK, "magiclink", "magiclink"
    await begin_flow(tx, challenge, provider=provider, method=method, user_id=user.id)
    return await one_time.send_mail_code(
        ctx, tx, user, kind, redirect_to=target, pkce=challenge is not None
    )


async def _invent(ctx: Context, new: NewUser) -> NewUser:
    hashed = await ctx.core.passwords.hash(
        secrets.token_urlsafe(32), ctx.settings.password_hash_cost
    )
    fields = {name: getattr(new, name) for name in NewUser.__slots__}
    return await accounts.ask_before_created(
        ctx, NewUser(**{**fields, "encrypted_password": hashed})
    )


async def _create_with_identity(
    ctx: Context, tx: Transaction, new: NewUser, address: dict[str, str]
) -> User:
    user = await accounts.create_user(ctx, tx, new)
    data = {
        **new.user_metadata, **address, "sub": user.id, "email_verified": False,
        "phone_verified": False,
    }  # fmt: skip
    return await accounts.add_identity(ctx, tx, user, new.provider, user.id, data)


async def _send_sms_code(ctx: Context, body: Fields, *, create: bool) -> Response:
    settings = ctx.settings
    if not settings.external_phone_enabled:
        raise PhoneProviderDisabled
    phone = parse_phone(body.text("phone"))
    channel = one_time.parse_channel(body.text("channel"), settings.sms_provider)
    async with ctx.transaction("code by phone looks for the number") as tx:
        user = await rows.find_user_by_phone(tx, phone, settings.jwt_aud)
    is_new = user is None
    if user is None:
        if not create:
            raise OtpDisabled
        if settings.disable_signup:
            raise SignupDisabled
        new = await _invent(
            ctx, NewUser(provider="phone", phone=phone, user_metadata=body.mapping("data"))
        )
        async with ctx.transaction("sign-up by phone code") as tx:
            user = await _create_with_identity(ctx, tx, new, {"phone": phone})
            message_id = await _send(ctx, tx, user, phone, channel)
        await accounts.tell_after_created(ctx, user)
    else:
        async with ctx.transaction("code by phone") as tx:
            message_id = await _send(ctx, tx, user, phone, channel)
    return json_response({"message_id": message_id} if message_id and not is_new else {})


async def _send(ctx: Context, tx: Transaction, user: User, phone: str, channel: str) -> str:
    if ctx.settings.sms_autoconfirm and user.phone_confirmed_at is None:
        await audit.record(ctx, tx, "user_signedup", user, {"provider": "phone"})
        user = await accounts.confirm_phone(ctx, tx, user)
    else:
        await audit.record(ctx, tx, "user_recovery_requested", user, {"channel": channel})
    return await one_time.send_phone_code(ctx, tx, user, phone, "sms", channel)


@levelled
async def recover(ctx: Context) -> Response:
    """A link to choose a new password; the same answer for everybody."""
    body = await ctx.fields()
    if not ctx.settings.external_email_enabled:
        raise EmailProviderDisabled("Email logins are disabled")
    email = parse_email(body.text("email"))
    challenge, target = read_challenge(body), redirect_target(ctx, body)
    async with ctx.transaction("password recovery") as tx:
        user = await rows.find_user_by_email(tx, email, ctx.settings.jwt_aud)
        if user is not None and user.deleted_at is None:
            await begin_flow(tx, challenge, provider="recovery", method="recovery", user_id=user.id)
            await one_time.send_mail_code(
                ctx, tx, user, one_time.RECOVERY, redirect_to=target, pkce=challenge is not None
            )
        else:
            await one_time.pretend_mail(ctx, email)
    return json_response({})


@levelled
async def resend(ctx: Context) -> Response:
    """Sends a pending code again; the same answer when nothing is pending."""
    body = await ctx.fields()
    kind = body.text("type")
    email, phone = body.text("email"), body.text("phone")
    by_email = kind in ("signup", "email_change")
    if not by_email and kind not in ("sms", "phone_change"):
        raise ValidationFailed(
            "Missing one of these types: signup, email_change, sms, phone_change"
        )
    if email and phone:
        raise ValidationFailed("Only an email address or phone number should be provided.")
    if by_email and not email:
        raise ValidationFailed("Type provided requires an email address")
    if not by_email and not phone:
        raise ValidationFailed("Type provided requires a phone number")
    if by_email:
        if not ctx.settings.external_email_enabled:
            raise EmailProviderDisabled("Email logins are disabled")
        return await _resend_mail(ctx, body, kind, parse_email(email))
    if not ctx.settings.external_phone_enabled:
        raise PhoneProviderDisabled("Phone logins are disabled")
    return await _resend_sms(ctx, kind, parse_phone(phone))


async def _resend_mail(ctx: Context, body: Fields, kind: str, email: str) -> Response:
    challenge, target = read_challenge(body), redirect_target(ctx, body)
    async with ctx.transaction("sending a mailed code again") as tx:
        user = await rows.find_user_by_email(tx, email, ctx.settings.jwt_aud)
        if user is not None and kind == "signup" and user.email_confirmed_at is None:
            await begin_flow(
                tx, challenge, provider="email", method="email/signup", user_id=user.id
            )
            await one_time.send_mail_code(
                ctx, tx, user, one_time.CONFIRMATION, redirect_to=target,
                pkce=challenge is not None,
            )  # fmt: skip
        elif user is not None and kind == "email_change" and user.email_change:
            await begin_flow(
                tx, challenge, provider="email_change", method="email_change", user_id=user.id
            )
            await one_time.send_email_change(
                ctx, tx, user, user.email_change, redirect_to=target, pkce=challenge is not None
            )
        else:
            await one_time.pretend_mail(ctx, email)
    return json_response({})


async def _resend_sms(ctx: Context, kind: str, phone: str) -> Response:
    async with ctx.transaction("sending a code by phone again") as tx:
        user = await rows.find_user_by_phone(tx, phone, ctx.settings.jwt_aud)
        if user is None:
            return json_response({})
        message_id = ""
        if kind == "sms" and user.phone_confirmed_at is None:
            message_id = await one_time.send_phone_code(ctx, tx, user, phone, "sms", "sms")
        elif kind == "phone_change" and user.phone_change:
            message_id = await one_time.send_phone_code(
                ctx, tx, user, user.phone_change, "phone_change", "sms"
            )
    return json_response({"message_id": message_id} if message_id else {})
