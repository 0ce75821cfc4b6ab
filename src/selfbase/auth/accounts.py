"""Accounts: making, confirming, changing and removing users and their identities.

Each function runs inside the caller's transaction.  A trigger of the project's owner that raises
undoes the whole step and is named in the failure.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from selfbase.auth.context import Context
from selfbase.auth.errors import EmailExists, PhoneExists, UnexpectedFailure
from selfbase.auth.logic.accounts import merge_metadata, plan_providers
from selfbase.auth.logic.render import render_user
from selfbase.auth.queries import one_time_tokens, sessions
from selfbase.auth.queries import users as rows
from selfbase.auth.sealed import seal, unseal
from selfbase.auth.types import Identity, User
from selfbase.database.database import Transaction
from selfbase.database.failures import DatabaseFailure, DatabaseUnavailable, UniqueViolation


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser:
    """An account to be made.  `provider` is empty for an anonymous one."""

    provider: str
    email: str = ""
    phone: str = ""
    encrypted_password: str = field(default="", repr=False)
    user_metadata: Mapping[str, Any] = field(default_factory=dict)
    app_metadata: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""
    aud: str = ""
    role: str = ""
    is_sso_user: bool = False
    is_anonymous: bool = False
    email_confirmed_at: datetime | None = None
    phone_confirmed_at: datetime | None = None
    banned_until: datetime | None = None

    def columns(self, ctx: Context) -> dict[str, Any]:
        """The row to insert."""
        app: dict[str, Any] = dict(self.app_metadata)
        if self.provider:
            app = {"provider": self.provider, "providers": [self.provider], **app}
        user_id = self.id or str(uuid.uuid4())
        hashed = self.encrypted_password
        return {
            "id": user_id,
            "aud": self.aud or ctx.settings.jwt_aud,
            "role": self.role or ctx.settings.jwt_default_group_name,
            "email": self.email.lower(),
            "phone": self.phone,
            "encrypted_password": seal(ctx, hashed, user_id) if hashed else "",
            "user_metadata": merge_metadata({}, self.user_metadata),
            "app_metadata": app,
            "is_sso_user": self.is_sso_user,
            "is_anonymous": self.is_anonymous,
            "email_confirmed_at": self.email_confirmed_at,
            "phone_confirmed_at": self.phone_confirmed_at,
            "banned_until": self.banned_until,
            "now": ctx.now,
        }


@asynccontextmanager
async def saving(words: str) -> AsyncIterator[None]:
    """Turns a database failure into `words` with the server's own message behind them."""
    try:
        yield
    except (DatabaseUnavailable, UniqueViolation):
        raise
    except DatabaseFailure as error:
        diagnosis = error.diagnosis
        where = (diagnosis.context or "").partition("\n")[0]
        # Only what a trigger raised on purpose is for the client's eyes; the rest goes to the log.
        shown = f"{words}: {diagnosis.message}" if diagnosis.sqlstate.startswith("P") else words
        raise UnexpectedFailure(
            shown, internal=f"{diagnosis.sqlstate} {diagnosis.message} {where}".strip()
        ) from error


async def ask_before_created(ctx: Context, new: NewUser) -> NewUser:
    """Runs the before-user-created hook; the account with its id.  Call it outside a transaction.
    Raises HookFailure."""
    columns = new.columns(ctx)
    named = NewUser(**{**_fields(new), "id": columns["id"]})
    if ctx.settings.hooks["before_user_created"].enabled:
        shown = User(
            id=columns["id"], aud=columns["aud"], role=columns["role"], email=columns["email"],
            phone=columns["phone"], app_metadata=columns["app_metadata"],
            user_metadata=columns["user_metadata"], is_anonymous=new.is_anonymous,
            created_at=ctx.now, updated_at=ctx.now,
        )  # fmt: skip
        await ctx.core.hooks.run(ctx, "before_user_created", {"user": render_user(shown)})
    return named


async def tell_after_created(ctx: Context, user: User) -> None:
    """Runs the after-user-created hook.  Raises HookFailure, though the account stays."""
    if ctx.settings.hooks["after_user_created"].enabled:
        await ctx.core.hooks.run(ctx, "after_user_created", {"user": render_user(user)})


async def create_user(ctx: Context, tx: Transaction, new: NewUser) -> User:
    """Inserts the user.  The project's triggers run and may refuse.

    Raises UnexpectedFailure "Database error saving new user", EmailExists, PhoneExists.
    """
    try:
        async with saving("Database error saving new user"):
            return await rows.insert_user(tx, new.columns(ctx))
    except UniqueViolation as error:
        raise taken(error) from None


