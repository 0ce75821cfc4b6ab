"""POST /invite and POST /admin/generate_link: links administrators send, or have sent."""

from __future__ import annotations

from typing import Any

from selfbase.auth import accounts, audit, one_time
from selfbase.auth.accounts import NewUser
from selfbase.auth.context import Context
from selfbase.auth.errors import EmailExists, UserNotFound, ValidationFailed
from selfbase.auth.flows import redirect_target
from selfbase.auth.handlers.user import user_response
from selfbase.auth.logic.addresses import parse_email
from selfbase.auth.logic.fields import Fields
from selfbase.auth.logic.render import dump_json, render_user
from selfbase.auth.mail.mailer import Code, confirmation_url
from selfbase.auth.password_rules import check_new_password
from selfbase.auth.queries import users as rows
from selfbase.auth.types import User
from selfbase.database.database import Transaction
from selfbase.http.values import JSON_UTF8, Response

_TYPES = (
    "signup", "invite", "magiclink", "recovery", "email_change_current", "email_change_new",
)  # fmt: skip


async def invite(ctx: Context) -> Response:
    """Makes an account for an address and sends the invitation."""
    body = await ctx.fields()
    email = parse_email(body.text("email"))
    target = redirect_target(ctx, body)
    async with ctx.transaction("invitation looks for the address") as tx:
        existing = await accounts.find_duplicate_email(ctx, tx, email)
    if existing is not None and existing.email_confirmed_at is not None:
        raise EmailExists
    new = NewUser(provider="email", email=email, user_metadata=body.mapping("data"))
    if existing is None:
        new = await accounts.ask_before_created(ctx, new)
    async with ctx.transaction("invitation") as tx:
        user = existing or await _create(ctx, tx, new)
        user = await one_time.send_mail_code(
            ctx, tx, user, one_time.INVITE, redirect_to=target, limited=False
        )
        await audit.record(
            ctx, tx, "user_invited", None, {"user_id": user.id, "user_email": user.email}
        )
    return user_response(user)


async def _create(ctx: Context, tx: Transaction, new: NewUser) -> User:
    user = await accounts.create_user(ctx, tx, new)
    data = {
        **new.user_metadata, "sub": user.id, "email": user.email, "email_verified": False,
        "phone_verified": False,
    }  # fmt: skip
    await rows.insert_identity(
        tx, user_id=user.id, provider="email", provider_id=user.id, identity_data=data,
        signed_in=False,
    )  # fmt: skip
    return await rows.get_user(tx, user.id)


async def generate_link(ctx: Context) -> Response:
    """The link a mail would hold, without the mail."""
    body = await ctx.fields()
    kind = body.text("type")
    if kind not in _TYPES:
        raise ValidationFailed(f"Invalid email action link type requested: {kind[:50]}")
    email = parse_email(body.text("email"))
    target = redirect_target(ctx, body)
    async with ctx.transaction("link for an administrator looks for the address") as tx:
        user = await accounts.find_duplicate_email(ctx, tx, email)
    if user is None and kind in ("recovery", "email_change_current", "email_change_new"):
        raise UserNotFound("User with this email not found")
    if user is None and kind == "magiclink":
        kind = "signup"
    if kind in ("signup", "invite") and user is not None and user.email_confirmed_at is not None:
        raise EmailExists
    encrypted = await _read_password(ctx, body, kind, user)
    async with ctx.transaction("link for an administrator") as tx:
        if user is None:
            data = body.mapping("data")
            new = NewUser(
                provider="email", email=email, user_metadata=data, encrypted_password=encrypted
            )
            user = await _create(ctx, tx, new)
        if kind.startswith("email_change"):
            user, code = await _store_change(ctx, tx, user, kind, body, target)
        else:
            user, code = await _store(ctx, tx, user, kind, target)
    shown: dict[str, Any] = render_user(user)
    shown.update(
        action_link=confirmation_url(ctx, _mail_kind(kind), code),
        email_otp=code.otp,
        hashed_token=code.token_hash,
        verification_type=kind,
        redirect_to=target,
    )
    return Response(200, [("content-type", JSON_UTF8)], dump_json(shown))


async def _read_password(ctx: Context, body: Fields, kind: str, user: User | None) -> str:
    """The hash for a new account; a random one where a magic link makes it."""
    if user is not None or kind == "invite":
        return ""
    password = body.text("password")
    if not password:
        if body.text("type") == "signup":
            raise ValidationFailed("Signup requires a valid password")
        password = one_time.make_password()
    else:
        await check_new_password(ctx, password)
    return await ctx.core.passwords.hash(password, ctx.settings.password_hash_cost)


def _mail_kind(kind: str) -> str:
    return {
        "signup": "confirmation", "invite": "invite", "magiclink": "magic_link",
        "recovery": "recovery",
    }.get(kind, "email_change")  # fmt: skip


async def _store(
    ctx: Context, tx: Transaction, user: User, kind: str, target: str
) -> tuple[User, Code]:
    chosen = {
        "signup": one_time.CONFIRMATION, "invite": one_time.INVITE,
        "magiclink": one_time.MAGIC_LINK, "recovery": one_time.RECOVERY,
    }[kind]  # fmt: skip
    traits = {"user_id": user.id, "user_email": user.email}
    action = {"invite": "user_invited", "signup": "user_confirmation_requested"}.get(
        kind, "user_recovery_requested"
    )
    await audit.record(ctx, tx, action, None if kind == "invite" else user, traits)
    changed, otp, hashed = await one_time.store_mail_code(ctx, tx, user, chosen)
    return changed, Code(otp=otp, token_hash=hashed, action=chosen.action, redirect_to=target)


async def _store_change(
    ctx: Context, tx: Transaction, user: User, kind: str, body: Fields, target: str
) -> tuple[User, Code]:
    if not ctx.settings.mailer_secure_email_change_enabled and kind == "email_change_current":
        raise ValidationFailed("Enable secure email change to generate link for current email")
    new_email = parse_email(body.text("new_email"))
    other = await accounts.find_duplicate_email(ctx, tx, new_email, besides=user)
    if other is not None:
        raise EmailExists
    changed, new, current = await one_time.store_email_change(
        ctx, tx, user, new_email, redirect_to=target, pkce=False,
        only="current" if kind == "email_change_current" else "new",
    )  # fmt: skip
    return changed, new if kind == "email_change_new" or current is None else current
