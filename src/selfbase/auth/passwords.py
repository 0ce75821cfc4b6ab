"""Hashing and verifying passwords in a small capped pool of threads.

bcrypt and argon2 release the interpreter while they compute, so other requests go on meanwhile.
The queue in front of the pool is bounded: beyond it callers are told to come back.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

import argon2
import bcrypt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from selfbase.auth.errors import OverRequestRateLimit
from selfbase.auth.logic.passwords import (
    BYTES_MAX,
    Argon2,
    Bcrypt,
    FirebaseScrypt,
    parse_hash,
)

T = TypeVar("T")
WAITING_MAX = 500


class Passwords:
    """A pool of threads for password hashes."""

    def __init__(self, threads_max: int = 2, *, waiting_max: int = WAITING_MAX) -> None:
        self._pool = ThreadPoolExecutor(
            threads_max, thread_name_prefix="auth-hash", initializer=_step_back
        )
        self._waiting = 0
        self._waiting_max = waiting_max
        self._decoys: dict[int, bytes] = {}

    async def hash(self, password: str, cost: int) -> str:
        """A bcrypt hash.  The caller has checked the length."""
        return await self._run(lambda: _hash(password, cost))

    async def verify(self, password: str, stored: str) -> bool:
        """Whether the password fits a stored hash of any known format."""
        return await self._run(lambda: verify_hash(password, stored))

    async def verify_nothing(self, password: str, cost: int) -> None:
        """Spends as long as `verify` would: for accounts that are not there."""
        decoy = self._decoys.get(cost)
        if decoy is None:
            decoy = (await self.hash(secrets.token_urlsafe(24), cost)).encode()
            self._decoys[cost] = decoy
        await self._run(lambda: bcrypt.checkpw(password.encode()[:BYTES_MAX], decoy))

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= self._waiting_max:
            raise OverRequestRateLimit(headers=[("Retry-After", "5")])
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1


def _step_back() -> None:
    """Hashing takes what the machine has left: requests that only read go first."""
    if hasattr(os, "setpriority"):
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 2)


def _hash(password: str, cost: int) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


def verify_hash(password: str, stored: str) -> bool:
    """Blocking; for the threads of the pool."""
    found = parse_hash(stored)
    secret = password.encode()
    if isinstance(found, Bcrypt):
        # PHP writes $2y$, some tools $2x$ or $2$: the same function under another letter.
        known = (
            "$2b$" + stored.split("$", 2)[2] if not stored.startswith(("$2a$", "$2b$")) else stored
        )
        return len(secret) <= BYTES_MAX and bcrypt.checkpw(secret, known.encode())
    if isinstance(found, Argon2):
        try:
            return bool(argon2.PasswordHasher().verify(stored, password))
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False
    if isinstance(found, FirebaseScrypt):
        return hmac.compare_digest(_firebase_hash(secret, found), found.hash)
    return False


def _firebase_hash(secret: bytes, given: FirebaseScrypt) -> bytes:
    key = hashlib.scrypt(
        secret,
        salt=given.salt + given.salt_separator,
        n=2**given.n,
        r=given.r,
        p=given.p,
        maxmem=given.memory_bytes * 2 + 1024 * 1024,
        dklen=32,
    )
    # The format is Firebase's: the signer key encrypted under the derived key, counter from zero.
    encryptor = Cipher(algorithms.AES(key), modes.CTR(b"\x00" * 16)).encryptor()
    return encryptor.update(given.signer_key) + encryptor.finalize()