def taken(error: UniqueViolation) -> Exception:
    """The failure for a value that another user has."""
    name = error.diagnosis.constraint or ""
    if "phone" in name:
        return PhoneExists()
    if "email" in name:
        return EmailExists()
    return UnexpectedFailure("Database error saving new user", internal=name)


async def add_identity(
    ctx: Context,
    tx: Transaction,
    user: User,
    provider: str,
    provider_id: str,
    identity_data: Mapping[str, Any],
) -> User:
    """Adds an identity, copies its data into the user's metadata, renews the provider list."""
    await rows.insert_identity(
        tx, user_id=user.id, provider=provider, provider_id=provider_id,
        identity_data=identity_data,
    )  # fmt: skip
    await rows.update_user(
        tx, user.id, {"user_metadata": merge_metadata(user.user_metadata, identity_data)}
    )
    return await refresh_providers(tx, user.id)


async def refresh_providers(tx: Transaction, user_id: str) -> User:
    """Makes `provider` and `providers` of app_metadata those of the identities."""
    user = await rows.get_user(tx, user_id)
    planned = plan_providers(user)
    if planned == user.app_metadata:
        return user
    return await rows.update_user(tx, user_id, {"app_metadata": planned})


async def update_identity_data(
    tx: Transaction, identity: Identity, changes: Mapping[str, Any]
) -> None:
    """Merges changes into an identity's data."""
    await rows.update_identity(tx, identity.id, {**identity.identity_data, **changes})


async def confirm_email(ctx: Context, tx: Transaction, user: User) -> User:
    """The address is the person's: confirms it, marks identities and metadata, clears codes."""
    for identity in user.identities:
        if identity.email and user.email and identity.email.lower() == user.email.lower():
            await update_identity_data(tx, identity, {"email_verified": True})
    metadata = merge_metadata(user.user_metadata, {"email_verified": True})
    values: dict[str, Any] = {
        "email_confirmed_at": ctx.now, "user_metadata": metadata, "is_anonymous": False,
    }  # fmt: skip
    async with saving("Error confirming user"):
        await rows.update_user(tx, user.id, values)
    await one_time_tokens.clear_tokens(tx, user.id)
    return await rows.get_user(tx, user.id)


async def confirm_phone(ctx: Context, tx: Transaction, user: User) -> User:
    """The number is the person's."""
    identity = user.find_identity("phone")
    if identity is not None:
        await update_identity_data(tx, identity, {"phone_verified": True})
    async with saving("Error confirming user"):
        await rows.update_user(
            tx,
            user.id,
            {
                "phone_confirmed_at": ctx.now,
                "is_anonymous": False,
                "user_metadata": merge_metadata(user.user_metadata, {"phone_verified": True}),
            },
        )
    await one_time_tokens.clear_tokens(tx, user.id)
    return await rows.get_user(tx, user.id)


async def apply_email_change(ctx: Context, tx: Transaction, user: User, new_email: str) -> User:
    """The pending address becomes the user's.  Raises EmailExists when it was taken meanwhile."""
    identity = user.find_identity("email")
    data = {"sub": user.id, "email": new_email, "email_verified": True, "phone_verified": False}
    try:
        if identity is None:
            await rows.insert_identity(
                tx, user_id=user.id, provider="email", provider_id=user.id, identity_data=data
            )
        else:
            changed = {"email": new_email, "email_verified": True}
            await update_identity_data(tx, identity, changed)
        shown = {"email": new_email, "email_verified": True}
        async with saving("Error confirm email"):
            await rows.update_user(
                tx,
                user.id,
                {
                    "email": new_email,
                    "email_change": "",
                    "email_change_confirm_status": 0,
                    "email_confirmed_at": user.email_confirmed_at or ctx.now,
                    "is_anonymous": False,
                    "user_metadata": merge_metadata(user.user_metadata, shown),
                },
            )
    except UniqueViolation as error:
        raise taken(error) from None
    await one_time_tokens.clear_tokens(tx, user.id)
    return await refresh_providers(tx, user.id)


async def apply_phone_change(ctx: Context, tx: Transaction, user: User, phone: str) -> User:
    """The pending number becomes the user's.  Raises PhoneExists when it was taken meanwhile."""
    identity = user.find_identity("phone")
    data = {"sub": user.id, "phone": phone, "phone_verified": True, "email_verified": False}
    try:
        if identity is None:
            await rows.insert_identity(
                tx, user_id=user.id, provider="phone", provider_id=user.id, identity_data=data
            )
        else:
            await update_identity_data(tx, identity, {"phone": phone, "phone_verified": True})
        async with saving("Error confirming user"):
            await rows.update_user(
                tx,
                user.id,
                {
                    "phone": phone,
                    "phone_change": "",
                    "phone_confirmed_at": ctx.now,
                    "is_anonymous": False,
                },
            )
    except UniqueViolation as error:
        raise taken(error) from None
    await one_time_tokens.clear_tokens(tx, user.id)
    return await refresh_providers(tx, user.id)


