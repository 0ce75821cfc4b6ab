"""The audit log: one row for each thing that happened to an account.

Source: reference section 4.6 (payload shape, actions and their types).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from selfbase.auth.context import Context
from selfbase.auth.logic.render import dump_json
from selfbase.auth.types import User
from selfbase.database.database import Transaction
from selfbase.kit.events import Event

LOG_TYPES: Mapping[str, str] = {
    "login": "account",
    "logout": "account",
    "invite_accepted": "account",
    "user_signedup": "team",
    "user_invited": "team",
    "user_deleted": "team",
    "token_revoked": "token",
    "token_refreshed": "token",
    "generate_recovery_codes": "user",
    "user_modified": "user",
    "user_recovery_requested": "user",
    "user_reauthenticate_requested": "user",
    "user_confirmation_requested": "user",
    "user_repeated_signup": "user",
    "user_updated_password": "user",
    "identity_linked": "user",
    "identity_unlinked": "user",
    "factor_in_progress": "factor",
    "factor_unenrolled": "factor",
    "factor_deleted": "factor",
    "factor_updated": "factor",
    "challenge_created": "factor",
    "verification_attempted": "factor",
    "passkey_created": "user",
    "passkey_updated": "user",
    "passkey_deleted": "user",
}


@dataclass(frozen=True, slots=True)
class AuditRecorded(Event):
    """Something happened to an account."""

    name: ClassVar[str] = "auth.audit"
    service: ClassVar[str] = "auth"
    action: str
    actor_id: str


async def record(
    ctx: Context,
    tx: Transaction,
    action: str,
    actor: User | None,
    traits: Mapping[str, Any] | None = None,
) -> None:
    """Adds a row; `actor` None is an administrator without an account."""
    actor_id = actor.id if actor else "00000000-0000-0000-0000-000000000000"
    ctx.core.events.emit(AuditRecorded(action, actor_id))
    if ctx.settings.audit_log_disable_postgres:
        return
    payload: dict[str, Any] = {
        "action": action,
        "actor_id": actor_id,
        "actor_via_sso": actor.is_sso_user if actor else False,
        "actor_username": (actor.email or actor.phone) if actor else ctx.claims.get("role", ""),
        "log_type": LOG_TYPES[action],
    }
    full_name = actor.user_metadata.get("full_name") if actor else None
    if isinstance(full_name, str) and full_name:
        payload["actor_name"] = full_name
    if traits:
        payload["traits"] = dict(traits)
    await tx.execute(
        """insert into auth.audit_log_entries (instance_id, id, payload, created_at, ip_address)
           values ('00000000-0000-0000-0000-000000000000', gen_random_uuid(), %(payload)s, %(now)s,
             %(ip)s)""",
        {"payload": dump_json(payload).decode(), "now": ctx.now, "ip": ctx.ip[:64]},
    )
