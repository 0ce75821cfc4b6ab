"""POST /signup: accounts by e-mail, phone, or without any name."""

from __future__ import annotations

import uuid

from selfbase.auth import accounts, audit, one_time
from selfbase.auth.accounts import NewUser
from selfbase.auth.context import Context
from selfbase.auth.errors import (
    AuthFailure,
    EmailProviderDisabled,
    PhoneProviderDisabled,
    SignupDisabled,
    UserAlreadyExists,
    ValidationFailed,
)
from selfbase.auth.flows import begin_flow, read_challenge, redirect_target
from selfbase.auth.levelling import levelled
from selfbase.auth.logic.accounts import obfuscate_user
from selfbase.auth.logic.addresses import parse_email, parse_phone
from selfbase.auth.logic.fields import Fields
from selfbase.auth.logic.pkce import Challenge
from selfbase.auth.logic.render import dump_json, render_user
from selfbase.auth.password_rules import check_new_password
from selfbase.auth.queries import users as rows
from selfbase.auth.sessions import Grant, issue_session, session_response
from selfbase.auth.types import User
from selfbase.database.database import Transaction
from selfbase.http.values import JSON_UTF8, Response


async def sign_up(ctx: Context) -> Response:
    """An account for an address and a password, or an anonymous one for neither."""
    body = await ctx.fields()
    if not body.text("email") and not body.text("phone"):
        return await sign_up_anonymously(ctx, body)
    # Where a taken address is answered openly there is nothing to hide.
    return await (_sign_up if ctx.settings.mailer_autoconfirm else levelled(_sign_up))(ctx)


async def _sign_up(ctx: Context) -> Response:
    body = await ctx.fields()
    await ctx.core.limiter.check_address(ctx, "otp", "signup")
    if ctx.settings.disable_signup:
        raise SignupDisabled
    wanted = await _read(ctx, body)
    async with ctx.transaction("sign-up looks for the address") as tx:
        existing = await _find_existing(ctx, tx, wanted)
    # Hashed in either case: the time of the answer says nothing about the account.
    hashed = await ctx.core.passwords.hash(wanted.password, ctx.settings.password_hash_cost)
    if existing is None:
        new = NewUser(
            provider=wanted.provider, email=wanted.email, phone=wanted.phone,
            encrypted_password=hashed, user_metadata=wanted.data,
        )  # fmt: skip
        new = await accounts.ask_before_created(ctx, new)
        async with ctx.transaction("sign-up") as tx:
            user = await _create(ctx, tx, new, wanted)
            user = await _confirm_or_send(ctx, tx, user, wanted)
            grant = await _sign_in(ctx, tx, user, wanted)
        await accounts.tell_after_created(ctx, user)
    elif _is_confirmed(existing, wanted.provider):
        return await _answer_repeated(ctx, existing, wanted)
    else:
        # Whoever knows only the address may not change the password somebody else chose.
        async with ctx.transaction("repeated sign-up before confirmation") as tx:
            user = await _confirm_or_send(ctx, tx, existing, wanted)
            grant = await _sign_in(ctx, tx, user, wanted)
    if grant is not None:
        return session_response(grant)
    shown = render_user(user)
    if user.invited_at is not None:
        shown.update(user_metadata={}, identities=[])
    return Response(200, [("content-type", JSON_UTF8)], dump_json(shown))


async def sign_up_anonymously(ctx: Context, body: Fields) -> Response:
    """An account without address or password."""
    if not ctx.settings.external_anonymous_users_enabled:
        raise AuthFailure(
            "Anonymous sign-ins are disabled", code="anonymous_provider_disabled", status=422
        )
    if ctx.settings.disable_signup:
        raise SignupDisabled
    await ctx.core.limiter.check_address(ctx, "anonymous", "signup")
    new = NewUser(provider="", user_metadata=body.mapping("data"), is_anonymous=True)
    new = await accounts.ask_before_created(ctx, new)
    async with ctx.transaction("anonymous sign-in") as tx:
        user = await accounts.create_user(ctx, tx, new)
        grant = await issue_session(ctx, tx, user, "anonymous")
    await accounts.tell_after_created(ctx, user)
    return session_response(grant)


