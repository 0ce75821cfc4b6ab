"""Signing keys that are made, rotated and revoked while Auth runs.

`list_keys`, `create` and `move` are the internal API of Studio and the Management API.  While no managed
key is in use, the project's own keys sign; they go on verifying beside the managed ones.  A change
counts up the version of the settings, by which every worker notices it at its next request.
"""

from __future__ import annotations

import secrets
import uuid
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from selfbase.auth.context import AUTH_ADMIN
from selfbase.auth.errors import ValidationFailed
from selfbase.auth.logic.signing_keys import ALGORITHMS, KeyState, plan_move, verifies
from selfbase.auth.tokens import TokenIssuer
from selfbase.database.database import Database, Transaction
from selfbase.identity.tokens import Key, key_from_jwk
from selfbase.kit.events import Event, Events

KEYS_MAX = 20


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A managed key as it may be shown: `public_jwk` is None for a shared secret."""

    id: str
    algorithm: str
    state: str
    public_jwk: dict[str, Any] | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class SigningKeyChanged(Event):
    """A signing key was made or got another state."""

    name: ClassVar[str] = "auth.signing_key.changed"
    service: ClassVar[str] = "auth"
    key_id: str
    state: str


@dataclass(frozen=True, slots=True)
class SigningKeyUnreadable(Event):
    """A stored key cannot be opened with this project's secret; it is left out."""

    name: ClassVar[str] = "auth.signing_key.unreadable"
    level: ClassVar = "error"
    service: ClassVar[str] = "auth"
    key_id: str


