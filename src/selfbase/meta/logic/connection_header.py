"""The encrypted connection header: which database a request is meant for.

The value is what CryptoJS writes in passphrase mode, that is OpenSSL's salted format: base64 of
`Salted__`, eight bytes of salt, and AES-256-CBC with a key derived by EVP_BytesToKey (MD5, one
round).  It keeps a URL from casual eyes and is no authentication.
Source: reference/meta.md section 1; OpenSSL EVP_BytesToKey(3).
"""

from __future__ import annotations

import binascii
import hashlib
from base64 import b64decode
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from selfbase.meta.errors import ConnectionMissing, ConnectionUnreadable

_MAGIC = b"Salted__"
_BLOCK_BITS = 128


def decrypt_connection(value: str, passphrase: str) -> str:
    """The URL inside the header.  Raises ConnectionUnreadable, ConnectionMissing."""
    try:
        raw = b64decode(value, validate=True)
        if not raw.startswith(_MAGIC) or len(raw) < 32:
            raise ConnectionUnreadable
        decryptor = make_cipher(passphrase, raw[8:16]).decryptor()
        padded = decryptor.update(raw[16:]) + decryptor.finalize()
        unpadder = padding.PKCS7(_BLOCK_BITS).unpadder()
        text = (unpadder.update(padded) + unpadder.finalize()).decode().strip()
    except (ValueError, binascii.Error):
        raise ConnectionUnreadable from None
    if not text:
        raise ConnectionMissing
    check_connection_url(text)
    return text


def check_connection_url(text: str) -> None:
    """Raises ConnectionUnreadable when `text` is not a Postgres URL with a host."""
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018  # raises ValueError for a port that is no number
    except ValueError:
        raise ConnectionUnreadable from None
    if parts.scheme not in {"postgres", "postgresql"} or not parts.hostname:
        raise ConnectionUnreadable


def make_cipher(passphrase: str, salt: bytes) -> Cipher[modes.CBC]:
    """AES-256-CBC with key and initial vector derived from the passphrase and the salt."""
    derived = b""
    block = b""
    while len(derived) < 48:
        # MD5 is what the format prescribes; nothing here relies on it being strong.
        block = hashlib.md5(block + passphrase.encode() + salt, usedforsecurity=False).digest()
        derived += block
    return Cipher(algorithms.AES(derived[:32]), modes.CBC(derived[32:48]))
