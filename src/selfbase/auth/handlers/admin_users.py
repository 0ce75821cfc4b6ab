"""/admin/users and /admin/audit: what administrators may do with accounts."""

from __future__ import annotations

import secrets
from typing import Any

import orjson

from selfbase.auth import accounts, audit
from selfbase.auth.accounts import NewUser
from selfbase.auth.context import Context
from selfbase.auth.errors import (
    EmailExists,
    PhoneExists,
    UserNotFound,
    ValidationFailed,
)
from selfbase.auth.handlers.user import user_response
from selfbase.auth.logic.accounts import merge_metadata, parse_ban
from selfbase.auth.logic.addresses import parse_email, parse_phone
from selfbase.auth.logic.fields import Fields, parse_uuid
from selfbase.auth.logic.paging import (
    Page,
    cursor_headers,
    page_headers,
    parse_page,
    parse_place,
    parse_sort,
    render_cursor,
)
from selfbase.auth.logic.passwords import check_length, parse_hash
from selfbase.auth.logic.render import dump_json, render_moment, render_user
from selfbase.auth.password_rules import check_new_password
from selfbase.auth.queries import admin as admin_rows
from selfbase.auth.queries import users as rows
from selfbase.auth.types import User
from selfbase.database.database import Transaction
from selfbase.database.failures import UniqueViolation
from selfbase.http.values import JSON_UTF8, Response, json_response


async def list_users(ctx: Context) -> Response:
    """A page of users, newest first unless asked otherwise."""
    search = ctx.request.query_value("filter") or ""
    ascending = parse_sort(ctx.request.query_value("sort") or "")
    numbered = ctx.request.query_value("page") or ctx.request.query_value("per_page")
    if ctx.settings.experimental_cursor_pagination_enabled and not numbered:
        return await _list_users_after(ctx, search, ascending=ascending)
    page = parse_page(ctx.request.query_pairs())
    async with ctx.transaction("an administrator lists users") as tx:
        users, total = await admin_rows.list_users(
            tx, limit=page.size, offset=page.offset, search=search, ascending=ascending
        )
    body = {"users": [render_user(user) for user in users], "aud": ctx.settings.jwt_aud}
    headers = [("content-type", JSON_UTF8), *page_headers(page, total, ctx.request.full_path)]
    return Response(200, headers, dump_json(body))


async def _list_users_after(ctx: Context, search: str, *, ascending: bool) -> Response:
    """The users behind a cursor: no count, no offset."""
    place = parse_place(ctx.request.query_pairs())
    async with ctx.transaction("an administrator lists users") as tx:
        users = await admin_rows.list_users_after(tx, place, search=search, ascending=ascending)
    more = len(users) > place.size
    users = users[: place.size]
    pagination: dict[str, Any] = {"has_more": more}
    headers = [("content-type", JSON_UTF8)]
    if more:
        cursor = pagination["next_cursor"] = render_cursor(users[-1].created_at, users[-1].id)
        headers += cursor_headers(ctx.request.query_pairs(), cursor, ctx.request.full_path)
    body = {
        "users": [render_user(user) for user in users],
        "aud": ctx.settings.jwt_aud,
        "pagination": pagination,
    }
    return Response(200, headers, dump_json(body))


async def create_user(ctx: Context) -> Response:
    """An account without any mail; confirmed where asked for."""
    body = await ctx.fields()
    email, phone = _read_addresses(body)
    if not email and not phone:
        raise ValidationFailed("Cannot create a user without either an email or phone")
    if body.text("id"):
        user_id = parse_uuid(body.text("id"), "ID must conform to the uuid v4 format")
        if set(user_id) <= {"0", "-"}:
            raise ValidationFailed("ID cannot be a nil uuid")
    else:
        user_id = ""
    await _refuse_duplicates(ctx, email, phone)
    providers = [name for name, value in (("email", email), ("phone", phone)) if value]
    new = NewUser(
        id=user_id,
        provider=providers[0],
        email=email,
        phone=phone,
        encrypted_password=await _read_password(ctx, body),
        user_metadata=body.mapping("user_metadata"),
        app_metadata=body.mapping("app_metadata"),
        aud=body.text("aud"),
        role=body.text("role"),
        banned_until=_read_ban(ctx, body),
    )
    async with ctx.transaction("an administrator creates a user") as tx:
        user = await accounts.create_user(ctx, tx, new)
        for provider in providers:
            user = await _add_identity(tx, user, provider, body)
        if body.flag("email_confirm") and email:
            user = await accounts.confirm_email(ctx, tx, user)
        if body.flag("phone_confirm") and phone:
            user = await accounts.confirm_phone(ctx, tx, user)
        user = await accounts.refresh_providers(tx, user.id)
        await audit.record(
            ctx, tx, "user_signedup", None,
            {"user_id": user.id, "user_email": user.email, "user_phone": user.phone},
        )  # fmt: skip
    return user_response(user)


