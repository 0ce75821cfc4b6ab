"""POST /token: passwords, refresh tokens and PKCE codes are exchanged for sessions."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping

from selfbase.auth import accounts, audit
from selfbase.auth.authenticate import is_admin_bearer, session_limits
from selfbase.auth.context import AUTH_ADMIN, Context, Handler, read_documents
from selfbase.auth.errors import (
    AuthFailure,
    Conflict,
    EmailNotConfirmed,
    EmailProviderDisabled,
    InvalidCredentials,
    OAuthFailure,
    PhoneNotConfirmed,
    PhoneProviderDisabled,
    RefreshTokenAlreadyUsed,
    RefreshTokenNotFound,
    SessionExpired,
    SessionNotFound,
    UserBanned,
    ValidationFailed,
    WeakPassword,
)
from selfbase.auth.flows import check_flow_life
from selfbase.auth.handlers.grants import MORE_GRANTS
from selfbase.auth.logic.passwords import Bcrypt, parse_hash
from selfbase.auth.logic.pkce import check_verifier
from selfbase.auth.logic.refresh import (
    Refuse,
    Replay,
    RevokeFamily,
    Rotate,
    SignedToken,
    decide_refresh,
    decide_signed_refresh,
    decide_upgrade,
    find_session_fault,
    is_stored_token,
    parse_signed_token,
    render_signed_token,
)
from selfbase.auth.password_rules import check_new_password
from selfbase.auth.queries import flow as flow_rows
from selfbase.auth.queries import sessions as rows
from selfbase.auth.queries import users as user_rows
from selfbase.auth.queries.quick_refresh import plan_quick_refresh
from selfbase.auth.sealed import seal, unseal
from selfbase.auth.sessions import (
    Grant,
    grant_tokens,
    issue_session,
    make_hmac_key,
    make_refresh_token,
    session_response,
    storable_address,
)
from selfbase.auth.types import RefreshToken, Session, User
from selfbase.database.database import Transaction
from selfbase.http.values import Response

LOCK_WAIT_S = 5.0


async def exchange_token(ctx: Context) -> Response:
    """Dispatches on `grant_type`."""
    grant_type = ctx.request.query_value("grant_type") or ""
    handler = GRANTS.get(grant_type)
    if handler is None:
        raise InvalidCredentials("unsupported_grant_type")
    await ctx.core.limiter.check_address(
        ctx, "web3" if grant_type == "web3" else "token_refresh", f"token/{grant_type}"
    )
    if grant_type in ("password", "web3") and not is_admin_bearer(ctx):
        await ctx.core.captcha.check(ctx)
    return await handler(ctx)


async def grant_password(ctx: Context) -> Response:
    """A session for an address and its password."""
    body = await ctx.fields()
    email, phone, password = body.text("email"), body.text("phone"), body.text("password")
    if email and phone:
        raise ValidationFailed("Only an email address or phone number should be provided on login.")
    user = await _find_by_address(ctx, email, phone)
    if not await _is_password_right(ctx, user, password):
        raise InvalidCredentials
    assert user is not None
    if user.is_banned(ctx.now):
        raise UserBanned
    await _ask_password_hook(ctx, user, valid=True)
    _require_confirmed(ctx, user, by_email=bool(email))
    weak = await _find_weakness(ctx, password)
    upgraded = await _upgrade_hash(ctx, user, password)
    async with ctx.transaction("password sign-in") as tx:
        if upgraded:
            await accounts.store_password(ctx, tx, user, upgraded)
        await audit.record(ctx, tx, "login", user, {"provider": "email" if email else "phone"})
        grant = await issue_session(ctx, tx, user, "password")
    return session_response(grant, weak_password=weak)


async def _find_by_address(ctx: Context, email: str, phone: str) -> User | None:
    if email:
        if not ctx.settings.external_email_enabled:
            raise EmailProviderDisabled("Email logins are disabled", status=422)
    elif phone:
        if not ctx.settings.external_phone_enabled:
            raise PhoneProviderDisabled("Phone logins are disabled", status=422)
    else:
        raise ValidationFailed("missing email or phone")
    async with ctx.transaction("password sign-in looks for the account") as tx:
        if email:
            return await user_rows.find_user_by_email(tx, email.strip(), ctx.settings.jwt_aud)
        digits = phone.strip().removeprefix("+").replace(" ", "")
        return await user_rows.find_user_by_phone(tx, digits, ctx.settings.jwt_aud)


async def _is_password_right(ctx: Context, user: User | None, password: str) -> bool:
    """Takes as long for nobody as for somebody."""
    passwords, cost = ctx.core.passwords, ctx.settings.password_hash_cost
    if user is None or not user.has_password or user.deleted_at is not None:
        await passwords.verify_nothing(password, cost)
        return False
    if await passwords.verify(password, accounts.read_password(ctx, user)):
        return True
    await _ask_password_hook(ctx, user, valid=False)
    return False


async def _ask_password_hook(ctx: Context, user: User, *, valid: bool) -> None:
    if not ctx.settings.hooks["password_verification_attempt"].enabled:
        return
    answer = await ctx.core.hooks.run(
        ctx, "password_verification_attempt", {"user_id": user.id, "valid": valid}
    )
    if answer.get("decision") == "reject":
        if answer.get("should_logout_user") is True:
            async with ctx.transaction("hook ends the user's sessions") as tx:
                await rows.delete_sessions(tx, user.id)
        words = answer.get("message")
        raise InvalidCredentials(words if isinstance(words, str) and words else None)


def _require_confirmed(ctx: Context, user: User, *, by_email: bool) -> None:
    if by_email and user.email_confirmed_at is None:
        if not ctx.settings.mailer_allow_unverified_email_sign_ins:
            raise EmailNotConfirmed
    elif not by_email and user.phone_confirmed_at is None:
        raise PhoneNotConfirmed


async def _find_weakness(ctx: Context, password: str) -> dict[str, object] | None:
    try:
        await check_new_password(ctx, password)
    except WeakPassword as weak:
        return {"message": weak.message, "reasons": list(weak.reasons)}
    except ValidationFailed:
        return None
    return None


async def _upgrade_hash(ctx: Context, user: User, password: str) -> str | None:
    """A new hash where the stored one is of another format or a lower cost than we make today."""
    found = parse_hash(accounts.read_password(ctx, user))
    cost = ctx.settings.password_hash_cost
    if isinstance(found, Bcrypt) and found.cost >= cost:
        return None
    if len(password.encode()) > 72:
        return None
    return await ctx.core.passwords.hash(password, cost)


async def grant_refresh_token(ctx: Context) -> Response:
    """A new access token, and the next refresh token, for a refresh token."""
    text = (await ctx.fields()).text("refresh_token")
    if not text:
        raise ValidationFailed("refresh_token is required")
    return session_response(await refresh_session(ctx, text))


async def refresh_session(ctx: Context, text: str, *, oauth_client_id: str | None = None) -> Grant:
    """The refresh of either version.  `oauth_client_id` is the authenticated client, if any.

    Raises the failures of reference section 1.2.
    """
    signed = parse_signed_token(text)
    if signed is None and not is_stored_token(text):
        raise ValidationFailed("Refresh token is not valid")
    if signed is None and oauth_client_id is None:
        grant = await _refresh_quickly(ctx, text)
        if grant is not None:
            return grant
    deadline = ctx.core.clock.monotonic_s() + LOCK_WAIT_S
    while True:
        async with ctx.transaction("refresh") as tx:
            outcome = (
                await _refresh_signed(ctx, tx, signed, oauth_client_id)
                if signed is not None
                else await _refresh_stored(ctx, tx, text, oauth_client_id)
            )
        # Left first: what the transaction did stays although the request fails.
        if isinstance(outcome, AuthFailure):
            raise outcome
        if outcome is not None:
            return outcome
        if ctx.core.clock.monotonic_s() > deadline:
            raise Conflict
        await asyncio.sleep(random.uniform(0.01, 0.03))  # noqa: S311  # spreads waiters, no secret


async def _refresh_quickly(ctx: Context, text: str) -> Grant | None:
    """The plain case in one round trip; None when it is not plain, and nothing has changed."""
    settings, limits = ctx.settings, session_limits(ctx)
    limited = limits.single_per_user or any(
        limit is not None for limit in (limits.timebox_s, limits.inactivity_s, limits.low_aal_s)
    )
    moves = (
        settings.security_refresh_token_algorithm_version == 2
        or settings.security_refresh_token_upgrade_percentage > 0
    )
    # A hook may refuse, and then the old token must still be good.
    if limited or moves or settings.hooks["custom_access_token"].enabled:
        return None
    fresh = make_refresh_token()
    batch = plan_quick_refresh(
        text, new=fresh, now=ctx.now.isoformat(), user_agent=ctx.user_agent,
        ip=storable_address(ctx.ip), audit=not settings.audit_log_disable_postgres,
        audit_ip=ctx.ip[:64],
    )  # fmt: skip
    (result,) = await ctx.core.database.run(batch, login=AUTH_ADMIN)
    found = read_documents(result)
    if not found:
        return None
    user = User.from_document(found[0]["user"])
    session = Session.from_document(found[0]["session"])
    headers = [("sb-auth-refresh-token-rotated", "true")]
    return await grant_tokens(ctx, None, user, session, fresh, "token_refresh", headers)


async def _refresh_stored(
    ctx: Context, tx: Transaction, text: str, client_id: str | None
) -> Grant | AuthFailure | None:
    """None when another request holds the rows."""
    token = await rows.lock_refresh_token(tx, text)
    if token is None:
        known = await rows.find_refresh_token(tx, text)
        return RefreshTokenNotFound() if known is None else None
    user = await user_rows.find_user(tx, token.user_id)
    if user is None:
        return RefreshTokenNotFound()
    if token.session_id is None:
        return RefreshTokenNotFound("Invalid Refresh Token: No Valid Session Found")
    session = await rows.find_session(tx, token.session_id, lock=True)
    if session is None:
        return None
    fault = await _find_fault(ctx, tx, user, session, client_id)
    if fault is not None:
        return fault
    active = await rows.find_active_refresh_token(tx, session.id) if token.revoked else None
    decision = decide_refresh(
        token, active, ctx.now,
        reuse_s=ctx.settings.security_refresh_token_reuse_interval,
        rotation=ctx.settings.security_refresh_token_rotation_enabled,
    )  # fmt: skip
    if isinstance(decision, RevokeFamily):
        await rows.revoke_family(tx, session.id)
        return RefreshTokenAlreadyUsed(
            headers=[("sb-auth-refresh-token-reuse", "true"),
                     ("sb-auth-refresh-token-reuse-cause", "outside-reuse-interval")],
        )  # fmt: skip
    if isinstance(decision, Refuse):
        return RefreshTokenAlreadyUsed()
    if isinstance(decision, Replay):
        await _touch(ctx, tx, session)
        headers = [("sb-auth-refresh-token-reuse", "true"),
                   ("sb-auth-refresh-token-reuse-cause", "fail-to-save")]  # fmt: skip
        return await grant_tokens(
            ctx, tx, user, session, decision.token.token, "token_refresh", headers
        )
    return await _rotate(ctx, tx, user, session, token, forked=not isinstance(decision, Rotate))


async def _rotate(
    ctx: Context,
    tx: Transaction,
    user: User,
    session: Session,
    token: RefreshToken,
    *,
    forked: bool,
) -> Grant:
    await audit.record(ctx, tx, "token_revoked", user)
    await audit.record(ctx, tx, "token_refreshed", user)
    if not forked and _moves_to_signed(ctx, session):
        key = make_hmac_key()
        await rows.revoke_family(tx, session.id)
        await rows.set_signed_tokens(tx, session.id, seal(ctx, key, session.id), 0)
        await _touch(ctx, tx, session)
        fresh = render_signed_token(session.id, 0, key)
        return await grant_tokens(ctx, tx, user, session, fresh, "token_refresh")
    fresh = make_refresh_token()
    await rows.rotate_refresh_token(
        tx, old=token, new=fresh, session_id=session.id, now=ctx.now,
        user_agent=ctx.user_agent, ip=storable_address(ctx.ip),
    )  # fmt: skip
    headers = [("sb-auth-refresh-token-rotated", "true")]
    if forked:
        headers = [("sb-auth-refresh-token-reuse", "true"),
                   ("sb-auth-refresh-token-reuse-cause", "within-reuse-interval")]  # fmt: skip
    return await grant_tokens(ctx, tx, user, session, fresh, "token_refresh", headers)


def _moves_to_signed(ctx: Context, session: Session) -> bool:
    return ctx.settings.security_refresh_token_algorithm_version == 2 or decide_upgrade(
        session.id, ctx.settings.security_refresh_token_upgrade_percentage
    )


async def _refresh_signed(
    ctx: Context, tx: Transaction, token: SignedToken, client_id: str | None
) -> Grant | AuthFailure | None:
    session = await rows.find_session(tx, token.session_id, lock=True)
    if session is None:
        known = await rows.find_session(tx, token.session_id)
        return RefreshTokenNotFound() if known is None else None
    key = unseal(ctx, session.refresh_token_hmac_key, session.id)
    if not key or not token.is_genuine(key):
        return RefreshTokenNotFound()
    user = await user_rows.find_user(tx, session.user_id)
    if user is None:
        return RefreshTokenNotFound()
    fault = await _find_fault(ctx, tx, user, session, client_id)
    if fault is not None:
        return fault
    decision = decide_signed_refresh(
        token.counter, session, ctx.now,
        reuse_s=ctx.settings.security_refresh_token_reuse_interval,
        allow_reuse=ctx.settings.security_refresh_token_allow_reuse,
        rotation=ctx.settings.security_refresh_token_rotation_enabled,
    )  # fmt: skip
    if decision is None:
        return ValidationFailed("Refresh token is not valid")
    if isinstance(decision, RevokeFamily):
        await rows.delete_session(tx, session.id)
        return RefreshTokenAlreadyUsed()
    if isinstance(decision, Refuse):
        return RefreshTokenAlreadyUsed()
    await audit.record(ctx, tx, "token_refreshed", user)
    await rows.touch_session(
        tx, session.id, now=ctx.now, user_agent=ctx.user_agent, ip=storable_address(ctx.ip),
        counter=decision,
    )  # fmt: skip
    fresh = render_signed_token(session.id, decision, key)
    return await grant_tokens(ctx, tx, user, session, fresh, "token_refresh")


async def _find_fault(
    ctx: Context, tx: Transaction, user: User, session: Session, client_id: str | None
) -> AuthFailure | None:
    """Why this session may not go on."""
    if user.is_banned(ctx.now):
        return UserBanned()
    if session.oauth_client_id != client_id:
        return OAuthFailure("invalid_client", "The session belongs to another client")
    limits = session_limits(ctx)
    newest = None
    if limits.single_per_user:
        tags = ctx.settings.sessions_tags
        newest = await rows.find_newest_session_start(tx, user.id, session.tag, tags)
    fault = find_session_fault(user, session, newest, ctx.now, limits)
    return None if fault is None else SessionExpired(f"Invalid Refresh Token: {fault}")


async def _touch(ctx: Context, tx: Transaction, session: Session) -> None:
    await rows.touch_session(
        tx, session.id, now=ctx.now, user_agent=ctx.user_agent, ip=storable_address(ctx.ip)
    )


async def grant_pkce(ctx: Context) -> Response:
    """A session for a code and the verifier its challenge was made from."""
    body = await ctx.fields()
    code, verifier = body.text("auth_code"), body.text("code_verifier")
    if not code or not verifier:
        raise ValidationFailed(
            "invalid request: both auth code and code verifier should be non-empty"
        )
    async with ctx.transaction("PKCE exchange") as tx:
        flow = await flow_rows.find_flow_by_code(tx, code)
        if flow is None or flow.user_id is None:
            raise AuthFailure(
                "invalid flow state, no valid flow state found",
                code="flow_state_not_found", status=404,
            )  # fmt: skip
        check_flow_life(ctx, flow)
        check_verifier(flow, verifier)
        user = await user_rows.find_user(tx, flow.user_id)
        if user is None:
            raise SessionNotFound("User of the flow does not exist", code="user_not_found")
        if user.is_banned(ctx.now):
            raise UserBanned
        await audit.record(ctx, tx, "login", user, {"provider_type": flow.provider_type})
        grant = await issue_session(ctx, tx, user, flow.authentication_method)
        await flow_rows.delete_flow(tx, flow.id)
    return session_response(
        grant,
        provider_token=flow.provider_access_token or None,
        provider_refresh_token=flow.provider_refresh_token or None,
    )


GRANTS: Mapping[str, Handler] = {
    "password": grant_password,
    "refresh_token": grant_refresh_token,
    "pkce": grant_pkce,
    **MORE_GRANTS,
}
