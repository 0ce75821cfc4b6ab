"""Values sealed in a column: JSON text with the ciphertext and the name of its key.

AES-256-GCM with a key derived from the master key for each row (HKDF-SHA256, the row's id as
info), so that a sealed value means nothing in another row.  Values that are not sealed are read as
they are.  Source: reference/auth.md section 4.8, for databases that come from upstream.
"""

from __future__ import annotations

from base64 import b64decode, b64encode, urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

ALGORITHM = "aes-gcm-hkdf"
KEY_BYTES, NONCE_BYTES = 32, 12


class SealBroken(Exception):
    """A sealed value cannot be opened with the keys there are; the text holds no secret."""


@dataclass(frozen=True, slots=True)
class SealKeys:
    """`writing` names the key new values are sealed with; empty leaves them open.  `keys` are 32
    bytes each, by name."""

    writing: str = ""
    keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)


def parse_seal_keys(
    *, encrypt: bool, key_id: str, key: str, decryption_keys: Mapping[str, str]
) -> SealKeys:
    """From base64url texts.  Raises ValueError naming the key, never its text."""
    texts = {**decryption_keys, **({key_id: key} if key_id and key else {})}
    keys: dict[str, bytes] = {}
    for name, text in texts.items():
        try:
            raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except ValueError:
            raw = b""
        if len(raw) != KEY_BYTES:
            raise ValueError(f"encryption key {name} is not {KEY_BYTES} bytes in base64url")
        keys[name] = raw
    if encrypt and key_id not in keys:
        raise ValueError("encryption is on without a key to encrypt with")
    return SealKeys(key_id if encrypt else "", keys)


def parse_key_list(text: str) -> dict[str, str]:
    """Keys by name from `id:key,…`."""
    pairs = (item.strip().partition(":") for item in text.split(",") if item.strip())
    return {name: key for name, _, key in pairs}


def _row_key(master: bytes, row_id: str) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=row_id.encode()).derive(master)


def seal(plain: str, row_id: str, keys: SealKeys, nonce: bytes) -> str:
    """The value as it is stored; unchanged where nothing is to be sealed."""
    if not keys.writing:
        return plain
    cipher = AESGCM(_row_key(keys.keys[keys.writing], row_id)).encrypt(nonce, plain.encode(), None)
    return orjson.dumps(
        {
            "key_id": keys.writing,
            "alg": ALGORITHM,
            "data": b64encode(cipher).decode(),
            "nonce": b64encode(nonce).decode(),
        }
    ).decode()


def unseal(stored: str, row_id: str, keys: SealKeys) -> str:
    """The value itself.  Raises SealBroken."""
    if not stored.startswith("{"):
        return stored
    try:
        parts = orjson.loads(stored)
        key_id, cipher = str(parts["key_id"]), b64decode(parts["data"])
        nonce, algorithm = b64decode(parts["nonce"]), parts["alg"]
    except (ValueError, KeyError, TypeError):
        raise SealBroken("not a sealed value") from None
    if algorithm != ALGORITHM:
        raise SealBroken("sealed in an unknown way")
    master = keys.keys.get(key_id)
    if master is None:
        raise SealBroken(f"no key of the name {key_id[:100]}")
    try:
        return AESGCM(_row_key(master, row_id)).decrypt(nonce, cipher, None).decode()
    except (InvalidTag, ValueError):
        raise SealBroken("the value does not belong to this row and key") from None
