"""Time-based one-time passwords: secrets, URIs, codes, and which step a code belongs to.

Sources: RFC 6238, RFC 4226; the `otpauth` key URI format of authenticator apps.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b32decode, b32encode
from io import BytesIO
from urllib.parse import quote, urlencode

import segno

PERIOD_S = 30
DIGITS = 6
SECRET_BYTES = 20
QR_MODULE_PIXELS = 3


def encode_secret(entropy: bytes) -> str:
    """Base32 without padding, as apps expect it."""
    return b32encode(entropy).decode().rstrip("=")


def decode_secret(secret: str) -> bytes:
    """Raises ValueError."""
    text = secret.strip().upper()
    return b32decode(text + "=" * (-len(text) % 8))


def code_at(secret: str, step: int) -> str:
    """The code of one time step (RFC 4226 section 5.3)."""
    digest = hmac.new(decode_secret(secret), step.to_bytes(8, "big"), hashlib.sha1).digest()
    offset = digest[-1] & 0x0F
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return str(number % 10**DIGITS).zfill(DIGITS)


def step_at(now_s: float) -> int:
    return int(now_s // PERIOD_S)


def find_step(secret: str, code: str, now_s: float, *, after: int | None = None) -> int | None:
    """The time step whose code this is: the present one or a neighbour, later than `after`.

    None when there is no such step: `after` is the last step accepted, so that a code seen over a
    shoulder does not work a second time.  Takes the same time for every wrong code.
    """
    given = code.strip().encode()
    present = step_at(now_s)
    found: int | None = None
    for step in (present - 1, present, present + 1):
        matches = step >= 0 and hmac.compare_digest(code_at(secret, step).encode(), given)
        if matches and (after is None or step > after):
            found = step
    return found


def render_uri(secret: str, *, issuer: str, account: str) -> str:
    """The `otpauth://` address an app reads from the QR code."""
    label = quote(f"{issuer}:{account}", safe=":@")
    query = urlencode(
        {
            "algorithm": "SHA1",
            "digits": DIGITS,
            "issuer": issuer,
            "period": PERIOD_S,
            "secret": secret,
        },
        quote_via=quote,
    )
    return f"otpauth://totp/{label}?{query}"


def render_qr_svg(text: str) -> str:
    """The text as a QR code: a bare SVG document, as clients put it behind a data prefix."""
    out = BytesIO()
    segno.make(text, error="h", micro=False).save(
        out, kind="svg", scale=QR_MODULE_PIXELS, border=4, light="#fff", xmldecl=False, svgns=True
    )
    return out.getvalue().decode().strip()
