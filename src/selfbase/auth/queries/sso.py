"""Rows of SAML connections, and of sign-ins under way through them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, LiteralString

import orjson

from selfbase.auth.types_more import RelayState, SsoProvider
from selfbase.database.database import Transaction

_DOCUMENT: LiteralString = """to_jsonb(p) || jsonb_build_object(
  'saml', (select to_jsonb(s) from auth.saml_providers s where s.sso_provider_id = p.id limit 1),
  'domains', (select jsonb_agg(d.domain order by d.domain) from auth.sso_domains d
    where d.sso_provider_id = p.id))"""
_SELECT: LiteralString = (
    "select (" + _DOCUMENT + ")::text as doc from auth.sso_providers p where exists"
    " (select 1 from auth.saml_providers s where s.sso_provider_id = p.id) and "
)


async def _one(tx: Transaction, where: LiteralString, value: str) -> SsoProvider | None:
    text = await tx.fetch_value(_SELECT + where, {"value": value})
    return None if text is None else SsoProvider.from_document(orjson.loads(text))


async def find_provider(tx: Transaction, provider_id: str) -> SsoProvider | None:
    return await _one(tx, "p.id = %(value)s", provider_id)


async def find_provider_by_resource(tx: Transaction, resource_id: str) -> SsoProvider | None:
    return await _one(tx, "lower(p.resource_id) = lower(%(value)s)", resource_id)


async def find_provider_by_domain(tx: Transaction, domain: str) -> SsoProvider | None:
    return await _one(
        tx,
        "p.id = (select d.sso_provider_id from auth.sso_domains d"
        " where lower(d.domain) = lower(%(value)s))",
        domain,
    )


async def find_provider_by_entity(tx: Transaction, entity_id: str) -> SsoProvider | None:
    return await _one(
        tx,
        "p.id = (select s.sso_provider_id from auth.saml_providers s"
        " where s.entity_id = %(value)s)",
        entity_id,
    )


async def list_providers(
    tx: Transaction, *, resource_id: str | None, resource_prefix: str | None
) -> list[SsoProvider]:
    """All, or those of a resource id or of a beginning of one."""
    rows = await tx.fetch_all(
        _SELECT
        + """(%(id)s::text is null or p.resource_id = %(id)s)
          and (%(prefix)s::text is null or starts_with(p.resource_id, %(prefix)s))
          order by p.created_at, p.id""",
        {"id": resource_id, "prefix": resource_prefix},
    )
    return [SsoProvider.from_document(orjson.loads(row["doc"])) for row in rows]


async def insert_provider(tx: Transaction, values: Mapping[str, Any]) -> SsoProvider:
    """`values`: resource_id, disabled, entity_id, metadata_xml, metadata_url, attribute_mapping,
    name_id_format, domains.  Raises UniqueViolation for an entity id, resource id or domain that
    is taken."""
    provider_id = await tx.fetch_value(
        """insert into auth.sso_providers (id, resource_id, disabled, created_at, updated_at)
           values (gen_random_uuid(), %(resource_id)s, %(disabled)s, now(), now())
           returning id::text""",
        values,
    )
    await tx.execute(
        """insert into auth.saml_providers (id, sso_provider_id, entity_id, metadata_xml,
             metadata_url, attribute_mapping, name_id_format, created_at, updated_at)
           values (gen_random_uuid(), %(id)s, %(entity_id)s, %(metadata_xml)s, %(metadata_url)s,
             %(attribute_mapping)s, %(name_id_format)s, now(), now())""",
        {
            **values,
            "id": provider_id,
            "attribute_mapping": orjson.dumps(values["attribute_mapping"]).decode(),
        },
    )
    await set_domains(tx, provider_id, values["domains"])
    return await _get(tx, provider_id)


async def _get(tx: Transaction, provider_id: str) -> SsoProvider:
    provider = await find_provider(tx, provider_id)
    if provider is None:
        raise LookupError("the provider vanished during the transaction")
    return provider


async def set_domains(tx: Transaction, provider_id: str, domains: Sequence[str]) -> None:
    """Makes these the provider's domains.  Raises UniqueViolation."""
    await tx.execute(
        """delete from auth.sso_domains where sso_provider_id = %(id)s
           and not lower(domain) = any(%(domains)s)""",
        {"id": provider_id, "domains": [domain.lower() for domain in domains]},
    )
    for domain in domains:
        await tx.execute(
            """insert into auth.sso_domains (id, sso_provider_id, domain, created_at, updated_at)
               select gen_random_uuid(), %(id)s, %(domain)s, now(), now()
               where not exists (select 1 from auth.sso_domains
                 where sso_provider_id = %(id)s and lower(domain) = lower(%(domain)s))""",
            {"id": provider_id, "domain": domain},
        )