class SigningKeys:
    """The managed keys of one Auth.

    `own` are the project's keys from its settings, the first one signs.  `sealing` is the secret
    the private parts are encrypted under.  `on_change` hears all verifying keys after each change,
    for the other services of this process.
    """

    def __init__(
        self,
        database: Database,
        issuer: TokenIssuer,
        events: Events,
        *,
        own: Sequence[Key],
        sealing: bytes,
        on_change: Callable[[Sequence[Key]], None] | None = None,
    ) -> None:
        self._database = database
        self._issuer = issuer
        self._events = events
        self._own = tuple(own)
        self._on_change = on_change
        self._opened: dict[str, Key] = {}
        derived = HKDF(hashes.SHA256(), 32, salt=None, info=b"selfbase signing keys")
        self._box = AESGCM(derived.derive(sealing))

    async def load(self) -> None:
        """Takes over the keys as they are stored now."""
        async with self._database.as_service("signing keys", login=AUTH_ADMIN) as tx:
            rows = await _list(tx)
        # Reading a private RSA key checks its numbers, which takes tens of milliseconds.
        texts = {row["sealed_jwk"] for row in rows}
        self._opened = {text: key for text, key in self._opened.items() if text in texts}
        signing, verifying = self._own[0], []
        for row in rows:
            state = KeyState(row["state"])
            key = self._open(row)
            if key is None or not verifies(state):
                continue
            verifying.append(key)
            if state is KeyState.IN_USE:
                signing = key
        keys = (*verifying, *self._own)
        self._issuer.replace(signing, keys)
        if self._on_change is not None:
            self._on_change(keys)

    async def list_keys(self) -> list[SigningKey]:
        """All managed keys, newest first; nothing secret in them."""
        async with self._database.as_service("signing keys", login=AUTH_ADMIN) as tx:
            return [self._show(row) for row in await _list(tx)]

    async def create(self, algorithm: str) -> SigningKey:
        """A new key on standby.  Raises ValidationFailed."""
        if algorithm not in ALGORITHMS:
            raise ValidationFailed(f"algorithm must be one of {', '.join(ALGORITHMS)}")
        key_id = str(uuid.uuid4())
        sealed = self._seal(key_id, make_jwk(algorithm, key_id))
        async with self._database.as_service("new signing key", login=AUTH_ADMIN) as tx:
            await _lock(tx)
            if len(await _list(tx)) >= KEYS_MAX:
                raise ValidationFailed(f"there are {KEYS_MAX} keys already; delete old ones")
            await tx.execute(
                """insert into _selfbase_auth.signing_keys (id, algorithm, state, sealed_jwk)
                   values (%s, %s, 'standby', %s)""",
                [key_id, algorithm, sealed],
            )
            row = next(row for row in await _list(tx) if row["id"] == key_id)
        self._events.emit(SigningKeyChanged(key_id, "standby"))
        await self.load()
        return self._show(row)

    async def move(self, key_id: str, state: str) -> list[SigningKey]:
        """Brings a key into a state; the key in use steps back where another takes its place."""
        try:
            wanted = KeyState(state)
        except ValueError:
            raise ValidationFailed(f"{state[:30]} is not a state of a key") from None
        async with self._database.as_service("signing key changes state", login=AUTH_ADMIN) as tx:
            await _lock(tx)
            states = {row["id"]: KeyState(row["state"]) for row in await _list(tx)}
            steps = plan_move(states, key_id, wanted)
            for step in steps:
                await tx.execute(
                    """update _selfbase_auth.signing_keys set state = %s, updated_at = now()
                       where id = %s""",
                    [step.state.value, step.key_id],
                )
        for step in steps:
            self._events.emit(SigningKeyChanged(step.key_id, step.state.value))
        await self.load()
        return await self.list_keys()

    async def delete(self, key_id: str) -> None:
        """Removes a revoked key.  Raises ValidationFailed for any other."""
        async with self._database.as_service("removal of a signing key", login=AUTH_ADMIN) as tx:
            await _lock(tx)
            gone = await tx.execute(
                "delete from _selfbase_auth.signing_keys where id::text = %s and state = 'revoked'",
                [key_id],
            )
        if not gone:
            raise ValidationFailed("only a revoked key can be deleted")

    def _seal(self, key_id: str, jwk: dict[str, Any]) -> str:
        nonce = secrets.token_bytes(12)
        sealed = self._box.encrypt(nonce, orjson.dumps(jwk), key_id.encode())
        return b64encode(nonce + sealed).decode()

    def _open(self, row: dict[str, Any]) -> Key | None:
        sealed = row["sealed_jwk"]
        if sealed in self._opened:
            return self._opened[sealed]
        raw = b64decode(sealed)
        try:
            text = self._box.decrypt(raw[:12], raw[12:], row["id"].encode())
        except InvalidTag:
            self._events.emit(SigningKeyUnreadable(row["id"]))
            return None
        key = self._opened[sealed] = key_from_jwk(orjson.loads(text))
        return key

    def _show(self, row: dict[str, Any]) -> SigningKey:
        key = self._open(row)
        public = dict(key.public_jwk) if key is not None and key.public_jwk is not None else None
        return SigningKey(
            row["id"], row["algorithm"], row["state"], public, row["created_at"], row["updated_at"]
        )


async def _list(tx: Transaction) -> list[dict[str, Any]]:
    return await tx.fetch_all(
        """select id::text as id, algorithm, state, sealed_jwk, created_at, updated_at
           from _selfbase_auth.signing_keys order by created_at desc, id"""
    )


async def _lock(tx: Transaction) -> None:
    """One change at a time; the new version tells every worker."""
    await tx.execute("update _selfbase_auth.settings set version = version + 1, changed_at = now()")


def make_jwk(algorithm: str, key_id: str) -> dict[str, Any]:
    """A new private JWK."""
    if algorithm == "HS256":
        secret = urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
        jwk: dict[str, Any] = {"kty": "oct", "k": secret}
    elif algorithm == "RS256":
        made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        jwk = RSAAlgorithm.to_jwk(made, as_dict=True)
    elif algorithm == "ES256":
        jwk = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True)
    else:
        jwk = OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate(), as_dict=True)
    return {**jwk, "alg": algorithm, "kid": key_id, "use": "sig", "key_ops": ["sign", "verify"]}
