"""Rows of second factors and their challenges."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from selfbase.auth.types import Factor
from selfbase.auth.types_more import FactorChallenge
from selfbase.database.database import Transaction


async def insert_factor(tx: Transaction, values: Mapping[str, Any]) -> Factor:
    """An unverified factor.  `values`: id, user_id, factor_type, friendly_name, secret, phone, now.

    Raises UniqueViolation for a name or phone the user has already.
    """
    text = await tx.fetch_value(
        """insert into auth.mfa_factors (id, user_id, friendly_name, factor_type, status, created_at,
             updated_at, secret, phone)
           values (%(id)s, %(user_id)s, %(friendly_name)s, %(factor_type)s::auth.factor_type,
             'unverified', %(now)s, %(now)s, %(secret)s, %(phone)s)
           returning to_jsonb(mfa_factors)::text""",
        {"secret": None, "phone": None, **values},
    )
    return Factor.from_document(orjson.loads(text))


async def find_factor(
    tx: Transaction, user_id: str, factor_id: str, *, lock: bool = False
) -> Factor | None:
    """A factor of a user; `lock` lets one attempt after another judge it."""
    if lock:
        await tx.execute(
            "select 1 from auth.mfa_factors where id = %(id)s for update", {"id": factor_id}
        )
    text = await tx.fetch_value(
        """select to_jsonb(f)::text from auth.mfa_factors f
           where f.id = %(id)s and f.user_id = %(user_id)s""",
        {"id": factor_id, "user_id": user_id},
    )
    return None if text is None else Factor.from_document(orjson.loads(text))


async def list_factors(tx: Transaction, user_id: str) -> list[Factor]:
    rows = await tx.fetch_all(
        """select to_jsonb(f)::text as doc from auth.mfa_factors f
           where f.user_id = %(user_id)s order by f.created_at, f.id""",
        {"user_id": user_id},
    )
    return [Factor.from_document(orjson.loads(row["doc"])) for row in rows]


async def delete_expired_factors(tx: Transaction, user_id: str, before: datetime) -> None:
    """Removes the user's factors that were never verified in time."""
    await tx.execute(
        """delete from auth.mfa_factors where user_id = %(user_id)s and status = 'unverified'
           and created_at < %(before)s
           and not exists (select 1 from auth.mfa_challenges c where c.factor_id = mfa_factors.id
             and c.created_at >= %(before)s)""",
        {"user_id": user_id, "before": before},
    )


async def delete_unverified_phone(tx: Transaction, user_id: str, phone: str) -> None:
    await tx.execute(
        """delete from auth.mfa_factors where user_id = %(user_id)s and factor_type = 'phone'
           and status = 'unverified' and phone = %(phone)s""",
        {"user_id": user_id, "phone": phone},
    )


async def delete_unverified(tx: Transaction, user_id: str, factor_type: str) -> None:
    await tx.execute(
        """delete from auth.mfa_factors where user_id = %(user_id)s
           and factor_type = %(factor_type)s::auth.factor_type and status = 'unverified'""",
        {"user_id": user_id, "factor_type": factor_type},
    )


async def delete_factor(tx: Transaction, factor_id: str) -> None:
    """Removes the factor; sessions it raised drop to aal1 and lose its method at their refresh."""
    await tx.execute(
        """update auth.sessions set aal = 'aal1', factor_id = null, updated_at = now()
           where factor_id = %(id)s""",
        {"id": factor_id},
    )
    await tx.execute("delete from auth.mfa_factors where id = %(id)s", {"id": factor_id})


async def delete_methods(tx: Transaction, user_id: str, methods: list[str]) -> None:
    """Takes methods from the user's sessions that no factor backs any more."""
    await tx.execute(
        """delete from auth.mfa_amr_claims c using auth.sessions s
           where c.session_id = s.id and s.user_id = %(user_id)s and s.factor_id is null
             and c.authentication_method = any(%(methods)s)""",
        {"user_id": user_id, "methods": methods},
    )