class _Wanted:
    """A sign-up that was read and found in order."""

    __slots__ = ("challenge", "channel", "data", "email", "password", "phone", "provider", "target")

    def __init__(self, ctx: Context, body: Fields) -> None:
        email, phone = body.text("email"), body.text("phone")
        self.password = body.text("password")
        self.data = body.mapping("data")
        self.provider = "email" if email else "phone"
        self.email = self.phone = ""
        self.challenge: Challenge | None = read_challenge(body)
        self.channel = "sms"
        self.target = redirect_target(ctx, body)
        if email and phone:
            raise ValidationFailed(
                "Only an email address or phone number should be provided on signup."
            )
        if phone and self.challenge is not None:
            raise ValidationFailed("PKCE not supported for phone signups")
        if email:
            if not ctx.settings.external_email_enabled:
                raise EmailProviderDisabled
            extended = ctx.settings.mailer_email_validation_extended
            self.email = parse_email(email, extended=extended)
        else:
            self.channel = one_time.parse_channel(body.text("channel"), ctx.settings.sms_provider)
            if not ctx.settings.external_phone_enabled:
                raise PhoneProviderDisabled
            self.phone = parse_phone(phone)


async def _read(ctx: Context, body: Fields) -> _Wanted:
    password = body.text("password")
    if not password:
        raise ValidationFailed("Signup requires a valid password")
    await check_new_password(ctx, password)
    return _Wanted(ctx, body)


async def _find_existing(ctx: Context, tx: Transaction, wanted: _Wanted) -> User | None:
    if wanted.provider == "email":
        return await accounts.find_duplicate_email(ctx, tx, wanted.email)
    return await rows.find_user_by_phone(tx, wanted.phone, ctx.settings.jwt_aud)


def _is_confirmed(user: User, provider: str) -> bool:
    moment = user.email_confirmed_at if provider == "email" else user.phone_confirmed_at
    return moment is not None


async def _create(ctx: Context, tx: Transaction, new: NewUser, wanted: _Wanted) -> User:
    user = await accounts.create_user(ctx, tx, new)
    data = {
        **wanted.data, "sub": user.id, "email_verified": False, "phone_verified": False,
        **({"email": user.email} if user.email else {}),
        **({"phone": user.phone} if user.phone else {}),
    }  # fmt: skip
    return await accounts.add_identity(ctx, tx, user, wanted.provider, user.id, data)


async def _confirm_or_send(ctx: Context, tx: Transaction, user: User, wanted: _Wanted) -> User:
    """Confirms at once where settings say so, else sends the code."""
    traits = {"provider": wanted.provider}
    if wanted.provider == "email":
        if ctx.settings.mailer_autoconfirm:
            await audit.record(ctx, tx, "user_signedup", user, traits)
            return await accounts.confirm_email(ctx, tx, user)
        await begin_flow(
            tx, wanted.challenge, provider="email", method="email/signup", user_id=user.id
        )
        return await one_time.send_mail_code(
            ctx, tx, user, one_time.CONFIRMATION, redirect_to=wanted.target,
            pkce=wanted.challenge is not None,
        )  # fmt: skip
    if ctx.settings.sms_autoconfirm:
        await audit.record(ctx, tx, "user_signedup", user, {**traits, "channel": wanted.channel})
        return await accounts.confirm_phone(ctx, tx, user)
    await audit.record(ctx, tx, "user_confirmation_requested", user, traits)
    await one_time.send_phone_code(ctx, tx, user, wanted.phone, "sms", wanted.channel)
    return await rows.get_user(tx, user.id)


async def _sign_in(ctx: Context, tx: Transaction, user: User, wanted: _Wanted) -> Grant | None:
    if not _is_confirmed(user, wanted.provider):
        return None
    await audit.record(ctx, tx, "login", user, {"provider": wanted.provider})
    return await issue_session(ctx, tx, user, "password")


async def _answer_repeated(ctx: Context, existing: User, wanted: _Wanted) -> Response:
    """The address is taken by a confirmed account: the answer must not say so."""
    async with ctx.transaction("repeated sign-up") as tx:
        await audit.record(ctx, tx, "user_repeated_signup", existing, {"provider": wanted.provider})
    if ctx.settings.mailer_autoconfirm or ctx.settings.sms_autoconfirm:
        raise UserAlreadyExists
    nobody = obfuscate_user(
        user_id=str(uuid.uuid4()), aud=existing.aud, provider=wanted.provider,
        email=wanted.email, phone=wanted.phone, data=wanted.data, now=ctx.now,
    )  # fmt: skip
    return Response(200, [("content-type", JSON_UTF8)], dump_json(render_user(nobody)))
