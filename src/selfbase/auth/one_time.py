"""One-time codes: made, stored as hashes, sent by mail or phone, and checked.

Each function runs inside the caller's transaction.  A user's codes share two limits: the least time
between two sendings, and the number of wrong guesses after which every code is void.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime

from selfbase.auth import audit
from selfbase.auth.context import Context
from selfbase.auth.errors import OverEmailSendRateLimit, OverSmsSendRateLimit, ValidationFailed
from selfbase.auth.logic.one_time import PKCE_PREFIX, decide_digits, hash_code, seconds_to_wait
from selfbase.auth.mail.mailer import Code
from selfbase.auth.queries import one_time_tokens as rows
from selfbase.auth.queries.users import update_user
from selfbase.auth.sms import find_test_code
from selfbase.auth.types import User
from selfbase.database.database import Transaction


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of mailed code: token type and column, its timer, its mail, its link's type."""

    token_type: str
    sent_at: str
    mail: str
    action: str
    audit: str | None = None


CONFIRMATION = Kind("confirmation_token", "confirmation_sent_at", "confirmation", "signup",
                    "user_confirmation_requested")  # fmt: skip
INVITE = Kind("confirmation_token", "confirmation_sent_at", "invite", "invite")
RECOVERY = Kind("recovery_token", "recovery_sent_at", "recovery", "recovery",
                "user_recovery_requested")  # fmt: skip
MAGIC_LINK = Kind("recovery_token", "recovery_sent_at", "magic_link", "magiclink",
                  "user_recovery_requested")  # fmt: skip


def make_code(digits: int) -> str:
    """A random code of that many digits (or 6)."""
    return "".join(secrets.choice("0123456789") for _ in range(decide_digits(digits)))


def make_password() -> str:
    """A password nobody knows."""
    return secrets.token_urlsafe(48)


def check_mail_gap(ctx: Context, sent_at: datetime | None) -> None:
    """Raises OverEmailSendRateLimit with the seconds to wait, which apps parse."""
    wait_s = seconds_to_wait(sent_at, ctx.settings.smtp_max_frequency, ctx.now)
    if wait_s > 0:
        raise OverEmailSendRateLimit(
            _security_words(wait_s), headers=[("Retry-After", str(wait_s))]
        )


def check_sms_gap(ctx: Context, sent_at: datetime | None, gap_s: float | None = None) -> None:
    """Raises OverSmsSendRateLimit with the seconds to wait."""
    wait_s = seconds_to_wait(sent_at, gap_s or ctx.settings.sms_max_frequency, ctx.now)
    if wait_s > 0:
        raise OverSmsSendRateLimit(_security_words(wait_s), headers=[("Retry-After", str(wait_s))])


def _security_words(wait_s: int) -> str:
    return f"For security purposes, you can only request this after {wait_s} seconds."


async def pretend_mail(ctx: Context, address: str) -> None:
    """For an address nothing is sent to: the same refusals, at the same times, as for one that
    gets mail."""
    wait_s = await ctx.core.limiter.find_gap(ctx, address, ctx.settings.smtp_max_frequency)
    if wait_s > 0:
        raise OverEmailSendRateLimit(
            _security_words(wait_s), headers=[("Retry-After", str(wait_s))]
        )
    if not ctx.settings.mailer_autoconfirm:
        await ctx.core.limiter.check_mail(ctx, cost=0)


async def check_mail_quota(ctx: Context) -> None:
    """The project's quota of mails; none where addresses count as confirmed anyway."""
    if not ctx.settings.mailer_autoconfirm:
        await ctx.core.limiter.check_mail(ctx)


async def store_mail_code(
    ctx: Context, tx: Transaction, user: User, kind: Kind, *, pkce: bool = False
) -> tuple[User, str, str]:
    """Makes and stores a code for the user's address; the user, the code and its hash."""
    code = make_code(ctx.settings.mailer_otp_length)
    hashed = (PKCE_PREFIX if pkce else "") + hash_code(user.email, code)
    values = {kind.token_type: hashed, kind.sent_at: ctx.now}
    if kind is INVITE:
        values["invited_at"] = ctx.now
    changed = await update_user(tx, user.id, values)
    await rows.put_token(tx, user.id, kind.token_type, hashed, user.email)
    return changed, code, hashed


async def send_mail_code(
    ctx: Context,
    tx: Transaction,
    user: User,
    kind: Kind,
    *,
    redirect_to: str,
    pkce: bool = False,
    limited: bool = True,
) -> User:
    """Sends a fresh code to the user's address.

    `limited` False is for administrators.  Raises OverEmailSendRateLimit, HookFailure.
    """
    if limited:
        check_mail_gap(ctx, getattr(user, kind.sent_at))
        await check_mail_quota(ctx)
    changed, code, hashed = await store_mail_code(ctx, tx, user, kind, pkce=pkce)
    await ctx.core.mailer.send_code(
        ctx, tx, changed, kind.mail, user.email,
        Code(otp=code, token_hash=hashed, action=kind.action, redirect_to=redirect_to),
    )  # fmt: skip
    if kind.audit:
        await audit.record(ctx, tx, kind.audit, changed)
    return changed


