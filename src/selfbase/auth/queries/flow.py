"""Rows of `auth.flow_state`: sign-ins that continue in another request."""

from __future__ import annotations

from typing import Any, LiteralString

import orjson

from selfbase.auth.types import FlowState
from selfbase.database.database import Transaction


async def insert_flow(tx: Transaction, values: dict[str, Any]) -> FlowState:
    """A new flow.  `values` holds provider_type, authentication_method and what else is known."""
    text = await tx.fetch_value(
        """insert into auth.flow_state (id, user_id, auth_code, code_challenge_method,
             code_challenge, provider_type, provider_access_token, provider_refresh_token,
             created_at, updated_at, authentication_method, invite_token, referrer,
             oauth_client_state_id, linking_target_id, email_optional)
           values (gen_random_uuid(), %(user_id)s, gen_random_uuid()::text,
             %(code_challenge_method)s, %(code_challenge)s, %(provider_type)s, '', '', now(), now(),
             %(authentication_method)s, %(invite_token)s, %(referrer)s, %(oauth_client_state_id)s,
             %(linking_target_id)s, %(email_optional)s)
           returning to_jsonb(flow_state)::text""",
        {
            "user_id": None, "code_challenge_method": None, "code_challenge": None,
            "invite_token": None, "referrer": None, "oauth_client_state_id": None,
            "linking_target_id": None, "email_optional": False, **values,
        },
    )  # fmt: skip
    return FlowState.from_document(orjson.loads(text))


async def find_flow(tx: Transaction, flow_id: str, *, lock: bool = False) -> FlowState | None:
    lock_part: LiteralString = " for update" if lock else ""
    return await _one(tx, "f.id = %(value)s" + lock_part, flow_id)


async def find_flow_by_code(tx: Transaction, auth_code: str) -> FlowState | None:
    """The flow of a code, locked, so that a code is exchanged once."""
    return await _one(tx, "f.auth_code = %(value)s for update", auth_code)


async def issue_flow_code(tx: Transaction, user_id: str, method: str) -> FlowState | None:
    """Stamps the user's newest flow of a method as having given out its code."""
    text = await tx.fetch_value(
        """update auth.flow_state f set auth_code_issued_at = now(), updated_at = now()
           where f.id = (select id from auth.flow_state where user_id = %(user_id)s
             and authentication_method = %(method)s order by created_at desc limit 1)
           returning to_jsonb(f)::text""",
        {"user_id": user_id, "method": method},
    )
    return None if text is None else FlowState.from_document(orjson.loads(text))


async def complete_flow(
    tx: Transaction, flow_id: str, *, user_id: str, access_token: str, refresh_token: str
) -> None:
    """Notes who signed in at the provider, with the provider's tokens, and stamps the code."""
    await tx.execute(
        """update auth.flow_state set user_id = %(user_id)s, auth_code_issued_at = now(),
             provider_access_token = %(access)s, provider_refresh_token = %(refresh)s,
             updated_at = now() where id = %(id)s""",
        {"id": flow_id, "user_id": user_id, "access": access_token, "refresh": refresh_token},
    )


async def delete_flow(tx: Transaction, flow_id: str) -> None:
    await tx.execute("delete from auth.flow_state where id = %(id)s", {"id": flow_id})


async def _one(tx: Transaction, where: LiteralString, value: str) -> FlowState | None:
    text = await tx.fetch_value(
        "select to_jsonb(f)::text from auth.flow_state f where " + where, {"value": value}
    )
    return None if text is None else FlowState.from_document(orjson.loads(text))
