"""Proof Key for Code Exchange (RFC 7636): challenges clients send and verifiers they show."""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass

from selfbase.auth.errors import AuthFailure, ValidationFailed
from selfbase.auth.types import FlowState

_CHALLENGE = re.compile(r"^[A-Za-z0-9._~-]{43,128}$")
METHODS = frozenset({"s256", "plain"})


@dataclass(frozen=True, slots=True)
class Challenge:
    """`method` is s256 or plain."""

    challenge: str
    method: str


def parse_challenge(challenge: str, method: str) -> Challenge | None:
    """What the client sent; None when it sent neither.  Raises ValidationFailed."""
    if not challenge and not method:
        return None
    if not challenge or not method:
        raise ValidationFailed("PKCE flow requires code_challenge_method and code_challenge")
    if not _CHALLENGE.match(challenge):
        raise ValidationFailed(
            "code challenge has to be between 43 and 128 characters and hold only letters,"
            " digits and - . _ ~"
        )
    lowered = method.lower()
    if lowered not in METHODS:
        raise ValidationFailed("code challenge method must be s256 or plain")
    return Challenge(challenge, lowered)


def check_verifier(flow: FlowState, verifier: str) -> None:
    """Raises bad_code_verifier unless `verifier` is what the flow's challenge was made from."""
    challenge = flow.code_challenge or ""
    shown = verifier
    if flow.code_challenge_method == "s256":
        digest = hashlib.sha256(verifier.encode()).digest()
        shown = urlsafe_b64encode(digest).rstrip(b"=").decode()
    if not challenge or not hmac.compare_digest(shown.encode(), challenge.encode()):
        raise AuthFailure(
            "code challenge does not match previously saved code verifier",
            code="bad_code_verifier", status=400,
        )  # fmt: skip
