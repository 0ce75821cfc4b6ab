"""E-mail addresses and phone numbers: how they are written and which are taken."""

from __future__ import annotations

import re

from selfbase.auth.errors import AuthFailure, ValidationFailed

EMAIL_CHARS_MAX = 255
_EMAIL = re.compile(
    r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)"
    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$"
)
_PHONE = re.compile(r"^[1-9][0-9]{1,14}$")
_MISTYPED = frozenset({
    "gmial.com", "gmai.com", "gamil.com", "gmali.com", "gnail.com", "gmaill.com", "gmail.co",
    "hotmial.com", "hotmai.com", "yaho.com", "outlok.com", "example.com", "example.net",
    "example.org", "test.com",
})  # fmt: skip


def parse_email(text: str, *, extended: bool = False) -> str:
    """The address in lower case.  Raises ValidationFailed, or email_address_invalid when the
    extended check refuses the domain."""
    address = text.strip()
    if not address:
        raise ValidationFailed("An email address is required")
    if len(address) > EMAIL_CHARS_MAX:
        raise ValidationFailed("An email address is too long")
    if not _EMAIL.match(address) or ".." in address or ".@" in address or address.startswith("."):
        raise ValidationFailed("Unable to validate email address: invalid format")
    address = address.lower()
    domain = address.rpartition("@")[2]
    if extended and ("." not in domain or domain in _MISTYPED):
        raise AuthFailure(
            f'Email address "{address}" is invalid', code="email_address_invalid", status=400
        )
    return address


def parse_phone(text: str) -> str:
    """The number's digits without `+` and spaces.  Raises ValidationFailed."""
    digits = text.strip().removeprefix("+").replace(" ", "")
    if not _PHONE.match(digits):
        raise ValidationFailed("Invalid phone number format (E.164 required)")
    return digits
