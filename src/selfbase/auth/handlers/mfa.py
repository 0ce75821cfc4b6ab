"""Second factors of the signed-in user: enroll, challenge, verify, remove."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from selfbase.auth import audit, factors
from selfbase.auth.context import Context
from selfbase.auth.errors import (
    AuthFailure,
    InsufficientAal,
    NoAuthorization,
    OtpExpired,
    ValidationFailed,
)
from selfbase.auth.factors import ChallengeExpired
from selfbase.auth.logic import passkeys, totp
from selfbase.auth.logic.addresses import parse_phone
from selfbase.auth.logic.fields import Fields, parse_uuid
from selfbase.auth.logic.one_time import hash_code
from selfbase.auth.one_time import check_sms_gap, make_code, parse_channel
from selfbase.auth.queries import factors as rows
from selfbase.auth.queries import sessions as session_rows
from selfbase.auth.sealed import seal, unseal
from selfbase.auth.sessions import Grant, session_response
from selfbase.auth.sms import find_test_code
from selfbase.auth.types import Factor, User
from selfbase.auth.types_more import FactorChallenge
from selfbase.database.database import Transaction
from selfbase.database.failures import UniqueViolation
from selfbase.http.values import Response, json_response

FACTOR_TYPES = ("totp", "phone", "webauthn")
NAME_LENGTH_MAX = 255
_SETTING = {"totp": "mfa_totp", "phone": "mfa_phone", "webauthn": "mfa_web_authn"}
_WORD = {"totp": "TOTP", "phone": "Phone", "webauthn": "WebAuthn"}
_REJECTED = "Further MFA verification attempts will be rejected."


def check_enabled(ctx: Context, factor_type: str, step: str) -> None:
    """`step` is enroll or verify.  Raises mfa_…_not_enabled."""
    if not getattr(ctx.settings, f"{_SETTING[factor_type]}_{step}_enabled"):
        action = "enroll" if step == "enroll" else "verification"
        raise AuthFailure(
            f"MFA {action} is disabled for {_WORD[factor_type]}",
            code=f"mfa_{factor_type}_{step}_not_enabled",
            status=422,
        )


async def enroll_factor(ctx: Context) -> Response:
    """POST /factors"""
    if ctx.user.is_anonymous:
        raise NoAuthorization("Anonymous user not allowed to perform these actions", status=403)
    body = await ctx.fields()
    factor_type, name = body.text("factor_type"), body.text("friendly_name")
    if factor_type not in FACTOR_TYPES:
        raise ValidationFailed("factor_type needs to be totp, phone, or webauthn")
    if len(name) > NAME_LENGTH_MAX:
        raise ValidationFailed(f"friendly_name cannot exceed {NAME_LENGTH_MAX} characters")
    check_enabled(ctx, factor_type, "enroll")
    factor_id = str(uuid.uuid4())
    values: dict[str, Any] = {"id": factor_id, "friendly_name": name, "factor_type": factor_type}
    shown: dict[str, Any] = {}
    if factor_type == "totp":
        shown["totp"] = await _make_totp(ctx, body.text("issuer"))
        values["secret"] = seal(ctx, shown["totp"]["secret"], factor_id)
    elif factor_type == "phone":
        values["phone"] = _read_phone(body)
        shown["phone"] = body.text("phone")
    factor = await _insert(ctx, values)
    return json_response(
        {"id": factor.id, "type": factor_type, "friendly_name": factor.friendly_name, **shown},
        headers=[("cache-control", "no-store")],
    )


async def _make_totp(ctx: Context, issuer: str) -> dict[str, str]:
    secret = totp.encode_secret(secrets.token_bytes(totp.SECRET_BYTES))
    issuer = issuer or urlsplit(ctx.settings.site_url).netloc
    uri = totp.render_uri(secret, issuer=issuer[:255], account=ctx.user.email or ctx.user.phone)
    # Drawing takes a while: not on the loop that serves everybody.
    drawn = await asyncio.to_thread(totp.render_qr_svg, uri)
    return {"qr_code": drawn, "secret": secret, "uri": uri}


def _read_phone(body: Fields) -> str:
    if not body.text("phone"):
        raise ValidationFailed("Phone number required to enroll Phone factor")
    return parse_phone(body.text("phone"))


async def _insert(ctx: Context, values: Mapping[str, Any]) -> Factor:
    phone = values.get("phone")
    try:
        async with ctx.transaction("enroll a factor") as tx:
            if phone:
                _refuse_verified_phone(await rows.list_factors(tx, ctx.user.id), phone)
                await rows.delete_unverified_phone(tx, ctx.user.id, phone)
            await factors.check_enrollment(ctx, tx, values["friendly_name"])
            full = {"user_id": ctx.user.id, "now": ctx.now, **values}
            factor = await rows.insert_factor(tx, full)
            await audit.record(
                ctx,
                tx,
                "factor_in_progress",
                ctx.user,
                {"factor_id": factor.id, "factor_type": factor.factor_type},
            )
            return factor
    except UniqueViolation:
        # Enrolled twice at the same moment.
        raise factors.factor_name_conflict(values["friendly_name"]) from None


def _refuse_verified_phone(existing: list[Factor], phone: str) -> None:
    if any(f.factor_type == "phone" and f.is_verified and f.phone == phone for f in existing):
        raise AuthFailure(
            "A verified phone factor already exists, unenroll the existing factor to continue",
            code="mfa_verified_factor_exists",
            status=422,
        )


async def challenge_factor(ctx: Context) -> Response:
    """POST /factors/{factor_id}/challenge"""
    body = await ctx.fields()
    async with ctx.transaction("challenge a factor") as tx:
        factor = await factors.find_own_factor(ctx, tx)
        check_enabled(ctx, factor.factor_type, "verify")
        shown: dict[str, Any] = {}
        if factor.factor_type == "phone":
            challenge = await _challenge_phone(ctx, tx, factor, body)
        elif factor.factor_type == "webauthn":
            challenge, shown = await _challenge_webauthn(ctx, tx, factor)
        else:
            challenge = await rows.insert_challenge(
                tx, factor.id, ip=factors.challenge_address(ctx), now=ctx.now
            )
        await audit.record(
            ctx,
            tx,
            "challenge_created",
            ctx.user,
            {"factor_id": factor.id, "factor_status": factor.status},
        )
    expires_at = factors.challenge_expires_at(ctx, challenge)
    return json_response(
        {
            "id": challenge.id,
            "type": factor.factor_type,
            "expires_at": int(expires_at.timestamp()),
            **shown,
        }
    )


async def _challenge_phone(
    ctx: Context, tx: Transaction, factor: Factor, body: Fields
) -> FactorChallenge:
    channel = parse_channel(body.text("channel"), ctx.settings.sms_provider)
    check_sms_gap(ctx, factor.last_challenged_at, ctx.settings.mfa_phone_max_frequency)
    test_code = find_test_code(ctx.settings, factor.phone, ctx.now)
    code = test_code or make_code(ctx.settings.mfa_phone_otp_length)
    challenge = await rows.insert_challenge(
        tx,
        factor.id,
        ip=factors.challenge_address(ctx),
        now=ctx.now,
        otp_code=hash_code(factor.phone, code),
    )
    if test_code is None:
        await ctx.core.limiter.check_sms(ctx)
        await ctx.core.sms.send_code(
            ctx,
            ctx.user,
            factor.phone,
            code,
            channel,
            tx=tx,
            template=ctx.settings.mfa_phone_template,
            sms_type="mfa",
        )
    return challenge


async def _challenge_webauthn(
    ctx: Context, tx: Transaction, factor: Factor
) -> tuple[FactorChallenge, dict[str, Any]]:
    party, nonce = factors.relying_party(ctx), secrets.token_bytes(passkeys.CHALLENGE_BYTES)
    registered = [
        credential
        for other in await rows.list_factors(tx, ctx.user.id)
        if other.web_authn_credential is not None
        and (credential := passkeys.read_credential(other.web_authn_credential)) is not None
    ]
    if factor.is_verified:
        kind, options = "request", passkeys.render_request_options(party, nonce, registered)
    else:
        kind = "create"
        options = passkeys.render_registration_options(
            party, describe_person(ctx.user), nonce, registered, discoverable=False
        )
    challenge = await rows.insert_challenge(
        tx,
        factor.id,
        ip=factors.challenge_address(ctx),
        now=ctx.now,
        session_data=passkeys.render_session_data(nonce, party, ctx.user.id, ctx.now),
    )
    return challenge, {"webauthn": {"type": kind, "credential_options": {"publicKey": options}}}


def describe_person(user: User) -> passkeys.Person:
    """The user as an authenticator lists the account."""
    name, shown = user.email or user.phone, user.user_metadata.get("name")
    return passkeys.Person(user.id, name, shown if isinstance(shown, str) and shown else name)


async def verify_factor(ctx: Context) -> Response:
    """POST /factors/{factor_id}/verify"""
    body = await ctx.fields()
    failure: AuthFailure | None = None
    grant: Grant | None = None
    async with ctx.transaction("verify a factor") as tx:
        factor = await factors.find_own_factor(ctx, tx, lock=True)
        if factor.factor_type != "webauthn" and not body.text("code"):
            raise ValidationFailed("Code needs to be non-empty")
        check_enabled(ctx, factor.factor_type, "verify")
        await factors.limit_attempts(ctx, factor.id)
        challenge_id = parse_uuid(body.text("challenge_id"), "challenge_id must be an UUID")
        try:
            challenge = await factors.find_open_challenge(ctx, tx, factor, challenge_id)
        except ChallengeExpired as expired:
            await rows.delete_challenge(tx, challenge_id)
            failure = expired
        else:
            fault = await _PROVE[factor.factor_type](ctx, tx, factor, challenge, body)
            failure = await _ask_hook(ctx, tx, factor, valid=fault is None) or fault
            if failure is None:
                grant = await factors.accept_factor(ctx, tx, factor)
    # What was written above stays, also when the attempt failed.
    if failure is not None:
        raise failure
    assert grant is not None
    return session_response(grant)


async def _ask_hook(
    ctx: Context, tx: Transaction, factor: Factor, *, valid: bool
) -> AuthFailure | None:
    """The hook's refusal, which ends all sessions of the user."""
    if not ctx.settings.hooks["mfa_verification_attempt"].enabled:
        return None
    payload = {
        "user_id": ctx.user.id,
        "factor_id": factor.id,
        "factor_type": factor.factor_type,
        "valid": valid,
    }
    answer = await ctx.core.hooks.run(ctx, "mfa_verification_attempt", payload, tx=tx)
    if answer.get("decision") != "reject":
        return None
    await session_rows.delete_sessions(tx, ctx.user.id)
    message = answer.get("message")
    words = message if isinstance(message, str) and message else _REJECTED
    return AuthFailure(words, code="mfa_verification_rejected", status=403)


