"""Rows of passkeys and the ceremonies under way."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from selfbase.auth.logic.passkeys import Credential
from selfbase.auth.types import read_moment
from selfbase.auth.types_more import Passkey
from selfbase.database.database import Transaction


async def list_passkeys(tx: Transaction, user_id: str) -> list[Passkey]:
    """Oldest first."""
    rows = await tx.fetch_all(
        """select to_jsonb(c)::text as doc from auth.webauthn_credentials c
           where c.user_id = %(user_id)s order by c.created_at, c.id""",
        {"user_id": user_id},
    )
    return [Passkey.from_document(orjson.loads(row["doc"])) for row in rows]


async def find_passkey(tx: Transaction, user_id: str, passkey_id: str) -> Passkey | None:
    text = await tx.fetch_value(
        """select to_jsonb(c)::text from auth.webauthn_credentials c
           where c.id = %(id)s and c.user_id = %(user_id)s""",
        {"id": passkey_id, "user_id": user_id},
    )
    return None if text is None else Passkey.from_document(orjson.loads(text))


async def find_passkey_by_credential(tx: Transaction, credential_id: bytes) -> Passkey | None:
    """The passkey of a credential, locked, so that its signature count only grows."""
    text = await tx.fetch_value(
        """select to_jsonb(c)::text from auth.webauthn_credentials c
           where c.credential_id = %(credential_id)s for update""",
        {"credential_id": credential_id},
    )
    return None if text is None else Passkey.from_document(orjson.loads(text))


async def insert_passkey(
    tx: Transaction, user_id: str, credential: Credential, name: str, now: datetime
) -> Passkey:
    """Raises UniqueViolation when the credential is registered already."""
    text = await tx.fetch_value(
        """insert into auth.webauthn_credentials (id, user_id, credential_id, public_key,
             attestation_type, aaguid, sign_count, transports, backup_eligible, backed_up,
             friendly_name, created_at, updated_at)
           values (gen_random_uuid(), %(user_id)s, %(credential_id)s, %(public_key)s,
             %(attestation_type)s, %(aaguid)s, %(sign_count)s, %(transports)s, %(eligible)s,
             %(backed_up)s, %(name)s, %(now)s, %(now)s)
           returning to_jsonb(webauthn_credentials)::text""",
        {
            "user_id": user_id,
            "credential_id": credential.id,
            "public_key": credential.public_key,
            "attestation_type": credential.attestation_type,
            "aaguid": credential.aaguid,
            "sign_count": credential.sign_count,
            "transports": orjson.dumps(list(credential.transports)).decode(),
            "eligible": credential.backup_eligible,
            "backed_up": credential.backed_up,
            "name": name,
            "now": now,
        },
    )
    return Passkey.from_document(orjson.loads(text))


async def rename_passkey(tx: Transaction, passkey_id: str, name: str) -> Passkey:
    text = await tx.fetch_value(
        """update auth.webauthn_credentials set friendly_name = %(name)s, updated_at = now()
           where id = %(id)s returning to_jsonb(webauthn_credentials)::text""",
        {"id": passkey_id, "name": name},
    )
    return Passkey.from_document(orjson.loads(text))


async def touch_passkey(tx: Transaction, passkey_id: str, sign_count: int, now: datetime) -> None:
    """Notes a sign-in and the authenticator's new count."""
    await tx.execute(
        """update auth.webauthn_credentials set sign_count = %(count)s, last_used_at = %(now)s,
             updated_at = %(now)s where id = %(id)s""",
        {"id": passkey_id, "count": sign_count, "now": now},
    )


async def delete_passkey(tx: Transaction, passkey_id: str) -> None:
    await tx.execute("delete from auth.webauthn_credentials where id = %(id)s", {"id": passkey_id})


async def insert_ceremony(
    tx: Transaction,
    *,
    kind: str,
    user_id: str | None,
    session_data: Mapping[str, Any],
    expires_at: datetime,
    now: datetime,
) -> str:
    """A ceremony of `registration` or `authentication`; its id."""
    value = await tx.fetch_value(
        """insert into auth.webauthn_challenges
             (id, user_id, challenge_type, session_data, created_at, expires_at)
           values (gen_random_uuid(), %(user_id)s, %(kind)s, %(data)s, %(now)s, %(expires_at)s)
           returning id::text""",
        {
            "user_id": user_id,
            "kind": kind,
            "data": orjson.dumps(dict(session_data)).decode(),
            "now": now,
            "expires_at": expires_at,
        },
    )
    return str(value)


async def consume_ceremony(
    tx: Transaction, ceremony_id: str, kind: str, user_id: str | None
) -> tuple[Mapping[str, Any], datetime] | None:
    """Takes a ceremony away: its data and when it ends.  None when there is none of that kind
    for that user, or it has been taken before."""
    text = await tx.fetch_value(
        """delete from auth.webauthn_challenges where id = %(id)s and challenge_type = %(kind)s
             and user_id is not distinct from %(user_id)s::uuid
           returning to_jsonb(webauthn_challenges)::text""",
        {"id": ceremony_id, "kind": kind, "user_id": user_id},
    )
    if text is None:
        return None
    row = orjson.loads(text)
    expires_at = read_moment(row["expires_at"])
    assert expires_at is not None
    return row["session_data"], expires_at
