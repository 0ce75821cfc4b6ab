"""Factors and passkeys of any user, for administrators."""

from __future__ import annotations

from typing import Any

from selfbase.auth import audit, factors
from selfbase.auth.context import Context
from selfbase.auth.errors import AuthFailure, UserNotFound
from selfbase.auth.handlers.passkeys import find_of, render_passkey
from selfbase.auth.logic.addresses import parse_phone
from selfbase.auth.logic.fields import parse_uuid
from selfbase.auth.logic.render import render_factor
from selfbase.auth.queries import factors as rows
from selfbase.auth.queries import passkeys as passkey_rows
from selfbase.auth.queries.users import find_user
from selfbase.auth.types import Factor, User
from selfbase.database.database import Transaction
from selfbase.database.failures import UniqueViolation
from selfbase.http.values import Response, json_response


async def _find_user(ctx: Context, tx: Transaction) -> User:
    user_id = parse_uuid(ctx.request.params["user_id"], "user_id must be an UUID", status=404)
    user = await find_user(tx, user_id)
    if user is None:
        raise UserNotFound
    return user


async def _find_factor(ctx: Context, tx: Transaction, user: User) -> Factor:
    factor_id = parse_uuid(ctx.request.params["factor_id"], "factor_id must be an UUID", status=404)
    factor = await rows.find_factor(tx, user.id, factor_id)
    if factor is None:
        raise AuthFailure("Factor not found", code="mfa_factor_not_found", status=404)
    return factor


async def list_factors(ctx: Context) -> Response:
    """GET /admin/users/{user_id}/factors"""
    async with ctx.transaction("list a user's factors") as tx:
        user = await _find_user(ctx, tx)
    return json_response([render_factor(factor) for factor in user.factors])


async def update_factor(ctx: Context) -> Response:
    """PUT /admin/users/{user_id}/factors/{factor_id}"""
    body = await ctx.fields()
    async with ctx.transaction("change a user's factor") as tx:
        user = await _find_user(ctx, tx)
        factor = await _find_factor(ctx, tx, user)
        values: dict[str, Any] = {}
        if body.text("friendly_name"):
            values["friendly_name"] = body.text("friendly_name")
        if body.text("phone") and factor.factor_type == "phone":
            values["phone"] = parse_phone(body.text("phone"))
        try:
            async with tx.savepoint():
                changed = await rows.update_factor(tx, factor.id, values)
        except UniqueViolation:
            raise factors.factor_name_conflict(values.get("friendly_name", "")) from None
        await audit.record(
            ctx,
            tx,
            "factor_updated",
            None,
            {"user_id": user.id, "factor_id": factor.id, "factor_type": factor.factor_type},
        )
    return json_response(render_factor(changed))


async def delete_factor(ctx: Context) -> Response:
    """DELETE /admin/users/{user_id}/factors/{factor_id}"""
    async with ctx.transaction("remove a user's factor") as tx:
        user = await _find_user(ctx, tx)
        factor = await _find_factor(ctx, tx, user)
        await rows.delete_factor(tx, factor.id)
        await rows.delete_methods(tx, user.id, [factors.METHODS[factor.factor_type]])
        await audit.record(
            ctx, tx, "factor_deleted", None, {"user_id": user.id, "factor_id": factor.id}
        )
    return json_response(render_factor(factor))


async def list_passkeys(ctx: Context) -> Response:
    """GET /admin/users/{user_id}/passkeys"""
    _check_passkeys(ctx)
    async with ctx.transaction("list a user's passkeys") as tx:
        user = await _find_user(ctx, tx)
        found = await passkey_rows.list_passkeys(tx, user.id)
    return json_response([render_passkey(passkey) for passkey in found])


async def delete_passkey(ctx: Context) -> Response:
    """DELETE /admin/users/{user_id}/passkeys/{passkey_id}"""
    _check_passkeys(ctx)
    async with ctx.transaction("remove a user's passkey") as tx:
        user = await _find_user(ctx, tx)
        passkey = await find_of(tx, user.id, ctx.request.params["passkey_id"])
        await passkey_rows.delete_passkey(tx, passkey.id)
        await audit.record(
            ctx, tx, "passkey_deleted", None, {"user_id": user.id, "passkey_id": passkey.id}
        )
    return Response(204)


def _check_passkeys(ctx: Context) -> None:
    if not ctx.settings.passkey_enabled:
        raise AuthFailure("Passkeys are disabled", code="passkey_disabled", status=404)
