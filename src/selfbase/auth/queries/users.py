"""Rows of users and identities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, LiteralString

import orjson

from selfbase.auth.types import Identity, User
from selfbase.database.database import Transaction

# One document for a user: the row with its identities and factors, in order of creation.
USER_DOCUMENT: LiteralString = """to_jsonb(u) || jsonb_build_object(
  'identities', coalesce((select jsonb_agg(to_jsonb(i) order by i.created_at, i.id)
    from auth.identities i where i.user_id = u.id), '[]'),
  'factors', coalesce((select jsonb_agg(to_jsonb(f) order by f.created_at, f.id)
    from auth.mfa_factors f where f.user_id = u.id), '[]'))"""

_SELECT: LiteralString = "select (" + USER_DOCUMENT + ")::text as doc from auth.users u where "


async def _one(tx: Transaction, where: LiteralString, params: Mapping[str, Any]) -> User | None:
    text = await tx.fetch_value(_SELECT + where, params)
    return None if text is None else User.from_document(orjson.loads(text))


async def find_user(tx: Transaction, user_id: str, *, lock: bool = False) -> User | None:
    """The user of an id; `lock` keeps others from changing the row."""
    if lock:
        await tx.execute("select 1 from auth.users where id = %(id)s for update", {"id": user_id})
    return await _one(tx, "u.id = %(id)s", {"id": user_id})


async def get_user(tx: Transaction, user_id: str) -> User:
    """The user of an id that is known to exist in this transaction."""
    user = await find_user(tx, user_id)
    if user is None:
        raise LookupError("the user vanished during the transaction")
    return user


async def find_user_by_email(tx: Transaction, email: str, aud: str) -> User | None:
    """The user of an address in any case, among those that do not belong to an SSO provider."""
    return await _one(
        tx,
        "u.instance_id = '00000000-0000-0000-0000-000000000000' and lower(u.email) = lower(%(email)s::text)"
        " and u.aud = %(aud)s and u.is_sso_user = false order by u.created_at limit 1",
        {"email": email, "aud": aud},
    )


async def find_user_by_phone(tx: Transaction, phone: str, aud: str) -> User | None:
    return await _one(
        tx,
        "u.phone = %(phone)s and u.aud = %(aud)s and u.is_sso_user = false limit 1",
        {"phone": phone, "aud": aud},
    )


async def insert_user(tx: Transaction, values: Mapping[str, Any]) -> User:
    """A new row; users' own triggers run.  `values` are columns by name; metadata are dicts.

    Raises DatabaseFailure, also from a trigger.
    """
    await tx.execute(
        """insert into auth.users (instance_id, id, aud, role, email, phone, encrypted_password,
             email_confirmed_at, phone_confirmed_at, invited_at, confirmation_token,
             recovery_token, email_change_token_new, email_change, email_change_token_current,
             phone_change, phone_change_token, reauthentication_token, raw_app_meta_data,
             raw_user_meta_data, created_at, updated_at, is_sso_user, is_anonymous, banned_until)
           values ('00000000-0000-0000-0000-000000000000', %(id)s, %(aud)s, %(role)s,
             nullif(%(email)s::text, ''), nullif(%(phone)s::text, ''), %(encrypted_password)s,
             %(email_confirmed_at)s, %(phone_confirmed_at)s, %(invited_at)s, '', '', '', '', '',
             '', '', '', %(app_metadata)s, %(user_metadata)s, %(now)s, %(now)s, %(is_sso_user)s,
             %(is_anonymous)s, %(banned_until)s)""",
        {
            "phone": "", "email": "", "encrypted_password": "", "email_confirmed_at": None,
            "phone_confirmed_at": None, "invited_at": None, "is_sso_user": False,
            "is_anonymous": False, "banned_until": None,
            **values,
            "app_metadata": _json(values.get("app_metadata") or {}),
            "user_metadata": _json(values.get("user_metadata") or {}),
        },
    )  # fmt: skip
    return await get_user(tx, values["id"])


# What may be set by name; anything else is a mistake of ours, not of a caller.
_COLUMNS: Mapping[str, LiteralString] = {
    "aud": "aud = %(aud)s",
    "role": "role = %(role)s",
    "email": "email = nullif(%(email)s::text, '')",
    "phone": "phone = nullif(%(phone)s::text, '')",
    "encrypted_password": "encrypted_password = %(encrypted_password)s",
    "email_confirmed_at": "email_confirmed_at = %(email_confirmed_at)s",
    "phone_confirmed_at": "phone_confirmed_at = %(phone_confirmed_at)s",
    "invited_at": "invited_at = %(invited_at)s",
    "confirmation_token": "confirmation_token = %(confirmation_token)s",
    "confirmation_sent_at": "confirmation_sent_at = %(confirmation_sent_at)s",
    "recovery_token": "recovery_token = %(recovery_token)s",
    "recovery_sent_at": "recovery_sent_at = %(recovery_sent_at)s",
    "email_change": "email_change = %(email_change)s",
    "email_change_token_new": "email_change_token_new = %(email_change_token_new)s",
    "email_change_token_current": "email_change_token_current = %(email_change_token_current)s",
    "email_change_confirm_status": "email_change_confirm_status = %(email_change_confirm_status)s",
    "email_change_sent_at": "email_change_sent_at = %(email_change_sent_at)s",
    "phone_change": "phone_change = %(phone_change)s",
    "phone_change_token": "phone_change_token = %(phone_change_token)s",
    "phone_change_sent_at": "phone_change_sent_at = %(phone_change_sent_at)s",
    "reauthentication_token": "reauthentication_token = %(reauthentication_token)s",
    "reauthentication_sent_at": "reauthentication_sent_at = %(reauthentication_sent_at)s",
    "last_sign_in_at": "last_sign_in_at = %(last_sign_in_at)s",
    "banned_until": "banned_until = %(banned_until)s",
    "deleted_at": "deleted_at = %(deleted_at)s",
    "is_anonymous": "is_anonymous = %(is_anonymous)s",
    "is_sso_user": "is_sso_user = %(is_sso_user)s",
    "app_metadata": "raw_app_meta_data = %(app_metadata)s",
    "user_metadata": "raw_user_meta_data = %(user_metadata)s",
}


async def update_user(tx: Transaction, user_id: str, values: Mapping[str, Any]) -> User:
    """Sets columns by name (`app_metadata`, `user_metadata` are whole dicts) and `updated_at`."""
    params = {
        name: _json(value) if name.endswith("_metadata") else value
        for name, value in values.items()
    }
    assignments: LiteralString = ", ".join([_COLUMNS[name] for name in values])
    comma: LiteralString = ", " if values else ""
    await tx.execute(
        "update auth.users set " + assignments + comma + "updated_at = now() where id = %(id)s",
        {**params, "id": user_id},
    )
    return await get_user(tx, user_id)


async def insert_identity(
    tx: Transaction,
    *,
    user_id: str,
    provider: str,
    provider_id: str,
    identity_data: Mapping[str, Any],
    signed_in: bool = True,
) -> Identity:
    """A new identity.  Raises UniqueViolation when the provider's subject is taken."""
    row = await tx.fetch_one(
        """insert into auth.identities
             (provider_id, user_id, identity_data, provider, last_sign_in_at, created_at, updated_at)
           values (%(provider_id)s, %(user_id)s, %(data)s, %(provider)s,
             case when %(signed_in)s::boolean then now() end, now(), now())
           returning to_jsonb(identities)::text as doc""",
        {
            "provider_id": provider_id, "user_id": user_id, "provider": provider,
            "data": _json(identity_data), "signed_in": signed_in,
        },
    )  # fmt: skip
    assert row is not None
    return Identity.from_document(orjson.loads(row["doc"]))


