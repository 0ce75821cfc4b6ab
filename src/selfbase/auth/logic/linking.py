"""Whose account an external identity belongs to.

A linking domain is a set of identities that share accounts: an SSO provider is one of its own,
operators may group providers, all others are `default`.  Source: reference/auth.md section 3.5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selfbase.auth.logic.providers.profile import Email, Profile
from selfbase.auth.types import Identity, User

DEFAULT_DOMAIN = "default"


@dataclass(frozen=True, slots=True)
class KnownIdentity:
    """The identity has been here before."""

    identity: Identity


@dataclass(frozen=True, slots=True)
class LinkTo:
    """A new identity of a user who proved the same address before."""

    user_id: str


@dataclass(frozen=True, slots=True)
class NewAccount:
    """Nobody's: a user of its own.  `email` is empty where there is none or it is taken."""

    email: str


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """Several users have the address: nobody can say whose it is."""


Decision = KnownIdentity | LinkTo | NewAccount | Ambiguous


def parse_domains(text: str) -> dict[str, str]:
    """Providers' domains from `provider=domain,…`; what is not of that form is left out."""
    pairs = (item.partition("=") for item in text.split(","))
    return {name.strip(): domain.strip() for name, sign, domain in pairs if sign and domain.strip()}


def linking_domain(provider: str, domains: Mapping[str, str]) -> str:
    if provider.startswith("sso:"):
        return provider
    return domains.get(provider, DEFAULT_DOMAIN)


def verified_addresses(profile: Profile, *, autoconfirm: bool) -> list[str]:
    """The addresses that may link accounts, lower case."""
    return [email.address.lower() for email in profile.emails if email.verified or autoconfirm]


def candidate_email(profile: Profile) -> Email | None:
    """The primary address, lower case."""
    for email in profile.emails:
        if email.primary:
            return Email(email.address.lower(), email.verified, True)
    return None


def decide_account(
    provider: str,
    domains: Mapping[str, str],
    *,
    known: Identity | None,
    candidate: Email | None,
    taken: bool,
    identities: Sequence[Identity],
    users: Sequence[User],
    has_verified: bool,
) -> Decision:
    """`known`: the identity of this provider and subject.  `taken`: another account has the
    candidate address.  `identities` and `users` share a verified address with the profile; `users`
    are without SSO."""
    if known is not None:
        return KnownIdentity(known)
    email = candidate.address if candidate is not None else ""
    if not has_verified:
        return NewAccount("" if taken else email)
    domain = linking_domain(provider, domains)
    owners = {
        identity.user_id
        for identity in identities
        if linking_domain(identity.provider, domains) == domain
    }
    if not owners and domain == DEFAULT_DOMAIN:
        owners = {user.id for user in users}
    if len(owners) > 1:
        return Ambiguous()
    return LinkTo(owners.pop()) if owners else NewAccount(email)
