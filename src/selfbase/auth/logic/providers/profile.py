"""A profile: what a provider says about the person who signed in.

`claims` become the identity's `identity_data` and part of the user's metadata; their names are wire
contract (reference/auth.md section 5.5).  Empty values are left out, except the two verification
flags, which are always there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


class ProfileInvalid(Exception):
    """A provider's answer lacks what a profile needs."""


@dataclass(frozen=True, slots=True)
class Email:
    """An e-mail address as the provider knows it."""

    address: str
    verified: bool
    primary: bool = True


@dataclass(frozen=True, slots=True)
class Profile:
    """One person at one provider.  `claims["sub"]` is the provider's stable name for them."""

    claims: dict[str, Any]
    emails: tuple[Email, ...] = field(default=())

    @property
    def subject(self) -> str:
        subject = self.claims.get("sub")
        return subject if isinstance(subject, str) else ""

    @property
    def email(self) -> Email | None:
        """The primary address, or the last one given when none is marked primary."""
        for email in self.emails:
            if email.primary:
                return email
        return self.emails[-1] if self.emails else None

    def settled(self) -> Profile:
        """The same with `email` and `email_verified` set from the address that counts."""
        email = self.email
        claims = {**self.claims, "email_verified": False}
        claims.pop("email", None)
        if email is not None:
            claims |= {"email": email.address, "email_verified": email.verified}
        return Profile(claims, self.emails)


def make_claims(**values: Any) -> dict[str, Any]:
    """Claims without the empty ones; the verification flags are always present."""
    kept = {name: value for name, value in values.items() if not _is_empty(value)}
    kept.setdefault("email_verified", False)
    kept.setdefault("phone_verified", False)
    return kept


def _is_empty(value: Any) -> bool:
    return value is None or value is False or value == "" or value in ({}, [])


def one_email(address: Any, *, verified: bool) -> tuple[Email, ...]:
    """The only address, or none when the provider sent no usable one."""
    text = as_text(address)
    return (Email(text, verified),) if text else ()


def as_text(value: Any) -> str:
    """A text member, "" when it is missing or of another type; numbers become text."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return ""


def as_flag(value: Any) -> bool:
    """A boolean member; providers also send "true" and "1"."""
    if isinstance(value, str):
        return value.lower() in ("true", "1")
    return value is True or (isinstance(value, int) and value == 1)


def pick(tree: Any, *path: str | int) -> Any:
    """The value at a path of member names and indexes, or None."""
    for step in path:
        if isinstance(step, str) and isinstance(tree, Mapping):
            tree = tree.get(step)
        elif (
            isinstance(step, int)
            and isinstance(tree, Sequence)
            and not isinstance(tree, str)
            and -len(tree) <= step < len(tree)
        ):
            tree = tree[step]
        else:
            return None
    return tree


def require_subject(value: Any) -> str:
    """The provider's id of the person.  Raises ProfileInvalid: without it nobody can sign in."""
    subject = as_text(value)
    if not subject:
        raise ProfileInvalid("the provider did not say who signed in")
    return subject