async def send_reauthentication(ctx: Context, tx: Transaction, user: User) -> None:
    """A code that proves the person is still there, to the user's address."""
    check_mail_gap(ctx, user.reauthentication_sent_at)
    await check_mail_quota(ctx)
    code = make_code(ctx.settings.mailer_otp_length)
    hashed = hash_code(user.email, code)
    changed = await update_user(
        tx, user.id, {"reauthentication_token": hashed, "reauthentication_sent_at": ctx.now}
    )
    await rows.put_token(tx, user.id, "reauthentication_token", hashed, user.email)
    await ctx.core.mailer.send_code(
        ctx, tx, changed, "reauthentication", user.email,
        Code(otp=code, token_hash=hashed, action="reauthentication"),
    )  # fmt: skip


async def send_email_change(
    ctx: Context, tx: Transaction, user: User, new_email: str, *, redirect_to: str, pkce: bool
) -> User:
    """Codes for a change of address: to the new one, and to the current one where it must agree."""
    check_mail_gap(ctx, user.email_change_sent_at)
    await check_mail_quota(ctx)
    changed, new, current = await store_email_change(
        ctx, tx, user, new_email, redirect_to=redirect_to, pkce=pkce
    )
    await ctx.core.mailer.send_change_codes(ctx, tx, changed, new, current)
    return changed


async def store_email_change(
    ctx: Context,
    tx: Transaction,
    user: User,
    new_email: str,
    *,
    redirect_to: str,
    pkce: bool,
    only: str | None = None,
) -> tuple[User, Code, Code | None]:
    """Stores the codes of a change of address.

    `only` (new or current) leaves the other address's code as it is, for administrators who ask
    for the two links one after the other.
    """
    prefix = PKCE_PREFIX if pkce else ""
    otp = make_code(ctx.settings.mailer_otp_length)
    new = Code(
        otp=otp, token_hash=prefix + hash_code(new_email, otp), action="email_change",
        redirect_to=redirect_to,
    )  # fmt: skip
    current = None
    if ctx.settings.mailer_secure_email_change_enabled and user.email:
        otp = make_code(ctx.settings.mailer_otp_length)
        current = Code(
            otp=otp, token_hash=prefix + hash_code(user.email, otp), action="email_change",
            redirect_to=redirect_to,
        )  # fmt: skip
    pending = user.email_change == new_email and only is not None
    values: dict[str, object] = {
        "email_change": new_email,
        "email_change_confirm_status": 0,
        "email_change_sent_at": ctx.now,
    }
    if only != "current" or not pending:
        values["email_change_token_new"] = new.token_hash
        await rows.put_token(tx, user.id, "email_change_token_new", new.token_hash, new_email)
    if only != "new" or not pending:
        values["email_change_token_current"] = current.token_hash if current else ""
    changed = await update_user(tx, user.id, values)
    if only == "new" and pending:
        return changed, new, current
    if current is not None:
        await rows.put_token(
            tx, user.id, "email_change_token_current", current.token_hash, user.email
        )
    else:
        await rows.delete_token(tx, user.id, "email_change_token_current")
    return changed, new, current


_PHONE_KINDS = {
    "sms": ("confirmation_token", "confirmation_sent_at"),
    "phone_change": ("phone_change_token", "phone_change_sent_at"),
    "reauthentication": ("reauthentication_token", "reauthentication_sent_at"),
}


async def send_phone_code(
    ctx: Context, tx: Transaction, user: User, phone: str, kind: str, channel: str
) -> str:
    """Sends a code to `phone` for sms, phone_change or reauthentication; the message's id.

    A test number gets its fixed code and no message.  Raises OverSmsSendRateLimit, SmsSendFailed.
    """
    token_type, sent_column = _PHONE_KINDS[kind]
    check_sms_gap(ctx, getattr(user, sent_column))
    code = find_test_code(ctx.settings, phone, ctx.now)
    is_test = code is not None
    if code is None:
        if not ctx.settings.sms_autoconfirm:
            await ctx.core.limiter.check_sms(ctx)
        code = make_code(ctx.settings.sms_otp_length)
    hashed = hash_code(phone, code)
    values = {token_type: hashed, sent_column: ctx.now}
    if kind == "phone_change":
        values["phone_change"] = phone
    changed = await update_user(tx, user.id, values)
    await rows.put_token(tx, user.id, token_type, hashed, phone)
    if is_test:
        return "test-otp"
    return await ctx.core.sms.send_code(ctx, changed, phone, code, channel, tx=tx)


def parse_channel(text: str, provider: str) -> str:
    """sms or whatsapp; the latter with Twilio only.  Raises ValidationFailed."""
    channel = text or "sms"
    if channel == "sms" or (channel == "whatsapp" and provider in ("twilio", "twilio_verify")):
        return channel
    raise ValidationFailed(
        "Invalid channel, supported values are 'sms' or 'whatsapp'. 'whatsapp' is only supported"
        " if Twilio or Twilio Verify is used as the provider."
    )


async def note_wrong_code(ctx: Context, tx: Transaction, user: User) -> None:
    """Counts a wrong guess; too many of them void every code the user has."""
    if await rows.count_attempt(tx, user.id) >= ctx.settings.mailer_otp_attempts_max:
        await rows.clear_tokens(tx, user.id)


async def clear(tx: Transaction, user_id: str) -> None:
    """Voids every code of a user."""
    await rows.clear_tokens(tx, user_id)
