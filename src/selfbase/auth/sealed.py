"""Secrets in columns: sealed when they are written, opened when they are read."""

from __future__ import annotations

import secrets

from selfbase.auth.context import Context
from selfbase.auth.errors import UnexpectedFailure
from selfbase.auth.logic import sealed as logic


def seal(ctx: Context, plain: str, row_id: str) -> str:
    """The value as it is stored in the row.  Raises UnexpectedFailure when the keys are unusable."""
    try:
        keys = ctx.settings.seal_keys()
    except ValueError as error:
        raise UnexpectedFailure("Encryption is not set up", internal=str(error)) from None
    return logic.seal(plain, row_id, keys, secrets.token_bytes(logic.NONCE_BYTES))


def unseal(ctx: Context, stored: str, row_id: str) -> str:
    """The value itself, sealed or not.  Raises UnexpectedFailure when it cannot be opened."""
    if not stored.startswith("{"):
        return stored
    try:
        return logic.unseal(stored, row_id, ctx.settings.seal_keys())
    except (ValueError, logic.SealBroken) as error:
        raise UnexpectedFailure("Error reading an encrypted value", internal=str(error)) from None
