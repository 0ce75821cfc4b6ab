"""Rows of providers added by hand, and of what our own side of PKCE remembers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, LiteralString

import orjson

from selfbase.auth.types import read_moment
from selfbase.auth.types_more import CustomProvider
from selfbase.database.database import Transaction


async def find_provider(tx: Transaction, identifier: str) -> CustomProvider | None:
    text = await tx.fetch_value(
        """select to_jsonb(p)::text from auth.custom_oauth_providers p
           where p.identifier = %(identifier)s""",
        {"identifier": identifier},
    )
    return None if text is None else CustomProvider.from_document(orjson.loads(text))


async def list_providers(tx: Transaction, kind: str | None) -> list[CustomProvider]:
    """Oldest first; of one type, or all."""
    rows = await tx.fetch_all(
        """select to_jsonb(p)::text as doc from auth.custom_oauth_providers p
           where %(kind)s::text is null or p.provider_type = %(kind)s
           order by p.created_at, p.id""",
        {"kind": kind},
    )
    return [CustomProvider.from_document(orjson.loads(row["doc"])) for row in rows]


async def count_providers(tx: Transaction) -> int:
    """How many there are, with a lock that lets one be added after another."""
    await tx.execute("lock table auth.custom_oauth_providers in share row exclusive mode")
    return int(await tx.fetch_value("select count(*) from auth.custom_oauth_providers"))


# What may be set by name; anything else is a mistake of ours, not of a caller.
_LISTS = frozenset({"acceptable_client_ids", "scopes", "custom_claims_allowlist"})
_OBJECTS = frozenset({"attribute_mapping", "authorization_params", "cached_discovery"})
COLUMNS: Mapping[str, LiteralString] = {
    "id": "id", "provider_type": "provider_type", "identifier": "identifier", "name": "name",
    "client_id": "client_id", "client_secret": "client_secret",
    "acceptable_client_ids": "acceptable_client_ids", "scopes": "scopes",
    "pkce_enabled": "pkce_enabled", "attribute_mapping": "attribute_mapping",
    "authorization_params": "authorization_params", "enabled": "enabled",
    "email_optional": "email_optional", "issuer": "issuer", "discovery_url": "discovery_url",
    "skip_nonce_check": "skip_nonce_check", "cached_discovery": "cached_discovery",
    "discovery_cached_at": "discovery_cached_at", "authorization_url": "authorization_url",
    "token_url": "token_url", "userinfo_url": "userinfo_url", "jwks_uri": "jwks_uri",
    "custom_claims_allowlist": "custom_claims_allowlist",
}  # fmt: skip


def _params(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: orjson.dumps(value).decode()
        if name in _OBJECTS and value is not None
        else list(value)
        if name in _LISTS
        else value
        for name, value in values.items()
    }


async def insert_provider(tx: Transaction, values: Mapping[str, Any]) -> CustomProvider:
    """Raises UniqueViolation when the identifier is taken."""
    names: LiteralString = ", ".join([COLUMNS[name] for name in values])
    holders: LiteralString = ", ".join(["%(" + COLUMNS[name] + ")s" for name in values])
    text = await tx.fetch_value(
        "insert into auth.custom_oauth_providers (created_at, updated_at, " + names + ")"
        " values (now(), now(), " + holders + ")"
        " returning to_jsonb(custom_oauth_providers)::text",
        _params(values),
    )
    return CustomProvider.from_document(orjson.loads(text))


async def update_provider(
    tx: Transaction, provider_id: str, values: Mapping[str, Any]
) -> CustomProvider:
    parts: LiteralString = ", ".join(
        [COLUMNS[name] + " = %(" + COLUMNS[name] + ")s" for name in values]
    )
    comma: LiteralString = ", " if values else ""
    text = await tx.fetch_value(
        "update auth.custom_oauth_providers set " + parts + comma + "updated_at = now()"
        " where id = %(id)s returning to_jsonb(custom_oauth_providers)::text",
        {**_params(values), "id": provider_id},
    )
    return CustomProvider.from_document(orjson.loads(text))


async def delete_provider(tx: Transaction, identifier: str) -> bool:
    """Whether there was one."""
    return bool(
        await tx.execute(
            "delete from auth.custom_oauth_providers where identifier = %(identifier)s",
            {"identifier": identifier},
        )
    )


async def insert_client_state(tx: Transaction, provider: str, verifier: str) -> str:
    """Remembers the verifier of a sign-in at a provider; its id."""
    value = await tx.fetch_value(
        """insert into auth.oauth_client_states (id, provider_type, code_verifier, created_at)
           values (gen_random_uuid(), %(provider)s, %(verifier)s, now()) returning id::text""",
        {"provider": provider, "verifier": verifier},
    )
    return str(value)


async def consume_client_state(
    tx: Transaction, state_id: str
) -> tuple[str, str, datetime | None] | None:
    """Takes it away: provider, verifier and when it began.  None when it is gone already."""
    row = await tx.fetch_one(
        """delete from auth.oauth_client_states where id = %(id)s
           returning provider_type, code_verifier, created_at""",
        {"id": state_id},
    )
    if row is None:
        return None
    return row["provider_type"], row["code_verifier"] or "", read_moment(row["created_at"])


async def set_request_token(tx: Transaction, flow_id: str, token: str, secret: str) -> None:
    """Keeps an OAuth 1.0a request token with its flow until the person comes back."""
    await tx.execute(
        """update auth.flow_state set provider_access_token = %(token)s,
             provider_refresh_token = %(secret)s, updated_at = now() where id = %(id)s""",
        {"id": flow_id, "token": token, "secret": secret},
    )
