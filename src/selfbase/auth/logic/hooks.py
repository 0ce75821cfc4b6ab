"""What a hook's answer means, and the Standard Webhooks signature (version 1.0)."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from typing import Any

from selfbase.auth.errors import HookFailure, UnexpectedFailure


def read_hook_answer(answer: Any) -> dict[str, Any]:
    """The answer as an object.  Raises HookFailure with the hook's own words when it refuses."""
    if answer is None:
        return {}
    if not isinstance(answer, dict):
        raise UnexpectedFailure("Hook output must be a JSON object")
    error = answer.get("error")
    if isinstance(error, dict) and (error.get("message") or error.get("http_code")):
        status = error.get("http_code")
        valid = isinstance(status, int) and not isinstance(status, bool) and 400 <= status <= 599
        raise HookFailure(str(error.get("message") or ""), status=status if valid else 500)
    return answer


def parse_secrets(text: str) -> list[bytes]:
    """The keys of `v1,whsec_<base64>|v1,whsec_<base64>`.  Raises ValueError."""
    keys = []
    for part in filter(None, text.split("|")):
        if not part.startswith("v1,whsec_"):
            raise ValueError("a hook secret starts with v1,whsec_")
        keys.append(b64decode(part.removeprefix("v1,whsec_"), validate=True))
    return keys


def sign_webhook(secrets: str, message_id: str, timestamp: str, body: bytes) -> str:
    """The value of `webhook-signature`: one signature for each secret."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    try:
        keys = parse_secrets(secrets)
    except ValueError:
        raise UnexpectedFailure("The secret of a hook is not usable") from None
    digests = [hmac.new(key, signed, hashlib.sha256).digest() for key in keys]
    return ", ".join("v1," + b64encode(digest).decode() for digest in digests)
