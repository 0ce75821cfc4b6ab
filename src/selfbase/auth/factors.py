"""Second factors: what may be enrolled, and the session that comes of a verified one.

Source: reference/auth.md section 3.10.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from selfbase.auth import audit
from selfbase.auth.context import Context
from selfbase.auth.errors import AuthFailure, InsufficientAal, OverRequestRateLimit
from selfbase.auth.logic.fields import parse_uuid
from selfbase.auth.logic.passkeys import RelyingParty
from selfbase.auth.logic.rates import Rate
from selfbase.auth.logic.refresh import render_signed_token
from selfbase.auth.queries import factors as rows
from selfbase.auth.queries import sessions as session_rows
from selfbase.auth.queries.users import get_user
from selfbase.auth.sealed import unseal
from selfbase.auth.sessions import (
    Grant,
    grant_tokens,
    make_refresh_token,
    storable_address,
)
from selfbase.auth.types import Factor, User
from selfbase.auth.types_more import FactorChallenge
from selfbase.database.database import Transaction

METHODS = {"totp": "totp", "phone": "mfa/phone", "webauthn": "mfa/webauthn"}
UNKNOWN_ADDRESS = "0.0.0.0"  # noqa: S104  # an address that is none, not one to listen on


def factor_name_conflict(name: str) -> AuthFailure:
    return AuthFailure(
        f'A factor with the friendly name "{name}" for this user already exists',
        code="mfa_factor_name_conflict",
        status=422,
    )


def challenge_address(ctx: Context) -> str:
    """The caller's address as challenges keep it."""
    return storable_address(ctx.ip) or UNKNOWN_ADDRESS


def relying_party(ctx: Context) -> RelyingParty:
    """Who we are to authenticators; the site's host where nothing else is set."""
    site = urlsplit(ctx.settings.site_url)
    party_id = ctx.settings.webauthn_rp_id or site.hostname or "localhost"
    origins = ctx.settings.webauthn_rp_origins or (f"{site.scheme}://{site.netloc}",)
    name = ctx.settings.webauthn_rp_display_name or party_id
    return RelyingParty(party_id, name, tuple(origin.rstrip("/") for origin in origins))


async def check_enrollment(ctx: Context, tx: Transaction, name: str) -> list[Factor]:
    """The user's factors, once one more of this name may join them.

    Raises mfa_factor_name_conflict, too_many_enrolled_mfa_factors, InsufficientAal.
    """
    before = ctx.now - timedelta(seconds=ctx.settings.mfa_factor_expiry_duration)
    await rows.delete_expired_factors(tx, ctx.user.id, before)
    factors = await rows.list_factors(tx, ctx.user.id)
    verified = sum(factor.is_verified for factor in factors)
    if name.strip() and any(factor.friendly_name == name for factor in factors):
        raise factor_name_conflict(name)
    settings = ctx.settings
    if (
        len(factors) >= settings.mfa_max_enrolled_factors
        or verified >= settings.mfa_max_verified_factors
    ):
        raise AuthFailure(
            "Maximum number of verified factors reached, unenroll to continue",
            code="too_many_enrolled_mfa_factors",
            status=422,
        )
    if verified and ctx.session.aal != "aal2":
        raise InsufficientAal("AAL2 required to enroll a new factor", status=403)
    return factors


async def find_own_factor(ctx: Context, tx: Transaction, *, lock: bool = False) -> Factor:
    """The factor of the path, if it is the caller's.  Raises mfa_factor_not_found."""
    factor_id = parse_uuid(ctx.request.params["factor_id"], "factor_id must be an UUID", status=404)
    factor = await rows.find_factor(tx, ctx.user.id, factor_id, lock=lock)
    if factor is None:
        raise AuthFailure("Factor not found", code="mfa_factor_not_found", status=404)
    return factor


async def limit_attempts(ctx: Context, factor_id: str) -> None:
    """A factor takes few wrong codes an hour from whatever address.  Raises OverRequestRateLimit."""
    burst = max(1, ctx.settings.mfa_attempts_max)
    wait_s = await ctx.core.limiter.take(ctx, f"factor:{factor_id}", Rate(burst, 3600.0 / burst))
    if wait_s is not None:
        raise OverRequestRateLimit(headers=[("Retry-After", str(max(1, int(wait_s))))])


