"""Rows of the OAuth server: clients, authorizations, consents."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, LiteralString

import orjson

from selfbase.auth.types_more import OAuthAuthorization, OAuthClient
from selfbase.database.database import Transaction


async def insert_client(tx: Transaction, values: Mapping[str, Any]) -> OAuthClient:
    """`values`: the columns but id and times; redirect_uris and grant_types are comma-joined."""
    text = await tx.fetch_value(
        """insert into auth.oauth_clients (id, client_secret_hash, registration_type, redirect_uris,
             grant_types, client_name, client_uri, logo_uri, client_type,
             token_endpoint_auth_method, created_at, updated_at)
           values (gen_random_uuid(), %(secret_hash)s,
             %(registration_type)s::auth.oauth_registration_type, %(redirect_uris)s,
             %(grant_types)s, %(client_name)s, %(client_uri)s, %(logo_uri)s,
             %(client_type)s::auth.oauth_client_type, %(token_endpoint_auth_method)s, now(), now())
           returning to_jsonb(oauth_clients)::text""",
        values,
    )
    return OAuthClient.from_document(orjson.loads(text))


async def find_client(tx: Transaction, client_id: str) -> OAuthClient | None:
    """A client that has not been deleted."""
    text = await tx.fetch_value(
        """select to_jsonb(c)::text from auth.oauth_clients c
           where c.id = %(id)s and c.deleted_at is null""",
        {"id": client_id},
    )
    return None if text is None else OAuthClient.from_document(orjson.loads(text))


async def list_clients(
    tx: Transaction, *, limit: int, offset: int
) -> tuple[list[OAuthClient], int]:
    """A page of clients, newest first, and how many there are."""
    total = await tx.fetch_value("select count(*) from auth.oauth_clients where deleted_at is null")
    rows = await tx.fetch_all(
        """select to_jsonb(c)::text as doc from auth.oauth_clients c where c.deleted_at is null
           order by c.created_at desc, c.id limit %(limit)s offset %(offset)s""",
        {"limit": limit, "offset": offset},
    )
    return [OAuthClient.from_document(orjson.loads(row["doc"])) for row in rows], int(total)


_COLUMNS: Mapping[str, LiteralString] = {
    "secret_hash": "client_secret_hash = %(secret_hash)s",
    "redirect_uris": "redirect_uris = %(redirect_uris)s",
    "grant_types": "grant_types = %(grant_types)s",
    "client_name": "client_name = %(client_name)s",
    "client_uri": "client_uri = %(client_uri)s",
    "logo_uri": "logo_uri = %(logo_uri)s",
    "token_endpoint_auth_method": "token_endpoint_auth_method = %(token_endpoint_auth_method)s",
}


async def update_client(tx: Transaction, client_id: str, values: Mapping[str, Any]) -> OAuthClient:
    parts: LiteralString = ", ".join([_COLUMNS[name] for name in values])
    text = await tx.fetch_value(
        "update auth.oauth_clients set " + parts + ", updated_at = now() where id = %(id)s"
        " returning to_jsonb(oauth_clients)::text",
        {**values, "id": client_id},
    )
    return OAuthClient.from_document(orjson.loads(text))


async def delete_client(tx: Transaction, client_id: str) -> None:
    """Keeps the row for the record; ends the client's sessions and requests."""
    await tx.execute(
        """update auth.oauth_clients set deleted_at = now(), updated_at = now()
           where id = %(id)s""",
        {"id": client_id},
    )
    await tx.execute("delete from auth.sessions where oauth_client_id = %(id)s", {"id": client_id})
    await tx.execute(
        "delete from auth.oauth_authorizations where client_id = %(id)s", {"id": client_id}
    )


async def insert_authorization(tx: Transaction, values: Mapping[str, Any]) -> None:
    """A pending request; empty texts are stored as NULL."""
    await tx.execute(
        """insert into auth.oauth_authorizations (id, authorization_id, client_id, redirect_uri,
             scope, state, resource, nonce, code_challenge, code_challenge_method, response_type,
             status, created_at, expires_at)
           values (gen_random_uuid(), %(authorization_id)s, %(client_id)s, %(redirect_uri)s,
             %(scope)s, nullif(%(state)s, ''), nullif(%(resource)s, ''), nullif(%(nonce)s, ''),
             %(code_challenge)s, %(code_challenge_method)s::auth.code_challenge_method,
             'code', 'pending', %(now)s, %(expires_at)s)""",
        values,
    )


