"""Sign-in messages of Ethereum and Solana wallets: parsing, signatures, and whether one is for us.

Both chains use the same text form.  Sources: EIP-4361 (Sign-In with Ethereum), EIP-191 (personal
messages), EIP-55 is not enforced; Phantom's Sign In With Solana and the Solana off-chain message
format that hardware wallets sign.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Chain = Literal["ethereum", "solana"]
MESSAGE_BYTES_MIN, MESSAGE_BYTES_MAX = 64, 20 * 1024
LINES_MAX = 1000

_PREFIX: Final = {"ethereum": "siwe", "solana": "siws"}
_NAME: Final = {"ethereum": "Ethereum", "solana": "Solana"}
_DOMAIN = re.compile(
    r"(localhost|(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)+[a-zA-Z]{2,})(?::\d{1,5})?"
)
_ADDRESS: Final = {
    "ethereum": re.compile(r"0x[a-fA-F0-9]{40}"),
    "solana": re.compile(r"[1-9A-HJ-NP-Za-km-z]{32,44}"),
}
_SOLANA_CHAIN = re.compile(r"solana:(main|dev|test|local)net")
_TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:\d{2})")
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


class MessageInvalid(Exception):
    """The text is not a sign-in message; the reason is for the caller."""


class MessageRefused(Exception):
    """A well-formed message that must not sign anybody in here and now."""


@dataclass(frozen=True, slots=True)
class Web3Message:
    """A parsed sign-in message.  `raw` is what the wallet signed."""

    raw: str
    chain: Chain
    domain: str
    address: str
    uri: str
    issued_at: datetime
    statement: str | None = None
    chain_id: str = ""
    nonce: str = ""
    request_id: str | None = None
    not_before: datetime | None = None
    expires_at: datetime | None = None
    resources: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """The identity's id.  Ethereum addresses count the same in any case, so that one wallet
        is one account whatever its checksum spelling."""
        return f"web3:{self.chain}:{self.address}"

    def custom_claims(self) -> dict[str, Any]:
        return {
            "address": self.address,
            "chain": self.chain,
            "network": self.chain_id,
            "domain": self.domain,
            "statement": self.statement if self.chain == "ethereum" else self.statement or "",
        }


def parse_message(raw: str, chain: Chain) -> Web3Message:
    """Raises MessageInvalid, its text beginning with `siwe:` or `siws:`."""

    def invalid(reason: str) -> MessageInvalid:
        return MessageInvalid(f"{_PREFIX[chain]}: {reason}")

    lines = raw.split("\n")
    if len(lines) < 6:
        raise invalid("message needs at least 6 lines")
    if len(lines) > LINES_MAX:
        raise invalid("message has too many lines")
    suffix = f" wants you to sign in with your {_NAME[chain]} account:"
    if not lines[0].endswith(suffix):
        raise invalid(f'message first line does not end in "{suffix}"')
    domain = lines[0].removesuffix(suffix).strip()
    if not _DOMAIN.fullmatch(domain):
        raise invalid("domain in first line of message is not valid")
    address = lines[1].strip()
    if not _ADDRESS[chain].fullmatch(address):
        kind = "a valid Ethereum address" if chain == "ethereum" else "in base58 format"
        raise invalid(f"wallet address is not {kind}")
    if lines[2] != "":
        raise invalid("third line must be empty")
    statement, start = (lines[3], 5) if lines[3] != "" and lines[4] == "" else (None, 3)
    fields, resources = _read_fields(lines, start, chain, invalid)
    return _build(raw, chain, domain, address, statement, fields, resources, invalid)


def _read_fields(
    lines: list[str], start: int, chain: Chain, invalid: Callable[[str], MessageInvalid]
) -> tuple[dict[str, str], tuple[str, ...]]:
    fields: dict[str, str] = {}
    resources: list[str] = []
    in_resources = False
    for index in range(start, len(lines)):
        line = lines[index].strip()
        if in_resources and line.startswith("- "):
            resource = line.removeprefix("- ").strip()
            if not _is_uri(resource):
                raise invalid(f"Resource at position {len(resources)} has invalid URI")
            resources.append(resource)
            continue
        in_resources = line == "Resources:"
        if in_resources or line == "":
            continue
        key, found, value = line.partition(":")
        if not found:
            raise invalid(f"encountered unparsable line at index {index}")
        if key in fields:
            # Two values for one name: what the person saw is not what would count.
            raise invalid(f"{key} is given twice")
        fields[key] = value.strip()
    return fields, tuple(resources)


def _build(
    raw: str,
    chain: Chain,
    domain: str,
    address: str,
    statement: str | None,
    fields: dict[str, str],
    resources: tuple[str, ...],
    invalid: Callable[[str], MessageInvalid],
) -> Web3Message:
    uri, chain_id = fields.get("URI", ""), fields.get("Chain ID", "")
    if "URI" in fields and not _is_uri(uri):
        raise invalid("URI is not valid")
    if "Chain ID" in fields and not _is_chain_id(chain_id, chain):
        raise invalid("Chain ID is not valid")

    def moment(name: str) -> datetime | None:
        if name not in fields:
            return None
        parsed = _parse_timestamp(fields[name])
        if parsed is None:
            raise invalid(f"{name} is not a valid ISO8601 timestamp")
        return parsed

    issued, expires, starts = moment("Issued At"), moment("Expiration Time"), moment("Not Before")
    if fields.get("Version", "") != "1":
        version = fields.get("Version", "")
        raise invalid(f'Version value is not supported, expected 1 got "{version}"')
    if issued is None:
        raise invalid("Issued At is not specified")
    if not uri:
        raise invalid("URI is not specified")
    if expires is not None and issued > expires:
        raise invalid("Issued At is after Expiration Time")
    if starts is not None and expires is not None and starts > expires:
        raise invalid("Not Before is after Expiration Time")
    return Web3Message(
        raw=raw,
        chain=chain,
        domain=domain,
        address=address,
        uri=uri,
        issued_at=issued,
        statement=statement,
        chain_id=chain_id,
        nonce=fields.get("Nonce", ""),
        request_id=fields.get("Request ID"),
        not_before=starts,
        expires_at=expires,
        resources=resources,
    )


def _is_uri(text: str) -> bool:
    if any(char.isspace() for char in text):
        return False
    try:
        parts = urlsplit(text)
        return bool(parts.scheme or text.startswith("/")) and parts.port != 0
    except ValueError:
        return False


def _is_chain_id(text: str, chain: Chain) -> bool:
    if chain == "solana":
        return text == "" or bool(_SOLANA_CHAIN.fullmatch(text))
    return text.isascii() and text.isdecimal() and len(text) < 30 and int(text) > 0


def _parse_timestamp(text: str) -> datetime | None:
    if not _TIMESTAMP.fullmatch(text):
        return None
    try:
        # Python knows microseconds only; finer digits do not matter here.
        return datetime.fromisoformat(re.sub(r"(\.\d{1,6})\d*", r"\1", text)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def parse_signature(text: str, chain: Chain) -> bytes:
    """The signature's bytes: 65 in hexadecimal for Ethereum, 64 in base64 or base64url for Solana.
    Raises MessageInvalid."""
    if chain == "ethereum":
        digits = text.removeprefix("0x")
        if len(digits) != 130:
            raise MessageInvalid(
                "signature must be 65 bytes long, encoded as a 130 character-long hexadecimal string"
            )
        try:
            return bytes.fromhex(digits) if digits.isalnum() else b""
        except ValueError:
            return b""
    if len(text) not in (86, 88):
        raise MessageInvalid("signature must be 64 bytes encoded as base64 with or without padding")
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except ValueError:
        raise MessageInvalid("signature does not contain valid base64 characters") from None


def is_signed_by_address(message: Web3Message, signature: bytes) -> bool:
    """Whether the address in the message signed it.  False for anything malformed."""
    if message.chain == "ethereum":
        return _recover_ethereum(message.raw, signature) == message.address.lower()
    return _verify_solana(message, signature)


def _keccak(data: bytes) -> bytes:
    # Here and below, because these libraries are large and few projects know wallets.
    from Crypto.Hash import keccak

    return keccak.new(digest_bits=256, data=data).digest()


def _recover_ethereum(raw: str, signature: bytes) -> str | None:
    if len(signature) != 65:
        return None
    from coincurve import PublicKey

    recovery = signature[64] - 27 if signature[64] >= 27 else signature[64]
    if recovery not in (0, 1):
        return None
    data = raw.encode()
    digest = _keccak(b"\x19Ethereum Signed Message:\n" + str(len(data)).encode() + data)
    try:
        key = PublicKey.from_signature_and_message(
            signature[:64] + bytes([recovery]), digest, hasher=None
        )
    except Exception:  # the library raises bare Exception for a bad signature
        return None
    return "0x" + _keccak(key.format(compressed=False)[1:])[12:].hex()


def _verify_solana(message: Web3Message, signature: bytes) -> bool:
    raw_key = decode_base58(message.address)
    if raw_key is None or len(raw_key) != 32 or len(signature) != 64:
        return False
    raw = message.raw.encode()
    candidates = [raw]
    if len(raw) <= 0xFFFF:
        # What a Ledger signs in its place: the off-chain message envelope around the same text.
        domain = message.domain.encode()[:32].ljust(32, b"\0")
        header = b"\xffsolana offchain\x00" + domain + b"\x00\x01" + raw_key
        candidates.append(header + len(raw).to_bytes(2, "little") + raw)
    try:
        key = Ed25519PublicKey.from_public_bytes(raw_key)
    except ValueError:
        return False
    for candidate in candidates:
        try:
            key.verify(signature, candidate)
        except InvalidSignature:
            continue
        return True
    return False


def decode_base58(text: str) -> bytes | None:
    """Bitcoin's base58; None for a character outside the alphabet."""
    number = 0
    for char in text:
        digit = _BASE58.find(char)
        if digit < 0:
            return None
        number = number * 58 + digit
    body = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return b"\0" * (len(text) - len(text.lstrip("1"))) + body


