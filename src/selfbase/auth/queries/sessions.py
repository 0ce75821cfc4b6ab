"""Rows of sessions, refresh tokens and authentication methods."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, LiteralString

import orjson

from selfbase.auth.types import RefreshToken, Session
from selfbase.database.database import Transaction

SESSION_DOCUMENT: LiteralString = """to_jsonb(s) || jsonb_build_object('amr', coalesce(
  (select jsonb_agg(to_jsonb(c)) from auth.mfa_amr_claims c where c.session_id = s.id), '[]'))"""


async def find_session(tx: Transaction, session_id: str, *, lock: bool = False) -> Session | None:
    """The session with its methods; with `lock` a row locked by others counts as absent."""
    select: LiteralString = "select (" + SESSION_DOCUMENT + ")::text from auth.sessions s"
    where: LiteralString = " where s.id = %(id)s"
    skip: LiteralString = " for update of s skip locked" if lock else ""
    text = await tx.fetch_value(select + where + skip, {"id": session_id})
    return None if text is None else Session.from_document(orjson.loads(text))


async def insert_session(tx: Transaction, values: dict[str, Any]) -> Session:
    """A session, its first method, its first refresh token (version 1) and the user's sign-in time,
    in one statement.  `refresh_token` None makes none."""
    text = await tx.fetch_value(
        """with session as (
             insert into auth.sessions (id, user_id, created_at, updated_at, factor_id, aal,
               not_after, user_agent, ip, tag, oauth_client_id, scopes, refresh_token_hmac_key,
               refresh_token_counter)
             values (%(id)s, %(user_id)s, %(now)s, %(now)s, %(factor_id)s, %(aal)s, %(not_after)s,
               nullif(%(user_agent)s::text, ''), %(ip)s, %(tag)s, %(oauth_client_id)s,
               nullif(%(scopes)s::text, ''), %(hmac_key)s, %(counter)s)
             returning *),
           method as (
             insert into auth.mfa_amr_claims
               (id, session_id, created_at, updated_at, authentication_method)
             select gen_random_uuid(), id, %(now)s, %(now)s, %(method)s::text from session
             where %(method)s::text is not null
             returning *),
           token as (
             insert into auth.refresh_tokens
               (instance_id, token, user_id, revoked, created_at, updated_at, session_id)
             select '00000000-0000-0000-0000-000000000000', %(refresh_token)s::text, user_id, false,
               %(now)s, %(now)s, id from session where %(refresh_token)s::text is not null),
           signed_in as (
             update auth.users set last_sign_in_at = %(now)s, updated_at = %(now)s
             where id = %(user_id)s)
           select (to_jsonb(session) || jsonb_build_object('amr',
             coalesce((select jsonb_agg(to_jsonb(method)) from method), '[]')))::text
           from session""",
        values,
    )
    return Session.from_document(orjson.loads(text))


async def add_method(tx: Transaction, session_id: str, method: str, now: datetime) -> None:
    """Records how the session was proven; the same method again renews its time."""
    await tx.execute(
        """insert into auth.mfa_amr_claims
             (id, session_id, created_at, updated_at, authentication_method)
           values (gen_random_uuid(), %(session_id)s, %(now)s, %(now)s, %(method)s)
           on conflict (session_id, authentication_method) do update set updated_at = %(now)s""",
        {"session_id": session_id, "method": method, "now": now},
    )


async def set_assurance(tx: Transaction, session_id: str, aal: str, factor_id: str | None) -> None:
    """The session's assurance level and the factor that gave it."""
    await tx.execute(
        """update auth.sessions set aal = %(aal)s, factor_id = %(factor_id)s, updated_at = now()
           where id = %(id)s""",
        {"id": session_id, "aal": aal, "factor_id": factor_id},
    )


async def find_refresh_token(tx: Transaction, token: str) -> RefreshToken | None:
    """The row of a version 1 token, unlocked."""
    text = await tx.fetch_value(
        "select to_jsonb(t)::text from auth.refresh_tokens t where t.token = %(token)s",
        {"token": token},
    )
    return None if text is None else RefreshToken.from_document(orjson.loads(text))


async def lock_refresh_token(tx: Transaction, token: str) -> RefreshToken | None:
    """The row of a version 1 token, locked; None when it is unknown or locked by another."""
    text = await tx.fetch_value(
        """select to_jsonb(t)::text from auth.refresh_tokens t
           where t.token = %(token)s for update skip locked""",
        {"token": token},
    )
    return None if text is None else RefreshToken.from_document(orjson.loads(text))


async def find_active_refresh_token(tx: Transaction, session_id: str) -> RefreshToken | None:
    """The newest token of a session that has not been used."""
    text = await tx.fetch_value(
        """select to_jsonb(t)::text from auth.refresh_tokens t
           where t.session_id = %(id)s and t.revoked is not true order by t.id desc limit 1""",
        {"id": session_id},
    )
    return None if text is None else RefreshToken.from_document(orjson.loads(text))


