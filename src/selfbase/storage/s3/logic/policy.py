"""The policy of a POST form: what it allows, and whether a form keeps to it.

Source: Amazon S3 API reference, "Creating a POST policy".
"""

from __future__ import annotations

import hmac
import json
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from selfbase.storage.s3.errors import (
    S3Error,
    SignatureDoesNotMatch,
    SignatureRefused,
)
from selfbase.storage.s3.logic.signature import Scope, derive_key, sign


class InvalidPolicy(S3Error):
    code = "InvalidPolicyDocument"
    message = (
        "The content of the form does not meet the conditions specified in the policy document."
    )


@dataclass(frozen=True, slots=True)
class Condition:
    """`exact` or a prefix that the value of a field must have."""

    field: str
    value: str
    exact: bool


@dataclass(frozen=True, slots=True)
class Policy:
    """`length_range` are the smallest and largest size of the file, if it says."""

    expires_at: datetime
    conditions: tuple[Condition, ...]
    length_range: tuple[int, int] | None


# They carry the proof itself, or name it; `file` is what the policy is about.
_UNCOVERED = frozenset({"policy", "x-amz-signature", "file"})
_VALUES_MAX = 200


def parse_policy(encoded: str) -> Policy:
    """A policy from its base64 JSON.  Raises InvalidPolicy."""
    try:
        document = json.loads(b64decode(encoded, validate=True))
        expires_at = datetime.fromisoformat(str(document["expiration"]))
        raw = document["conditions"]
    except (Base64Error, ValueError, KeyError, TypeError, RecursionError):
        raise InvalidPolicy("Invalid Policy: it is not a JSON policy with an expiration.") from None
    if expires_at.tzinfo is None:
        expires_at = expires_at.replace(tzinfo=UTC)
    if not isinstance(raw, list) or len(raw) > _VALUES_MAX:
        raise InvalidPolicy("Invalid Policy: conditions must be a list.")
    conditions: list[Condition] = []
    length_range: tuple[int, int] | None = None
    for item in raw:
        if isinstance(item, dict):
            for name, value in item.items():
                conditions.append(Condition(str(name).lower(), _text(value), True))
        elif _is_triple(item) and str(item[0]).lower() == "content-length-range":
            low, high = _number(item[1]), _number(item[2])
            if length_range is not None:
                low, high = max(low, length_range[0]), min(high, length_range[1])
            length_range = (low, high)
        elif _is_triple(item) and str(item[0]).lower() in ("eq", "starts-with"):
            name = str(item[1])
            if not name.startswith("$"):
                raise InvalidPolicy("Invalid Policy: a condition must name a $field.")
            exact = str(item[0]).lower() == "eq"
            conditions.append(Condition(name[1:].lower(), _text(item[2]), exact))
        else:
            raise InvalidPolicy("Invalid Policy: an unknown condition.")
    return Policy(expires_at, tuple(conditions), length_range)


def _is_triple(item: object) -> bool:
    return isinstance(item, list) and len(item) == 3


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidPolicy("Invalid Policy: a condition must compare with a text.")
    return value


def _number(value: object) -> int:
    text = str(value)
    if isinstance(value, bool) or not (text.isascii() and text.isdigit()) or len(text) > 15:
        raise InvalidPolicy("Invalid Policy: content-length-range must have two numbers.")
    return int(text)


def check_policy(policy: Policy, fields: Mapping[str, str], bucket: str, now: datetime) -> None:
    """`fields` by lower-case name.  Raises SignatureRefused, InvalidPolicy."""
    if policy.expires_at <= now:
        raise SignatureRefused("Invalid according to Policy: Policy expired.")
    values = {**fields, "bucket": bucket}
    for condition in policy.conditions:
        given = values.get(condition.field, "")
        held = given == condition.value if condition.exact else given.startswith(condition.value)
        if not held:
            raise SignatureRefused(
                f"Invalid according to Policy: Policy Condition failed: {condition.field[:100]}"
            )
    covered = {condition.field for condition in policy.conditions} | _UNCOVERED
    for name in values:
        if name not in covered and name != "bucket" and not name.startswith("x-ignore-"):
            raise SignatureRefused(f"Invalid according to Policy: Extra input fields: {name[:100]}")
    if "bucket" not in covered:
        raise SignatureRefused("Invalid according to Policy: the bucket is not covered.")


def check_policy_signature(encoded: str, secret: str, scope: Scope, given: str) -> None:
    """Raises SignatureDoesNotMatch."""
    expected = sign(derive_key(secret, scope), encoded)
    if not hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace")):
        raise SignatureDoesNotMatch