async def _add_identity(tx: Transaction, user: User, provider: str, body: Fields) -> User:
    confirmed = body.flag(f"{provider}_confirm")
    data: dict[str, Any] = {
        "sub": user.id,
        "email_verified": provider == "email" and confirmed,
        "phone_verified": provider == "phone" and confirmed,
        provider: getattr(user, provider),
    }
    await rows.insert_identity(
        tx, user_id=user.id, provider=provider, provider_id=user.id, identity_data=data,
        signed_in=False,
    )  # fmt: skip
    return await rows.get_user(tx, user.id)


async def _read_password(ctx: Context, body: Fields) -> str:
    """The hash to store: given as such, made from the password, or of one nobody knows."""
    given = body.text("password_hash")
    password = body.text("password")
    if given and password:
        raise ValidationFailed("Only a password or a password hash should be provided")
    if given:
        if parse_hash(given) is None:
            raise ValidationFailed(
                "Invalid password hash: not a bcrypt, argon2 or Firebase scrypt hash"
            )
        return given
    check_length(password)
    return await ctx.core.passwords.hash(
        password or secrets.token_urlsafe(48), ctx.settings.password_hash_cost
    )


def _read_addresses(body: Fields) -> tuple[str, str]:
    email, phone = body.text("email"), body.text("phone")
    return (parse_email(email) if email else "", parse_phone(phone) if phone else "")


def _read_ban(ctx: Context, body: Fields) -> Any:
    text = body.text("ban_duration")
    return parse_ban(text, ctx.now) if text else None


async def _refuse_duplicates(
    ctx: Context, email: str, phone: str, *, besides: User | None = None
) -> None:
    async with ctx.transaction("an administrator's change looks for duplicates") as tx:
        if email and await accounts.find_duplicate_email(ctx, tx, email, besides=besides):
            raise EmailExists
        if phone:
            other = await rows.find_user_by_phone(tx, phone, ctx.settings.jwt_aud)
            if other is not None and (besides is None or other.id != besides.id):
                raise PhoneExists


async def _load(ctx: Context, tx: Transaction, *, lock: bool = False) -> User:
    """The user the path names.  Raises ValidationFailed (404) or UserNotFound."""
    user_id = parse_uuid(ctx.request.params["user_id"], "user_id must be an UUID", status=404)
    user = await rows.find_user(tx, user_id, lock=lock)
    if user is None:
        raise UserNotFound
    return user


async def get_user(ctx: Context) -> Response:
    async with ctx.transaction("an administrator reads a user") as tx:
        return user_response(await _load(ctx, tx))