async def find_open_challenge(
    ctx: Context, tx: Transaction, factor: Factor, challenge_id: str
) -> FactorChallenge:
    """The challenge to answer, locked.  Raises mfa_factor_not_found, mfa_ip_address_mismatch,
    mfa_challenge_expired (the caller deletes it)."""
    challenge = await rows.find_challenge(tx, factor.id, challenge_id)
    if challenge is None:
        raise AuthFailure(
            "MFA factor with the provided challenge ID not found",
            code="mfa_factor_not_found",
            status=422,
        )
    if challenge.verified_at is not None or challenge.ip_address != challenge_address(ctx):
        raise AuthFailure(
            "Challenge and verify IP addresses mismatch.",
            code="mfa_ip_address_mismatch",
            status=422,
        )
    if ctx.now > challenge_expires_at(ctx, challenge):
        raise ChallengeExpired(challenge.id)
    return challenge


class ChallengeExpired(AuthFailure):
    """The challenge is too old."""

    code = "mfa_challenge_expired"
    status = 422

    def __init__(self, challenge_id: str) -> None:
        super().__init__(
            f"MFA challenge {challenge_id} has expired, verify against another challenge or create"
            " a new challenge."
        )


def challenge_expires_at(ctx: Context, challenge: FactorChallenge) -> datetime:
    return challenge.created_at + timedelta(seconds=ctx.settings.mfa_challenge_expiry_duration)


async def accept_factor(ctx: Context, tx: Transaction, factor: Factor) -> Grant:
    """What follows from a factor that was proven: it counts as verified, the session rises to aal2
    with new tokens, and the user's weaker sessions and unfinished factors of its type end."""
    await audit.record(
        ctx,
        tx,
        "verification_attempted",
        ctx.user,
        {"factor_id": factor.id, "factor_type": factor.factor_type},
    )
    if not factor.is_verified:
        await rows.set_verified(tx, factor.id)
    user = await get_user(tx, ctx.user.id)
    grant = await _raise_session(ctx, tx, user, factor)
    await session_rows.delete_low_sessions(tx, user.id)
    await rows.delete_unverified(tx, user.id, factor.factor_type)
    if not factor.is_verified:
        await ctx.core.mailer.notify(
            ctx, tx, "mfa_factor_enrolled", user, FactorType=factor.factor_type
        )
    # Shown as it is now: verified, and without the factors that have just been removed.
    return replace(grant, user=await get_user(tx, user.id))


async def _raise_session(ctx: Context, tx: Transaction, user: User, factor: Factor) -> Grant:
    session_id, method = ctx.session.id, METHODS[factor.factor_type]
    await session_rows.add_method(tx, session_id, method, ctx.now)
    await session_rows.set_assurance(tx, session_id, "aal2", factor.id)
    ip = storable_address(ctx.ip)
    if ctx.session.refresh_token_counter is not None:
        # Two ahead: no token handed out at aal1 can be taken for the one before this.
        counter = ctx.session.refresh_token_counter + 2
        await session_rows.touch_session(
            tx, session_id, now=ctx.now, user_agent=ctx.user_agent, ip=ip, counter=counter
        )
        refresh_token = render_signed_token(
            session_id, counter, unseal(ctx, ctx.session.refresh_token_hmac_key, session_id)
        )
    else:
        refresh_token = make_refresh_token()
        active = await session_rows.find_active_refresh_token(tx, session_id)
        if active is None:
            await session_rows.insert_refresh_token(
                tx,
                token=refresh_token,
                user_id=user.id,
                session_id=session_id,
                parent=None,
                now=ctx.now,
            )
        else:
            await session_rows.rotate_refresh_token(
                tx,
                old=active,
                new=refresh_token,
                session_id=session_id,
                now=ctx.now,
                user_agent=ctx.user_agent,
                ip=ip,
            )
    session = await session_rows.find_session(tx, session_id)
    if session is None:
        raise LookupError("the session vanished during the transaction")
    return await grant_tokens(ctx, tx, user, session, refresh_token, method)