async def rotate_refresh_token(
    tx: Transaction, *, old: RefreshToken, new: str, session_id: str, now: datetime,
    user_agent: str, ip: str | None,
) -> None:  # fmt: skip
    """Marks the old token used, adds its child, and notes the refresh, in one statement."""
    await tx.execute(
        """with used as (
             update auth.refresh_tokens set revoked = true, updated_at = %(now)s
             where id = %(id)s and revoked is not true),
           touched as (
             update auth.sessions set refreshed_at = %(now)s::timestamptz at time zone 'utc',
               updated_at = %(now)s, user_agent = coalesce(nullif(%(user_agent)s::text, ''), user_agent),
               ip = coalesce(%(ip)s::inet, ip) where id = %(session_id)s)
           insert into auth.refresh_tokens
             (instance_id, token, user_id, revoked, created_at, updated_at, parent, session_id)
           values ('00000000-0000-0000-0000-000000000000', %(new)s, %(user_id)s, false, %(now)s,
             %(now)s, %(parent)s, %(session_id)s)""",
        {
            "id": old.id, "new": new, "parent": old.token, "user_id": old.user_id,
            "session_id": session_id, "now": now, "user_agent": user_agent, "ip": ip,
        },
    )  # fmt: skip


async def insert_refresh_token(
    tx: Transaction, *, token: str, user_id: str, session_id: str, parent: str | None,
    now: datetime,
) -> None:  # fmt: skip
    await tx.execute(
        """insert into auth.refresh_tokens
             (instance_id, token, user_id, revoked, created_at, updated_at, parent, session_id)
           values ('00000000-0000-0000-0000-000000000000', %(token)s, %(user_id)s, false, %(now)s,
             %(now)s, %(parent)s, %(session_id)s)""",
        {
            "token": token, "user_id": user_id, "session_id": session_id, "parent": parent,
            "now": now,
        },
    )  # fmt: skip


async def touch_session(
    tx: Transaction, session_id: str, *, now: datetime, user_agent: str, ip: str | None,
    counter: int | None = None,
) -> None:  # fmt: skip
    """Notes a refresh, and the new counter of a version 2 session."""
    await tx.execute(
        """update auth.sessions set refreshed_at = %(now)s::timestamptz at time zone 'utc', updated_at = %(now)s,
             user_agent = coalesce(nullif(%(user_agent)s::text, ''), user_agent),
             ip = coalesce(%(ip)s::inet, ip),
             refresh_token_counter = coalesce(%(counter)s::bigint, refresh_token_counter)
           where id = %(id)s""",
        {"id": session_id, "now": now, "user_agent": user_agent, "ip": ip, "counter": counter},
    )


async def set_signed_tokens(tx: Transaction, session_id: str, hmac_key: str, counter: int) -> None:
    """Moves a session to version 2 refresh tokens."""
    await tx.execute(
        """update auth.sessions set refresh_token_hmac_key = %(key)s,
             refresh_token_counter = %(counter)s where id = %(id)s""",
        {"id": session_id, "key": hmac_key, "counter": counter},
    )


async def revoke_family(tx: Transaction, session_id: str) -> None:
    """Marks every refresh token of a session used."""
    await tx.execute(
        """update auth.refresh_tokens set revoked = true, updated_at = now()
           where session_id = %(id)s and revoked is not true""",
        {"id": session_id},
    )


async def delete_session(tx: Transaction, session_id: str) -> None:
    await tx.execute("delete from auth.sessions where id = %(id)s", {"id": session_id})


async def delete_sessions(tx: Transaction, user_id: str, *, keep: str | None = None) -> None:
    """Ends every session of a user, except `keep`."""
    await tx.execute(
        """delete from auth.sessions where user_id = %(user_id)s
           and (%(keep)s::uuid is null or id <> %(keep)s::uuid)""",
        {"user_id": user_id, "keep": keep},
    )


async def delete_low_sessions(tx: Transaction, user_id: str) -> None:
    """Ends the user's sessions below aal2."""
    await tx.execute(
        "delete from auth.sessions where user_id = %(user_id)s and coalesce(aal, 'aal1') = 'aal1'",
        {"user_id": user_id},
    )


async def find_newest_session_start(
    tx: Transaction, user_id: str, tag: str | None, tags: Sequence[str]
) -> datetime | None:
    """When the user's newest session of a tag group began.

    `tags` are the groups; a session whose tag is none of them belongs to the first.
    """
    first = tags[0] if tags else ""
    found: datetime | None = await tx.fetch_value(
        """select max(created_at) from auth.sessions where user_id = %(user_id)s
           and case when tag = any(%(tags)s::text[]) then tag else %(first)s end = %(group)s""",
        {
            "user_id": user_id, "tags": list(tags), "first": first,
            "group": tag if tag in tags else first,
        },
    )  # fmt: skip
    return found