async def update_user(ctx: Context) -> Response:
    """Changes apply at once, without any mail; a new password ends every session."""
    body = await ctx.fields()
    email, phone = _read_addresses(body)
    async with ctx.transaction("an administrator reads a user") as tx:
        user = await _load(ctx, tx)
    await _refuse_duplicates(ctx, email, phone, besides=user)
    if body.has("password"):
        await check_new_password(ctx, body.text("password"))
    given = body.has("password") or body.text("password_hash")
    encrypted = await _read_password(ctx, body) if given else None
    values = _plan_values(ctx, body, user)
    try:
        async with ctx.transaction("an administrator changes a user") as tx:
            user = await _load(ctx, tx, lock=True)
            if encrypted is not None:
                user = await accounts.set_password(ctx, tx, user, encrypted, keep_session=None)
            if email and email != user.email:
                sure = body.flag("email_confirm")
                user = await _set_address(tx, user, "email", email, verified=sure)
            if phone and phone != user.phone:
                sure = body.flag("phone_confirm")
                user = await _set_address(tx, user, "phone", phone, verified=sure)
            if body.flag("email_confirm") and user.email_confirmed_at is None:
                user = await accounts.confirm_email(ctx, tx, user)
            if body.flag("phone_confirm") and user.phone_confirmed_at is None:
                user = await accounts.confirm_phone(ctx, tx, user)
            async with accounts.saving("Error updating user"):
                user = await rows.update_user(tx, user.id, values)
            await audit.record(
                ctx, tx, "user_modified", None,
                {"user_id": user.id, "user_email": user.email, "user_phone": user.phone},
            )  # fmt: skip
    except UniqueViolation as error:
        raise accounts.taken(error) from None
    return user_response(user)


def _plan_values(ctx: Context, body: Fields, user: User) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in ("role", "aud"):
        if body.text(name):
            values[name] = body.text(name)
    for name, current in (
        ("user_metadata", user.user_metadata), ("app_metadata", user.app_metadata)
    ):  # fmt: skip
        if body.has(name):
            values[name] = merge_metadata(current, body.mapping(name))
    if body.text("ban_duration"):
        values["banned_until"] = _read_ban(ctx, body)
    return values


async def _set_address(
    tx: Transaction, user: User, provider: str, value: str, *, verified: bool
) -> User:
    """Sets e-mail or phone with its identity.  Only a `verified` one makes an anonymous account a
    person's, and lets other sign-ins be linked by it."""
    identity = user.find_identity(provider)
    changed = {provider: value, f"{provider}_verified": verified}
    if identity is None:
        await rows.insert_identity(
            tx, user_id=user.id, provider=provider, provider_id=user.id,
            identity_data={"sub": user.id, **changed}, signed_in=False,
        )  # fmt: skip
    else:
        await accounts.update_identity_data(tx, identity, changed)
    values: dict[str, Any] = {provider: value}
    if user.is_anonymous and verified:
        values["is_anonymous"] = False
    async with accounts.saving("Error updating user"):
        await rows.update_user(tx, user.id, values)
    return await accounts.refresh_providers(tx, user.id)


async def delete_user(ctx: Context) -> Response:
    """Removes the account, or softly: a row without anything that tells who it was."""
    body = await ctx.fields()
    soft = body.flag("should_soft_delete")
    async with ctx.transaction("an administrator deletes a user") as tx:
        user = await _load(ctx, tx, lock=True)
        await audit.record(
            ctx, tx, "user_deleted", None,
            {"user_id": user.id, "user_email": user.email, "user_phone": user.phone},
        )  # fmt: skip
        async with accounts.saving("Database error deleting user"):
            if not soft:
                await tx.execute("delete from auth.users where id = %(id)s", {"id": user.id})
            elif user.deleted_at is None:
                await accounts.soft_delete(ctx, tx, user)
    return json_response({})


async def list_audit(ctx: Context) -> Response:
    """The audit log, newest first; `query=author:…|action:…|type:…` filters."""
    page: Page = parse_page(ctx.request.query_pairs())
    query = ctx.request.query_value("query") or ""
    field, _, wanted = query.partition(":")
    if query and field not in ("author", "action", "type"):
        raise ValidationFailed(f"bad query string: {field[:30]} is not author, action or type")
    async with ctx.transaction("an administrator reads the audit log") as tx:
        entries, total = await admin_rows.list_audit(
            tx, limit=page.size, offset=page.offset, field=field, wanted=wanted
        )
    shown = [
        {
            "id": entry["id"],
            "payload": orjson.loads(entry["payload"] or "{}"),
            "created_at": render_moment(entry["created_at"]),
            "ip_address": entry["ip_address"],
        }
        for entry in entries
    ]
    return json_response(shown, headers=page_headers(page, total, ctx.request.full_path))
