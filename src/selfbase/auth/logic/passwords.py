"""Password rules and stored hash formats: what a password must hold, and how a hash is read.

Source: reference sections 4.8 and 6; PHC string format; Firebase's modified scrypt.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass

from selfbase.auth.errors import ValidationFailed

BYTES_MAX = 72
LENGTH_FLOOR = 6


def parse_character_sets(text: str) -> tuple[str, ...]:
    r"""Sets separated by `:`; `\:` is a colon inside a set."""
    sets: list[str] = [""]
    index = 0
    while index < len(text):
        if text[index] == "\\" and text[index + 1 : index + 2] == ":":
            sets[-1] += ":"
            index += 2
            continue
        if text[index] == ":":
            sets.append("")
        else:
            sets[-1] += text[index]
        index += 1
    return tuple(part for part in sets if part)


def find_weaknesses(
    password: str, *, length_min: int, sets: Sequence[str]
) -> tuple[list[str], list[str]]:
    """The reasons (`length`, `characters`) and the sentences for people."""
    reasons: list[str] = []
    words: list[str] = []
    floor = max(length_min, LENGTH_FLOOR)
    if len(password) < floor:
        reasons.append("length")
        words.append(f"Password should be at least {floor} characters.")
    if any(not set(password) & set(one) for one in sets):
        reasons.append("characters")
        listed = ", ".join(sets)
        words.append(f"Password should contain at least one character of each: {listed}.")
    return reasons, words


def check_length(password: str) -> None:
    """bcrypt sees 72 bytes only; more would be ignored without a word."""
    if len(password.encode()) > BYTES_MAX:
        raise ValidationFailed(f"Password cannot be longer than {BYTES_MAX} characters")


_BCRYPT = re.compile(r"^\$2[abxy]?\$(\d\d)\$[./A-Za-z0-9]{53}$")
_ARGON2 = re.compile(
    r"^\$(argon2id?|argon2i)\$v=19\$m=(\d{1,8}),t=(\d{1,3}),p=(\d{1,3})"
    r"\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{16,172})$"
)
_FIREBASE = re.compile(
    r"^\$fbscrypt\$v=1,n=(\d{1,2}),r=(\d{1,3}),p=(\d{1,3})(?:,ss=([A-Za-z0-9+/=]*))?,sk=([A-Za-z0-9+/=]+)"
    r"\$([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+)$"
)
_ARGON_MEMORY_KIB_MAX, _ARGON_TIME_MAX, _ARGON_LANES_MAX = 1024 * 1024, 20, 16
_SCRYPT_BYTES_MAX = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Bcrypt:
    cost: int


@dataclass(frozen=True, slots=True)
class Argon2:
    kind: str


@dataclass(frozen=True, slots=True)
class FirebaseScrypt:
    """Parameters of Firebase's scrypt; `n` is the exponent of the cost."""

    n: int
    r: int
    p: int
    salt_separator: bytes
    signer_key: bytes
    salt: bytes
    hash: bytes

    @property
    def memory_bytes(self) -> int:
        return int(128 * 2**self.n * self.r)


HashFormat = Bcrypt | Argon2 | FirebaseScrypt


def parse_hash(text: str) -> HashFormat | None:
    """The format of a stored or imported hash, its costs within limits; None for anything else."""
    if match := _BCRYPT.match(text):
        cost = int(match[1])
        return Bcrypt(cost) if 4 <= cost <= 16 else None
    if match := _ARGON2.match(text):
        memory, time, lanes = int(match[2]), int(match[3]), int(match[4])
        fits = 8 <= memory <= _ARGON_MEMORY_KIB_MAX and 1 <= time <= _ARGON_TIME_MAX
        return Argon2(match[1]) if fits and 1 <= lanes <= _ARGON_LANES_MAX else None
    if match := _FIREBASE.match(text):
        try:
            parts = [b64decode(match[i] or "", validate=True) for i in (4, 5, 6, 7)]
        except ValueError:
            return None
        found = FirebaseScrypt(int(match[1]), int(match[2]), int(match[3]), *parts)
        fits = 1 <= found.n <= 20 and found.memory_bytes <= _SCRYPT_BYTES_MAX
        key_fits = len(found.signer_key) > 0 and found.salt != b""
        return found if fits and key_fits and found.r >= 1 and 1 <= found.p <= 16 else None
    return None