def encode_base58(data: bytes) -> str:
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def judge_message(
    message: Web3Message,
    now: datetime,
    *,
    max_age: timedelta,
    is_redirect_allowed: Callable[[str], bool],
) -> None:
    """Whether a message whose signature holds may sign in here and now.  Raises MessageRefused."""
    name = _NAME[message.chain]
    parts = urlsplit(message.uri)
    if parts.scheme != "https" and parts.hostname != "localhost":
        raise MessageRefused(f"Signed {name} message is using URI which does not use HTTPS")
    if not is_redirect_allowed(message.uri):
        raise MessageRefused(
            f"Signed {name} message is using URI which is not allowed on this server,"
            " message was signed for another app"
        )
    if parts.hostname != "localhost" and (
        parts.netloc != message.domain or not is_redirect_allowed(f"https://{message.domain}/")
    ):
        raise MessageRefused(
            f"Signed {name} message is using a Domain that does not match the one in URI"
            " which is not allowed on this server"
        )
    if message.not_before is not None and now < message.not_before:
        raise MessageRefused(f"Signed {name} message becomes valid in the future")
    if message.expires_at is not None and now > message.expires_at:
        raise MessageRefused(f"Signed {name} message is expired")
    if now > message.issued_at + max_age:
        raise MessageRefused(f"{name} message was issued too long ago")
    if now < message.issued_at - max_age:
        raise MessageRefused(f"{name} message was issued too far in the future")


def replay_key(message: Web3Message) -> str:
    """What identifies one signed message, to accept it once.  Not reversible to its text."""
    return hashlib.sha256(f"{message.chain}\n{message.raw}".encode()).hexdigest()