def _failed(words: str) -> AuthFailure:
    return AuthFailure(words, code="mfa_verification_failed", status=422)


async def _prove_totp(
    ctx: Context, tx: Transaction, factor: Factor, challenge: FactorChallenge, body: Fields
) -> AuthFailure | None:
    last = await rows.find_last_step(tx, factor.id)
    secret = unseal(ctx, factor.secret, factor.id)
    step = totp.find_step(secret, body.text("code"), ctx.now.timestamp(), after=last)
    if step is None:
        return _failed("Invalid TOTP code entered")
    await rows.close_challenge(tx, challenge.id, ctx.now, step=step)
    return None


async def _prove_phone(
    ctx: Context, tx: Transaction, factor: Factor, challenge: FactorChallenge, body: Fields
) -> AuthFailure | None:
    code = body.text("code")
    is_test = find_test_code(ctx.settings, factor.phone, ctx.now) is not None
    provider = None if is_test else ctx.core.sms.find_provider(ctx.settings)
    accepted = None if provider is None else await provider.check(factor.phone, code)
    if accepted is False:
        return OtpExpired()
    if accepted is None:
        given = hash_code(factor.phone, code).encode()
        if not challenge.otp_code or not hmac.compare_digest(given, challenge.otp_code.encode()):
            return _failed("Invalid MFA Phone code entered")
    await rows.close_challenge(tx, challenge.id, ctx.now)
    return None