async def update_factor(tx: Transaction, factor_id: str, values: Mapping[str, Any]) -> Factor:
    """Sets friendly_name or phone where given.  Raises UniqueViolation."""
    text = await tx.fetch_value(
        """update auth.mfa_factors set updated_at = now(),
             friendly_name = coalesce(%(friendly_name)s, friendly_name),
             phone = coalesce(%(phone)s, phone)
           where id = %(id)s returning to_jsonb(mfa_factors)::text""",
        {"friendly_name": None, "phone": None, **values, "id": factor_id},
    )
    return Factor.from_document(orjson.loads(text))


async def set_verified(tx: Transaction, factor_id: str) -> None:
    await tx.execute(
        """update auth.mfa_factors set status = 'verified', updated_at = now()
           where id = %(id)s""",
        {"id": factor_id},
    )


async def set_credential(
    tx: Transaction, factor_id: str, credential: Mapping[str, Any], aaguid: str | None
) -> None:
    """Stores the public key of a WebAuthn factor, or its new signature count."""
    await tx.execute(
        """update auth.mfa_factors set web_authn_credential = %(credential)s,
             web_authn_aaguid = coalesce(%(aaguid)s::uuid, web_authn_aaguid), updated_at = now()
           where id = %(id)s""",
        {"id": factor_id, "credential": _json(credential), "aaguid": aaguid},
    )


async def set_last_challenge(tx: Transaction, factor_id: str, data: Mapping[str, Any]) -> None:
    await tx.execute(
        """update auth.mfa_factors set last_webauthn_challenge_data = %(data)s, updated_at = now()
           where id = %(id)s""",
        {"id": factor_id, "data": _json(data)},
    )


async def insert_challenge(
    tx: Transaction,
    factor_id: str,
    *,
    ip: str,
    now: datetime,
    otp_code: str | None = None,
    session_data: Mapping[str, Any] | None = None,
) -> FactorChallenge:
    """A new challenge; the factor remembers when it was last challenged."""
    text = await tx.fetch_value(
        """with touched as (update auth.mfa_factors set last_challenged_at = clock_timestamp()
             where id = %(factor_id)s)
           insert into auth.mfa_challenges
             (id, factor_id, created_at, ip_address, otp_code, web_authn_session_data)
           values (gen_random_uuid(), %(factor_id)s, %(now)s, %(ip)s, %(otp_code)s, %(data)s)
           returning to_jsonb(mfa_challenges)::text""",
        {
            "factor_id": factor_id,
            "now": now,
            "ip": ip,
            "otp_code": otp_code,
            "data": None if session_data is None else _json(session_data),
        },
    )
    return FactorChallenge.from_document(orjson.loads(text))


async def find_challenge(
    tx: Transaction, factor_id: str, challenge_id: str
) -> FactorChallenge | None:
    """A challenge of the factor, locked, so that it is answered once."""
    text = await tx.fetch_value(
        """select to_jsonb(c)::text from auth.mfa_challenges c
           where c.id = %(id)s and c.factor_id = %(factor_id)s for update""",
        {"id": challenge_id, "factor_id": factor_id},
    )
    return None if text is None else FactorChallenge.from_document(orjson.loads(text))


async def delete_challenge(tx: Transaction, challenge_id: str) -> None:
    await tx.execute("delete from auth.mfa_challenges where id = %(id)s", {"id": challenge_id})


async def close_challenge(
    tx: Transaction, challenge_id: str, now: datetime, *, step: int | None = None
) -> None:
    """Marks a challenge answered; `step` is the time step of the code that answered it."""
    await tx.execute(
        """update auth.mfa_challenges set verified_at = %(now)s,
             otp_code = coalesce(%(step)s, otp_code) where id = %(id)s""",
        {"id": challenge_id, "now": now, "step": None if step is None else f"step:{step}"},
    )


async def find_last_step(tx: Transaction, factor_id: str) -> int | None:
    """The latest time step whose code the factor has accepted."""
    value = await tx.fetch_value(
        """select max(substr(otp_code, 6)::bigint) from auth.mfa_challenges
           where factor_id = %(id)s and verified_at is not null and otp_code like 'step:%%'""",
        {"id": factor_id},
    )
    return value if isinstance(value, int) else None


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
