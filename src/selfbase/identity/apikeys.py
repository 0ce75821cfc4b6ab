"""API keys: the opaque `sb_publishable_…`/`sb_secret_…` and the legacy JWTs, and what each stands for.

Format of an opaque key: prefix, 22 characters of base64url of 17 random bytes, `_`, and 8 characters
of base64url(SHA-256(`<ref>|<prefix and body>`)), a checksum for leak scanners that nothing verifies.
Opaque keys are never valid as bearer tokens: the gateway translates them.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from selfbase.identity.tokens import TokenInvalid, TokenVerifier

PUBLISHABLE_PREFIX = "sb_publishable_"
SECRET_PREFIX = "sb_secret_"  # noqa: S105  # a public prefix, not a secret
OPAQUE_PREFIX = "sb_"


def make_opaque_key(prefix: str, ref: str, entropy: bytes | None = None) -> str:
    """A new key of the given prefix for the project `ref`; `entropy` is 17 bytes."""
    body = urlsafe_b64encode(entropy or secrets.token_bytes(17)).decode()[:22]
    checked = prefix + body
    digest = hashlib.sha256(f"{ref}|{checked}".encode()).digest()
    return f"{checked}_{urlsafe_b64encode(digest).decode()[:8]}"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key a project accepts.  `token` is the JWT that goes to the services in its place.

    One that is not `lasting` is right only now, and is looked for anew each time.
    """

    name: str
    role: str
    value: str = field(repr=False)
    token: str = field(repr=False)
    lasting: bool = True

    @property
    def id(self) -> str:
        """A name for logs and rate limits that does not give the key away."""
        return _digest(self.value).hex()[:12]


class KeyRing:
    """The keys of one project.  Lookup goes by digest, so its time says nothing about a key.

    A key that was right once is found by itself from then on: whoever repeats it knows it, and a
    guess is only ever compared with one of them when all bits of Python's keyed string hash agree.

    With a `verifier`, a role token that the project's own keys have signed is a key too, as people
    make them with the CLI's `signing_keys_path`: who can sign one needs no other.
    """

    def __init__(self, keys: Iterable[ApiKey], verifier: TokenVerifier | None = None) -> None:
        self._verifier = verifier
        self._keys = {_digest(key.value): key for key in keys if key.value}
        self._shown: dict[str, ApiKey] = {}

    def find(self, value: str) -> ApiKey | None:
        known = self._shown.get(value)
        if known is not None:
            return known
        key = self._keys.get(_digest(value))
        if key is None or not hmac.compare_digest(key.value.encode(), value.encode()):
            return self._find_signed(value)
        self._shown[key.value] = key
        return key

    def _find_signed(self, value: str) -> ApiKey | None:
        """Judged anew each time: it may expire, and its key may be revoked."""
        if self._verifier is None or value.count(".") != 2:
            return None
        try:
            claims = self._verifier.verify(value)
        except TokenInvalid:
            return None
        role = claims.get("role")
        # A token with a subject is a person's, whatever role a hook has given it.
        if role not in ("anon", "service_role") or "sub" in claims:
            return None
        return ApiKey("signed", role, value, value, lasting=False)

    def __iter__(self) -> Iterator[ApiKey]:
        return iter(self._keys.values())


def _digest(value: str) -> bytes:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest()