async def _prove_webauthn(
    ctx: Context, tx: Transaction, factor: Factor, challenge: FactorChallenge, body: Fields
) -> AuthFailure | None:
    if not body.has("webauthn"):
        raise ValidationFailed("WebAuthn config required")
    answered = body.inner("webauthn")
    kind, answer = answered.text("type"), answered.mapping("credential_response")
    if kind not in ("create", "request"):
        raise ValidationFailed("WebAuthn type must be create or request")
    if not answer:
        raise ValidationFailed("credential_response required")
    nonce = passkeys.read_challenge(challenge.session_data)
    # Whatever comes of it, a challenge is answered once.
    await rows.delete_challenge(tx, challenge.id)
    # What is registered decides: a verified factor never takes a new key.
    if nonce is None or (kind == "request") != factor.is_verified:
        return _failed("Invalid credential response")
    party = factors.relying_party(ctx)
    try:
        if factor.is_verified:
            await _check_assertion(tx, party, factor, answer, nonce)
        else:
            credential = passkeys.verify_registration(party, answer, nonce)
            await rows.set_credential(
                tx, factor.id, passkeys.render_credential(credential), credential.aaguid
            )
    except passkeys.CeremonyInvalid as error:
        failure = _failed("Invalid credential response")
        failure.internal = str(error)
        return failure
    await rows.set_last_challenge(
        tx,
        factor.id,
        {"challenge": challenge.session_data, "type": kind, "credential_response": answer},
    )
    return None