async def set_password(
    ctx: Context, tx: Transaction, user: User, encrypted: str, *, keep_session: str | None
) -> User:
    """Stores a hash, voids every pending code, ends every other session."""
    await store_password(ctx, tx, user, encrypted)
    if (
        not user.has_password
        and ctx.settings.experimental_create_email_identity_on_password_set_enabled
    ):
        await _add_email_identity(tx, user)
    changed = await rows.get_user(tx, user.id)
    await one_time_tokens.clear_tokens(tx, user.id)
    await sessions.delete_sessions(tx, user.id, keep=keep_session)
    return changed


async def _add_email_identity(tx: Transaction, user: User) -> None:
    """Who came with a provider can now sign in by address too: where the address is proven."""
    proven = user.email and user.email_confirmed_at is not None
    if not proven or user.is_anonymous or user.is_sso_user or user.find_identity("email"):
        return
    data = {"sub": user.id, "email": user.email, "email_verified": True, "phone_verified": False}
    await rows.insert_identity(
        tx, user_id=user.id, provider="email", provider_id=user.id, identity_data=data,
        signed_in=False,
    )  # fmt: skip
    await refresh_providers(tx, user.id)


async def store_password(ctx: Context, tx: Transaction, user: User, encrypted: str) -> User:
    """Stores a hash, sealed where the project's settings ask for it."""
    sealed = seal(ctx, encrypted, user.id)
    return await rows.update_user(tx, user.id, {"encrypted_password": sealed})


def read_password(ctx: Context, user: User) -> str:
    """The stored hash; empty where there is none."""
    return unseal(ctx, user.encrypted_password, user.id) if user.has_password else ""


async def purge_unconfirmed(tx: Transaction, user: User, keep: Identity | None) -> None:
    """A verified identity arrived at an account nobody had confirmed: whoever prepared it loses
    every other way in, and the password."""
    for identity in user.identities:
        if keep is None or identity.id != keep.id:
            await rows.delete_identity(tx, identity.id)
    await rows.update_user(
        tx, user.id, {"encrypted_password": "", "user_metadata": {}, "app_metadata": {}}
    )
    await one_time_tokens.clear_tokens(tx, user.id)


async def find_duplicate_email(
    ctx: Context, tx: Transaction, email: str, *, besides: User | None = None
) -> User | None:
    """The account that has this address already, by its own address or an identity's."""
    own = set((besides and [besides.id]) or [])
    for identity in await rows.list_identities_by_emails(tx, [email]):
        if identity.provider.startswith("sso:") or identity.user_id in own:
            continue
        user = await rows.find_user(tx, identity.user_id)
        if user is not None and user.aud == ctx.settings.jwt_aud:
            return user
    user = await rows.find_user_by_email(tx, email, ctx.settings.jwt_aud)
    return None if user is None or user.id in own else user


async def soft_delete(ctx: Context, tx: Transaction, user: User) -> None:
    """Keeps the row for references, without anything that tells who it was."""
    await one_time_tokens.clear_tokens(tx, user.id)
    await sessions.delete_sessions(tx, user.id)
    await tx.execute("delete from auth.mfa_factors where user_id = %(id)s", {"id": user.id})
    await tx.execute(
        "delete from auth.webauthn_credentials where user_id = %(id)s", {"id": user.id}
    )
    for identity in user.identities:
        await tx.execute(
            """update auth.identities set provider_id = %(provider_id)s, identity_data = '{}',
                 updated_at = now() where id = %(id)s""",
            {"id": identity.id, "provider_id": obscure(user.id, identity.provider_id)},
        )
    await tx.execute(
        """update auth.users set email = %(email)s, phone = %(phone)s, encrypted_password = '',
             email_change = '', phone_change = '', raw_user_meta_data = '{}',
             raw_app_meta_data = '{}', deleted_at = %(now)s, updated_at = %(now)s
           where id = %(id)s""",
        {
            "id": user.id,
            "now": ctx.now,
            "email": obscure(user.id, user.email) if user.email else None,
            "phone": obscure(user.id, user.phone)[:15] if user.phone else None,
        },
    )


def obscure(user_id: str, value: str) -> str:
    """A text that stands for a removed address: the same for the same user and address."""
    return hashlib.sha256((user_id + value).encode()).hexdigest()


def _fields(new: NewUser) -> dict[str, Any]:
    return {name: getattr(new, name) for name in NewUser.__slots__}