async def update_provider(
    tx: Transaction, provider: SsoProvider, values: Mapping[str, Any]
) -> SsoProvider:
    """`values` as for `insert_provider` but entity_id; all of them.  Raises UniqueViolation."""
    await tx.execute(
        """update auth.sso_providers set resource_id = %(resource_id)s, disabled = %(disabled)s,
             updated_at = now() where id = %(id)s""",
        {**values, "id": provider.id},
    )
    await tx.execute(
        """update auth.saml_providers set metadata_xml = %(metadata_xml)s,
             metadata_url = %(metadata_url)s, attribute_mapping = %(attribute_mapping)s,
             name_id_format = %(name_id_format)s, updated_at = now()
           where sso_provider_id = %(id)s""",
        {
            **values,
            "id": provider.id,
            "attribute_mapping": orjson.dumps(values["attribute_mapping"]).decode(),
        },
    )
    await set_domains(tx, provider.id, values["domains"])
    return await _get(tx, provider.id)


async def set_metadata(tx: Transaction, provider_id: str, metadata_xml: str) -> None:
    """Metadata fetched anew."""
    await tx.execute(
        """update auth.saml_providers set metadata_xml = %(xml)s, updated_at = now()
           where sso_provider_id = %(id)s""",
        {"id": provider_id, "xml": metadata_xml},
    )


async def delete_provider(tx: Transaction, provider_id: str) -> None:
    await tx.execute("delete from auth.sso_providers where id = %(id)s", {"id": provider_id})


async def insert_relay_state(
    tx: Transaction,
    *,
    provider_id: str,
    request_id: str,
    redirect_to: str,
    flow_id: str | None,
    now: datetime,
) -> str:
    """A request under way; its id is the relay state."""
    value = await tx.fetch_value(
        """insert into auth.saml_relay_states (id, sso_provider_id, request_id, redirect_to,
             flow_state_id, created_at, updated_at)
           values (gen_random_uuid(), %(provider_id)s, %(request_id)s, %(redirect_to)s,
             %(flow_id)s, %(now)s, %(now)s) returning id::text""",
        {
            "provider_id": provider_id,
            "request_id": request_id,
            "redirect_to": redirect_to,
            "flow_id": flow_id,
            "now": now,
        },
    )
    return str(value)


async def consume_relay_state(tx: Transaction, state_id: str) -> RelayState | None:
    """Takes it away: a relay state is used once."""
    text = await tx.fetch_value(
        """delete from auth.saml_relay_states where id = %(id)s and request_id not like 'used:%%'
           returning to_jsonb(saml_relay_states)::text""",
        {"id": state_id},
    )
    return None if text is None else RelayState.from_document(orjson.loads(text))


async def claim_assertion(
    tx: Transaction, provider_id: str, digest: str, until: datetime, now: datetime
) -> bool:
    """Notes that an assertion has been used; False when it was before.

    Kept among the relay states, whose rows every restored database has a place for, under a name
    no request can have, until the assertion would be refused for its age anyway.
    """
    await tx.execute(
        "select pg_advisory_xact_lock(hashtextextended(%(digest)s, 0))", {"digest": digest}
    )
    used = await tx.fetch_value(
        """select 1 from auth.saml_relay_states where sso_provider_id = %(provider_id)s
           and request_id = 'used:' || %(digest)s""",
        {"provider_id": provider_id, "digest": digest},
    )
    if used is not None:
        return False
    # `updated_at` is when the note may go.
    await tx.execute(
        """delete from auth.saml_relay_states
           where request_id like 'used:%%' and updated_at < %(now)s""",
        {"now": now},
    )
    await tx.execute(
        """insert into auth.saml_relay_states
             (id, sso_provider_id, request_id, created_at, updated_at)
           values (gen_random_uuid(), %(provider_id)s, 'used:' || %(digest)s, %(now)s, %(until)s)""",
        {"provider_id": provider_id, "digest": digest, "now": now, "until": until},
    )
    return True
