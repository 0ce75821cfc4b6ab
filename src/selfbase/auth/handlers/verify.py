"""GET and POST /verify: codes and links come back and become sessions."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from selfbase.auth import accounts, audit, one_time
from selfbase.auth.context import Context
from selfbase.auth.errors import AuthFailure, OtpExpired, UserBanned, ValidationFailed
from selfbase.auth.flows import (
    redirect_target,
    redirect_with_code,
    redirect_with_error,
    redirect_with_message,
    redirect_with_session,
)
from selfbase.auth.logic.addresses import parse_email, parse_phone
from selfbase.auth.logic.one_time import (
    PKCE_PREFIX,
    hash_code,
    is_code_valid,
    is_expired,
    same_secret,
)
from selfbase.auth.queries import flow as flow_rows
from selfbase.auth.queries import one_time_tokens as token_rows
from selfbase.auth.queries import users as rows
from selfbase.auth.sessions import Grant, issue_session, session_response
from selfbase.auth.sms import find_test_code
from selfbase.auth.types import User
from selfbase.database.database import Transaction
from selfbase.http.values import Response, json_response

HALF_DONE = "Confirmation link accepted. Please proceed to confirm link sent to the other email"
LINK_INVALID = "Email link is invalid or has expired"
_FLOW_METHODS = {
    "signup": "email/signup",
    "invite": "invite",
    "recovery": "recovery",
    "magiclink": "magiclink",
    "email_change": "email_change",
    "email": "email/signup",
}
_TOKEN_TYPES = {
    "email": ("confirmation_token", "recovery_token"),
    "signup": ("confirmation_token",),
    "invite": ("confirmation_token",),
    "recovery": ("recovery_token",),
    "magiclink": ("recovery_token",),
    "email_change": ("email_change_token_new", "email_change_token_current"),
}


@dataclass(frozen=True, slots=True)
class _Proof:
    """What was shown.  `token_type` is the kind of code it matched."""

    kind: str
    hashed: str
    token_type: str = ""
    phone: str = ""


@dataclass(frozen=True, slots=True)
class _HalfDone:
    """One of two addresses has agreed to a change."""


async def verify_posted(ctx: Context) -> Response:
    """A code typed by a person, or a hash an app took from a link."""
    body = await ctx.fields()
    kind, token, hashed = body.text("type"), body.text("token"), body.text("token_hash")
    if not kind:
        raise ValidationFailed("Verify requires a verification type")
    if bool(token) == bool(hashed):
        raise ValidationFailed("Verify requires either a token or a token hash")
    email, phone = body.text("email"), body.text("phone")
    if hashed and (email or phone or body.text("redirect_to")):
        raise ValidationFailed("Only the token_hash and type should be provided")
    if token and bool(email) == bool(phone):
        raise ValidationFailed("Only an email address or phone number should be provided on verify")
    async with ctx.transaction("verification of a code") as tx:
        found = (
            await _find_by_hash(ctx, tx, kind, hashed)
            if hashed
            else await _find_by_code(ctx, tx, kind, email, phone, token)
        )
        outcome = (
            found if isinstance(found, AuthFailure) else await _finish(ctx, tx, *found, pkce=False)
        )
    # Left first: a wrong guess has been counted.
    if isinstance(outcome, AuthFailure):
        raise outcome
    if isinstance(outcome, _HalfDone):
        return json_response({"msg": HALF_DONE, "code": "200"})
    assert isinstance(outcome, Grant)
    return session_response(outcome)


async def verify_link(ctx: Context) -> Response:
    """A link from a mail: sends the person on, with a session, a code, or the reason why not."""
    token = ctx.request.query_value("token") or ""
    kind = ctx.request.query_value("type") or ""
    if not token:
        raise ValidationFailed("Verify requires a token or a token hash")
    if not kind:
        raise ValidationFailed("Verify requires a verification type")
    target = redirect_target(ctx)
    if ctx.request.method == "HEAD":
        # Mail scanners look first; looking must not use the link up.
        return Response(200, [("cache-control", "no-store")])
    pkce = token.startswith(PKCE_PREFIX)
    try:
        async with ctx.transaction("verification of a link") as tx:
            found = await _find_by_hash(ctx, tx, kind, token)
            outcome = await _finish(ctx, tx, *found, pkce=pkce)
    except AuthFailure as failure:
        return redirect_with_error(target, failure, pkce=pkce)
    if isinstance(outcome, _HalfDone):
        return redirect_with_message(target, HALF_DONE, pkce=pkce)
    if isinstance(outcome, str):
        return redirect_with_code(target, outcome)
    return redirect_with_session(target, outcome, type=kind)


async def _find_by_hash(
    ctx: Context, tx: Transaction, kind: str, hashed: str
) -> tuple[User, _Proof]:
    """Raises OtpExpired for unknown, used and expired hashes alike."""
    types = _TOKEN_TYPES.get(kind)
    if types is None:
        raise ValidationFailed("Invalid email verification type")
    found = await token_rows.find_user_by_token(tx, hashed, types)
    if found is None:
        raise OtpExpired(LINK_INVALID)
    user, token_type = found
    sent_at = {
        "confirmation_token": user.confirmation_sent_at,
        "recovery_token": user.recovery_sent_at,
    }.get(token_type, user.email_change_sent_at)
    if is_expired(sent_at, ctx.settings.mailer_otp_exp, ctx.now):
        raise OtpExpired(LINK_INVALID)
    if user.is_banned(ctx.now):
        raise UserBanned(status=403)
    if kind == "email":
        kind = "signup" if token_type == "confirmation_token" else "magiclink"
    return user, _Proof(kind, hashed, token_type)


async def _find_by_code(
    ctx: Context, tx: Transaction, kind: str, email: str, phone: str, code: str
) -> tuple[User, _Proof] | AuthFailure:
    """The user a code proves.  A failure is returned, not raised, so that a wrong guess counts."""
    aud = ctx.settings.jwt_aud
    if phone:
        phone = parse_phone(phone)
        if kind not in ("sms", "phone_change"):
            raise ValidationFailed(
                "Only an email address or phone number should be provided on verify"
            )
        user = (
            await token_rows.find_user_by_phone_change(tx, phone, aud)
            if kind == "phone_change"
            else await rows.find_user_by_phone(tx, phone, aud)
        )
        proofs = _phone_proofs(kind, phone, code)
    else:
        if kind not in _TOKEN_TYPES:
            raise ValidationFailed(
                "Only an email address or phone number should be provided on verify"
            )
        email = parse_email(email)
        proofs = _mail_proofs(kind, hash_code(email, code))
        hashed = proofs[0].hashed
        user = (
            await token_rows.find_user_for_email_change(
                tx, email, (hashed, PKCE_PREFIX + hashed), aud
            )
            if kind == "email_change"
            else await rows.find_user_by_email(tx, email, aud)
        )
    if user is not None:
        user = await rows.find_user(tx, user.id, lock=True)
    if user is None:
        return OtpExpired()
    for proof in proofs:
        if await _is_proven(ctx, user, proof, code):
            return (user, proof) if not user.is_banned(ctx.now) else UserBanned(status=403)
    await one_time.note_wrong_code(ctx, tx, user)
    return OtpExpired()


def _mail_proofs(kind: str, hashed: str) -> list[_Proof]:
    if kind == "email":
        return [
            _Proof("signup", hashed, "confirmation_token"),
            _Proof("magiclink", hashed, "recovery_token"),
        ]
    return [_Proof(kind, hashed, token_type) for token_type in _TOKEN_TYPES[kind]]


def _phone_proofs(kind: str, phone: str, code: str) -> list[_Proof]:
    column = "phone_change_token" if kind == "phone_change" else "confirmation_token"
    return [_Proof(kind, hash_code(phone, code), column, phone)]


async def _is_proven(ctx: Context, user: User, proof: _Proof, code: str) -> bool:
    if proof.phone:
        test = find_test_code(ctx.settings, proof.phone, ctx.now)
        if test is not None:
            return same_secret(test, code)
        provider = ctx.core.sms.find_provider(ctx.settings)
        accepted = await provider.check(proof.phone, code) if provider is not None else None
        if accepted is not None:
            return accepted
    sent_at = {
        "confirmation_token": user.confirmation_sent_at,
        "recovery_token": user.recovery_sent_at,
        "phone_change_token": user.phone_change_sent_at,
    }.get(proof.token_type, user.email_change_sent_at)
    life_s = ctx.settings.sms_otp_exp if proof.phone else ctx.settings.mailer_otp_exp
    return is_code_valid(proof.hashed, getattr(user, proof.token_type), sent_at, life_s, ctx.now)


async def _finish(
    ctx: Context, tx: Transaction, user: User, proof: _Proof, *, pkce: bool
) -> Grant | str | _HalfDone:
    """Applies what was proven; a session, or with PKCE the code that stands for it."""
    applied = await _apply(ctx, tx, user, proof)
    if isinstance(applied, _HalfDone):
        return applied
    user = await accounts.refresh_providers(tx, applied.id)
    if not pkce:
        return await issue_session(ctx, tx, user, "otp")
    flow = await flow_rows.issue_flow_code(tx, user.id, _FLOW_METHODS[proof.kind])
    if flow is None or flow.auth_code is None:
        raise AuthFailure(
            "No associated flow state found.", code="flow_state_not_found", status=400
        )
    return flow.auth_code


async def _apply(ctx: Context, tx: Transaction, user: User, proof: _Proof) -> User | _HalfDone:
    if proof.kind in ("signup", "invite"):
        return await _apply_signup(ctx, tx, user)
    if proof.kind in ("recovery", "magiclink"):
        return await _apply_recovery(ctx, tx, user)
    if proof.kind == "email_change":
        return await _apply_email_change(ctx, tx, user, proof)
    if proof.kind == "sms":
        await audit.record(ctx, tx, "user_signedup", user, {"provider": "phone"})
        return await accounts.confirm_phone(ctx, tx, user)
    await audit.record(ctx, tx, "user_modified", user)
    changed = await accounts.apply_phone_change(ctx, tx, user, proof.phone)
    await ctx.core.mailer.notify(
        ctx, tx, "phone_changed", changed, OldPhone=user.phone, Phone=changed.phone
    )
    return changed


async def _apply_signup(ctx: Context, tx: Transaction, user: User) -> User:
    if not user.has_password and user.invited_at is not None:
        # Until the invited person chooses one, a password nobody knows.
        hashed = await ctx.core.passwords.hash(
            secrets.token_urlsafe(48), ctx.settings.password_hash_cost
        )
        user = await accounts.store_password(ctx, tx, user, hashed)
    await audit.record(ctx, tx, "user_signedup", user, {"provider": "email"})
    return await accounts.confirm_email(ctx, tx, user)


async def _apply_recovery(ctx: Context, tx: Transaction, user: User) -> User:
    if user.email_confirmed_at is None:
        await audit.record(ctx, tx, "user_signedup", user, {"provider": "email"})
        return await accounts.confirm_email(ctx, tx, user)
    await audit.record(ctx, tx, "login", user)
    await one_time.clear(tx, user.id)
    return user


async def _apply_email_change(
    ctx: Context, tx: Transaction, user: User, proof: _Proof
) -> User | _HalfDone:
    settings = ctx.settings
    both = settings.mailer_secure_email_change_enabled and not settings.mailer_autoconfirm
    if both and user.email and user.email_change_confirm_status == 0:
        await rows.update_user(
            tx, user.id, {"email_change_confirm_status": 1, proof.token_type: ""}
        )
        await token_rows.delete_token(tx, user.id, proof.token_type)
        return _HalfDone()
    await audit.record(ctx, tx, "user_modified", user)
    changed = await accounts.apply_email_change(ctx, tx, user, user.email_change)
    if user.email:
        await ctx.core.mailer.notify(
            ctx, tx, "email_changed", changed, to=user.email, OldEmail=user.email
        )
    return changed
