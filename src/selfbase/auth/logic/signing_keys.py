"""The life of a signing key: standby, in use, previously used, revoked.

A standby key is published so that verifiers know it before the first token is signed with it; one
key is in use; previously used ones still verify until their last token has ended; revoked ones do
not.  Source: reference section 7, "Key rotation".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from selfbase.auth.errors import AuthFailure


class KeyState(Enum):
    STANDBY = "standby"
    IN_USE = "in_use"
    PREVIOUSLY_USED = "previously_used"
    REVOKED = "revoked"


ALGORITHMS = ("HS256", "RS256", "ES256", "EdDSA")

# What an operator may ask for.  A key leaves IN_USE only because another one takes its place.
TRANSITIONS: Final[Mapping[KeyState, frozenset[KeyState]]] = {
    KeyState.STANDBY: frozenset({KeyState.IN_USE, KeyState.REVOKED}),
    KeyState.IN_USE: frozenset(),
    KeyState.PREVIOUSLY_USED: frozenset({KeyState.STANDBY, KeyState.REVOKED}),
    KeyState.REVOKED: frozenset({KeyState.STANDBY}),
}


@dataclass(frozen=True, slots=True)
class KeyStep:
    """One key gets another state."""

    key_id: str
    state: KeyState


def plan_move(states: Mapping[str, KeyState], key_id: str, wanted: KeyState) -> Sequence[KeyStep]:
    """The steps that bring a key to a state, the one that leaves first.  Raises AuthFailure."""
    current = states.get(key_id)
    if current is None:
        raise AuthFailure("Signing key not found", code="validation_failed", status=404)
    if wanted is current:
        return ()
    if wanted not in TRANSITIONS[current]:
        raise AuthFailure(
            f"A key that is {current.value} cannot become {wanted.value}",
            code="validation_failed", status=422,
        )  # fmt: skip
    steps = [KeyStep(key_id, wanted)]
    if wanted is KeyState.IN_USE:
        leaving = [key for key, state in states.items() if state is KeyState.IN_USE]
        steps = [*(KeyStep(key, KeyState.PREVIOUSLY_USED) for key in leaving), *steps]
    return steps


def verifies(state: KeyState) -> bool:
    """Whether tokens of such a key are good."""
    return state is not KeyState.REVOKED
