"""Rows of one-time tokens, and the count of wrong guesses against a user's codes."""

from __future__ import annotations

from typing import LiteralString

import orjson

from selfbase.auth.queries.users import USER_DOCUMENT
from selfbase.auth.types import User
from selfbase.database.database import Transaction


async def put_token(
    tx: Transaction, user_id: str, token_type: str, token_hash: str, relates_to: str
) -> None:
    """Stores a token in place of the user's earlier one of that type."""
    await tx.execute(
        """insert into auth.one_time_tokens (id, user_id, token_type, token_hash, relates_to)
           values (gen_random_uuid(), %(user_id)s, %(type)s, %(hash)s, lower(%(relates_to)s::text))
           on conflict (user_id, token_type) do update set id = excluded.id,
             token_hash = excluded.token_hash, relates_to = excluded.relates_to,
             created_at = now() at time zone 'utc', updated_at = now() at time zone 'utc'""",
        {"user_id": user_id, "type": token_type, "hash": token_hash, "relates_to": relates_to},
    )
    await reset_attempts(tx, user_id)


async def delete_token(tx: Transaction, user_id: str, token_type: str) -> None:
    await tx.execute(
        "delete from auth.one_time_tokens where user_id = %(id)s and token_type = %(type)s",
        {"id": user_id, "type": token_type},
    )


async def clear_tokens(tx: Transaction, user_id: str) -> None:
    """Removes every pending token of a user, from the table and from the user's row."""
    await tx.execute(
        """with gone as (delete from auth.one_time_tokens where user_id = %(id)s)
           update auth.users set confirmation_token = '', recovery_token = '',
             email_change_token_new = '', email_change_token_current = '',
             phone_change_token = '', reauthentication_token = '' where id = %(id)s""",
        {"id": user_id},
    )
    await reset_attempts(tx, user_id)


async def find_user_by_token(
    tx: Transaction, token_hash: str, token_types: tuple[str, ...]
) -> tuple[User, str] | None:
    """The user a token hash belongs to, locked, and the token's type.  Both spellings of the hash
    are looked for: with and without the PKCE prefix, as it was stored."""
    row = await tx.fetch_one(
        """select user_id::text as user_id, token_type::text as token_type
           from auth.one_time_tokens
           where token_hash = %(hash)s and token_type::text = any(%(types)s) limit 1""",
        {"hash": token_hash, "types": list(token_types)},
    )
    if row is None:
        return None
    await tx.execute(
        "select 1 from auth.users where id = %(id)s for update", {"id": row["user_id"]}
    )
    user = await _user(tx, "u.id = %(id)s", {"id": row["user_id"]})
    # Another transaction may have used the token while we waited for the user's row.
    still = await tx.fetch_value(
        """select 1 from auth.one_time_tokens where user_id = %(id)s
           and token_hash = %(hash)s and token_type::text = %(type)s""",
        {"id": row["user_id"], "hash": token_hash, "type": row["token_type"]},
    )
    return None if user is None or still is None else (user, row["token_type"])


async def find_user_by_phone_change(tx: Transaction, phone: str, aud: str) -> User | None:
    return await _user(
        tx, "u.phone_change = %(phone)s and u.aud = %(aud)s and u.is_sso_user = false limit 1",
        {"phone": phone, "aud": aud},
    )  # fmt: skip


async def find_user_for_email_change(
    tx: Transaction, email: str, hashes: tuple[str, ...], aud: str
) -> User | None:
    """The user who has a change pending that this address may confirm with one of these hashes."""
    return await _user(
        tx,
        """u.aud = %(aud)s and u.is_sso_user = false and (
             (u.email_change_token_new = any(%(hashes)s) and lower(u.email_change) = %(email)s)
             or (u.email_change_token_current = any(%(hashes)s) and lower(u.email) = %(email)s))
           limit 1""",
        {"email": email.lower(), "hashes": list(hashes), "aud": aud},
    )


async def count_attempt(tx: Transaction, user_id: str) -> int:
    """Notes a wrong guess; how many there have been since the last code was made."""
    value = await tx.fetch_value(
        """insert into _selfbase_auth.code_attempts as a (user_id, attempts)
           values (%(id)s, 1)
           on conflict (user_id) do update set attempts = a.attempts + 1, at = now()
           returning attempts""",
        {"id": user_id},
    )
    return int(value)


async def reset_attempts(tx: Transaction, user_id: str) -> None:
    await tx.execute(
        "delete from _selfbase_auth.code_attempts where user_id = %(id)s", {"id": user_id}
    )


async def _user(tx: Transaction, where: LiteralString, params: dict[str, object]) -> User | None:
    text = await tx.fetch_value(
        "select (" + USER_DOCUMENT + ")::text from auth.users u where " + where, params
    )
    return None if text is None else User.from_document(orjson.loads(text))
