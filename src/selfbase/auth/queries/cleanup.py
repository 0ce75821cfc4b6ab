"""What may be removed because its time is over, a few rows at once.

Rows in use by others are skipped, so a sweep waits for nobody and nobody waits for it.
Source: reference/auth.md sections 3.8 and 5.1 (cleanup).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, LiteralString

from selfbase.database.database import Transaction

ROWS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Sweep:
    """Rows of a table that may go.  `needs` names a setting that must be on or set; its value is
    the parameter `limit_s`."""

    table: LiteralString
    where: LiteralString
    needs: str | None = None


_DAY: LiteralString = " < %(now)s - interval '24 hours'"

SWEEPS: Final[tuple[Sweep, ...]] = (
    # What only ever lived for minutes.
    Sweep("auth.flow_state", "created_at" + _DAY),
    Sweep("auth.oauth_client_states", "created_at" + _DAY),
    Sweep("auth.oauth_authorizations", "expires_at" + _DAY),
    Sweep("auth.webauthn_challenges", "expires_at < %(now)s"),
    Sweep("auth.mfa_challenges", "created_at" + _DAY),
    Sweep("auth.mfa_factors", "status = 'unverified' and created_at" + _DAY),
    # The note of a used assertion stays until the assertion itself is too old.
    Sweep(
        "auth.saml_relay_states",
        "created_at" + _DAY + " and (request_id not like 'used:%%' or updated_at < %(now)s)",
    ),
    # What people may want to look at is removed only where the operator asked for it.
    Sweep("auth.refresh_tokens", "revoked is true and updated_at" + _DAY, "db_cleanup_enabled"),
    Sweep("auth.sessions", "not_after < %(now)s - interval '72 hours'", "db_cleanup_enabled"),
    Sweep(
        "auth.sessions",
        "created_at + make_interval(secs => %(limit_s)s)" + _DAY,
        "sessions_timebox",
    ),
    Sweep(
        "auth.sessions",
        "coalesce(refreshed_at at time zone 'utc', created_at)"
        " + make_interval(secs => %(limit_s)s)" + _DAY,
        "sessions_inactivity_timeout",
    ),
    Sweep(
        "auth.users",
        "is_anonymous is true and created_at < %(now)s - interval '30 days'",
        "external_anonymous_users_enabled",
    ),
)


def list_due(settings: object) -> list[tuple[Sweep, Mapping[str, Any]]]:
    """The sweeps the settings allow, with their parameters."""
    cleans = bool(getattr(settings, "db_cleanup_enabled", False))
    due: list[tuple[Sweep, Mapping[str, Any]]] = []
    for sweep in SWEEPS:
        if sweep.needs is None:
            due.append((sweep, {}))
        elif cleans and (value := getattr(settings, sweep.needs)):
            due.append((sweep, {"limit_s": float(value)}))
    return due


async def run_sweep(tx: Transaction, sweep: Sweep, params: Mapping[str, Any]) -> int:
    """How many rows went."""
    query: LiteralString = (
        "delete from " + sweep.table + " where id in (select id from " + sweep.table
        + " where " + sweep.where + " limit %(rows)s for update skip locked)"
    )  # fmt: skip
    return await tx.execute(query, {**params, "rows": ROWS_MAX})