async def find_authorization(tx: Transaction, authorization_id: str) -> OAuthAuthorization | None:
    """The request, locked: it is claimed and decided once."""
    return await _authorization(tx, "a.authorization_id = %(value)s", authorization_id)


async def find_authorization_by_code(tx: Transaction, code: str) -> OAuthAuthorization | None:
    """The request of a code, locked: a code is exchanged once."""
    return await _authorization(tx, "a.authorization_code = %(value)s", code)


async def _authorization(
    tx: Transaction, where: LiteralString, value: str
) -> OAuthAuthorization | None:
    text = await tx.fetch_value(
        "select to_jsonb(a)::text from auth.oauth_authorizations a where " + where + " for update",
        {"value": value},
    )
    return None if text is None else OAuthAuthorization.from_document(orjson.loads(text))


async def claim_authorization(tx: Transaction, authorization_id: str, user_id: str) -> None:
    await tx.execute(
        """update auth.oauth_authorizations set user_id = %(user_id)s
           where authorization_id = %(id)s""",
        {"id": authorization_id, "user_id": user_id},
    )


async def decide_authorization(
    tx: Transaction, authorization_id: str, status: str, *, code: str | None = None
) -> None:
    """Approved (with its code), denied or expired."""
    await tx.execute(
        """update auth.oauth_authorizations set
             status = %(status)s::auth.oauth_authorization_status,
             authorization_code = coalesce(%(code)s, authorization_code),
             approved_at = case when %(status)s = 'approved' then now() else approved_at end
           where authorization_id = %(id)s""",
        {"id": authorization_id, "status": status, "code": code},
    )


async def delete_authorization(tx: Transaction, authorization_id: str) -> None:
    await tx.execute(
        "delete from auth.oauth_authorizations where authorization_id = %(id)s",
        {"id": authorization_id},
    )


async def find_consent(tx: Transaction, user_id: str, client_id: str) -> str | None:
    """The scopes the user has granted the client, space-joined; None without a grant."""
    value = await tx.fetch_value(
        """select scopes from auth.oauth_consents
           where user_id = %(user_id)s and client_id = %(client_id)s and revoked_at is null""",
        {"user_id": user_id, "client_id": client_id},
    )
    return value if isinstance(value, str) else None


async def put_consent(tx: Transaction, user_id: str, client_id: str, scopes: str) -> None:
    await tx.execute(
        """insert into auth.oauth_consents (id, user_id, client_id, scopes, granted_at)
           values (gen_random_uuid(), %(user_id)s, %(client_id)s, %(scopes)s, now())
           on conflict (user_id, client_id) do update
             set scopes = excluded.scopes, granted_at = excluded.granted_at, revoked_at = null""",
        {"user_id": user_id, "client_id": client_id, "scopes": scopes},
    )


async def list_consents(tx: Transaction, user_id: str) -> list[tuple[OAuthClient, str, datetime]]:
    """The user's grants to clients that still exist, newest first."""
    rows = await tx.fetch_all(
        """select to_jsonb(c)::text as doc, o.scopes, o.granted_at
           from auth.oauth_consents o join auth.oauth_clients c on c.id = o.client_id
           where o.user_id = %(user_id)s and o.revoked_at is null and c.deleted_at is null
           order by o.granted_at desc""",
        {"user_id": user_id},
    )
    return [
        (OAuthClient.from_document(orjson.loads(row["doc"])), row["scopes"], row["granted_at"])
        for row in rows
    ]


async def revoke_consent(tx: Transaction, user_id: str, client_id: str) -> bool:
    """Ends the grant and the client's sessions of the user; whether there was a grant."""
    count = await tx.execute(
        """update auth.oauth_consents set revoked_at = now()
           where user_id = %(user_id)s and client_id = %(client_id)s and revoked_at is null""",
        {"user_id": user_id, "client_id": client_id},
    )
    if count:
        await tx.execute(
            """delete from auth.sessions
               where user_id = %(user_id)s and oauth_client_id = %(client_id)s""",
            {"user_id": user_id, "client_id": client_id},
        )
        await tx.execute(
            """delete from auth.oauth_authorizations
               where user_id = %(user_id)s and client_id = %(client_id)s""",
            {"user_id": user_id, "client_id": client_id},
        )
    return bool(count)