async def update_identity(
    tx: Transaction, identity_id: str, identity_data: Mapping[str, Any], *, signed_in: bool = False
) -> None:
    """Replaces the identity's data."""
    await tx.execute(
        """update auth.identities set identity_data = %(data)s, updated_at = now(),
             last_sign_in_at = case when %(signed_in)s::boolean then now() else last_sign_in_at end
           where id = %(id)s""",
        {"data": _json(identity_data), "id": identity_id, "signed_in": signed_in},
    )


async def delete_identity(tx: Transaction, identity_id: str) -> None:
    await tx.execute("delete from auth.identities where id = %(id)s", {"id": identity_id})


async def find_identity(tx: Transaction, provider: str, provider_id: str) -> Identity | None:
    text = await tx.fetch_value(
        """select to_jsonb(i)::text from auth.identities i
           where i.provider = %(provider)s and i.provider_id = %(provider_id)s""",
        {"provider": provider, "provider_id": provider_id},
    )
    return None if text is None else Identity.from_document(orjson.loads(text))


async def list_identities_by_emails(tx: Transaction, emails: list[str]) -> list[Identity]:
    """Identities whose address is one of `emails` (lower case), of any provider."""
    rows = await tx.fetch_all(
        "select to_jsonb(i)::text as doc from auth.identities i where i.email = any(%(emails)s)",
        {"emails": [email.lower() for email in emails]},
    )
    return [Identity.from_document(orjson.loads(row["doc"])) for row in rows]


async def list_users_by_emails(tx: Transaction, emails: list[str]) -> list[User]:
    """Users without SSO whose address is one of `emails`."""
    rows = await tx.fetch_all(
        _SELECT + "u.instance_id = '00000000-0000-0000-0000-000000000000'"
        " and lower(u.email) = any(%(emails)s) and u.is_sso_user = false",
        {"emails": [email.lower() for email in emails]},
    )
    return [User.from_document(orjson.loads(row["doc"])) for row in rows]


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