async def _check_assertion(
    tx: Transaction,
    party: passkeys.RelyingParty,
    factor: Factor,
    answer: Mapping[str, Any],
    nonce: bytes,
) -> None:
    stored = factor.web_authn_credential or {}
    credential = passkeys.read_credential(stored)
    if credential is None:
        raise passkeys.CeremonyInvalid("the factor has no credential")
    count = passkeys.verify_assertion(party, answer, nonce, credential)
    authenticator = {**(stored.get("authenticator") or {}), "signCount": count}
    await rows.set_credential(tx, factor.id, {**stored, "authenticator": authenticator}, None)


_PROVE = {"totp": _prove_totp, "phone": _prove_phone, "webauthn": _prove_webauthn}


async def unenroll_factor(ctx: Context) -> Response:
    """DELETE /factors/{factor_id}"""
    async with ctx.transaction("remove a factor") as tx:
        factor = await factors.find_own_factor(ctx, tx, lock=True)
        if factor.is_verified and ctx.session.aal != "aal2":
            raise InsufficientAal("AAL2 required to unenroll verified factor", status=422)
        await rows.delete_factor(tx, factor.id)
        await rows.delete_methods(tx, ctx.user.id, [factors.METHODS[factor.factor_type]])
        await audit.record(
            ctx,
            tx,
            "factor_unenrolled",
            ctx.user,
            {
                "factor_id": factor.id,
                "factor_status": factor.status,
                "session_id": ctx.session.id,
            },
        )
        await ctx.core.mailer.notify(
            ctx, tx, "mfa_factor_unenrolled", ctx.user, FactorType=factor.factor_type
        )
    return json_response({"id": factor.id})
