"""Wallet sign-in messages: parsing, signatures, and messages that must not sign in."""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from coincurve import PrivateKey
from Crypto.Hash import keccak
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from selfbase.auth.logic.web3 import (
    Chain,
    MessageInvalid,
    MessageRefused,
    decode_base58,
    encode_base58,
    is_signed_by_address,
    judge_message,
    parse_message,
    parse_signature,
)

ISSUED = datetime(2026, 1, 1, tzinfo=UTC)
ETH_KEY = PrivateKey(b"\x11" * 32)
SOL_KEY = Ed25519PrivateKey.from_private_bytes(b"\x22" * 32)


def keccak256(data: bytes) -> bytes:
    return keccak.new(digest_bits=256, data=data).digest()


ETH_ADDRESS = "0x" + keccak256(ETH_KEY.public_key.format(compressed=False)[1:])[12:].hex()
SOL_ADDRESS = encode_base58(SOL_KEY.public_key().public_bytes_raw())


def message(chain: Chain = "ethereum", **fields: str | None) -> str:
    name, address = ("Ethereum", ETH_ADDRESS) if chain == "ethereum" else ("Solana", SOL_ADDRESS)
    values = {
        "URI": "https://app.example.com/login", "Version": "1",
        "Chain ID": "1" if chain == "ethereum" else "solana:mainnet",
        "Nonce": "12345678", "Issued At": "2026-01-01T00:00:00.000Z", **fields,
    }  # fmt: skip
    head = f"app.example.com wants you to sign in with your {name} account:\n{address}\n\nHello\n\n"
    return head + "\n".join(f"{k}: {v}" for k, v in values.items() if v is not None)


def sign_ethereum(text: str, key: PrivateKey = ETH_KEY) -> str:
    data = text.encode()
    digest = keccak256(b"\x19Ethereum Signed Message:\n" + str(len(data)).encode() + data)
    raw = key.sign_recoverable(digest, hasher=None)
    return "0x" + (raw[:64] + bytes([raw[64] + 27])).hex()


def test_a_known_ethereum_signature() -> None:
    """A published example of EIP-4361 tooling."""
    text = (
        "example.com wants you to sign in with your Ethereum account:\n"
        "0x196a28d05bA75C8dC35B0F6e71DD622D1aC82b7E\n\nSign in to Example App\n\n"
        "URI: https://example.com\nVersion: 1\nChain ID: 1\nNonce: 12345678\n"
        "Issued At: 2025-01-01T00:00:00.000Z"
    )
    signature = (
        "0xee337880f195524c156b8cc5f425ffcedb9d94638a91fa41ba72e26d93f04c9d"
        "1c7bca7020071c34ef7527ed6389ee24b59de79deab4e9e8251e6ca1e195a56a1b"
    )
    parsed = parse_message(text, "ethereum")
    assert parsed.statement == "Sign in to Example App"
    assert is_signed_by_address(parsed, parse_signature(signature, "ethereum"))


def test_ethereum_signatures() -> None:
    text = message()
    parsed = parse_message(text, "ethereum")
    good = parse_signature(sign_ethereum(text), "ethereum")
    assert is_signed_by_address(parsed, good)
    assert is_signed_by_address(parsed, good[:64] + bytes([good[64] - 27]))
    other = parse_signature(sign_ethereum(text, PrivateKey(b"\x33" * 32)), "ethereum")
    assert not is_signed_by_address(parsed, other)
    changed = parse_message(message(Nonce="87654321"), "ethereum")
    assert not is_signed_by_address(changed, good)
    for bad in (b"", b"\0" * 65, b"\xff" * 65, good[:64] + b"\x05", good[:64] + b"\x1d"):
        assert not is_signed_by_address(parsed, bad)


def test_solana_signatures_plain_and_by_ledger() -> None:
    text = message("solana")
    parsed = parse_message(text, "solana")
    plain = SOL_KEY.sign(text.encode())
    encoded = b64encode(plain).decode()
    assert parse_signature(encoded, "solana") == plain
    assert (
        parse_signature(encoded.rstrip("=").replace("+", "-").replace("/", "_"), "solana") == plain
    )
    assert is_signed_by_address(parsed, plain)
    envelope = (
        b"\xffsolana offchain\x00" + b"app.example.com".ljust(32, b"\0") + b"\x00\x01"
        + SOL_KEY.public_key().public_bytes_raw() + len(text).to_bytes(2, "little") + text.encode()
    )  # fmt: skip
    assert is_signed_by_address(parsed, SOL_KEY.sign(envelope))
    assert not is_signed_by_address(parsed, Ed25519PrivateKey.generate().sign(text.encode()))
    assert not is_signed_by_address(parsed, b"\0" * 64)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "needs at least 6 lines"),
        ("x\n\n\n\n\n\n", "first line"),
        (message().replace("app.example.com wants", "*** wants"), "domain"),
        (message().replace(ETH_ADDRESS, "0x12"), "wallet address"),
        (message().replace("\n\nHello", "\nx\nHello"), "third line"),
        (message(Version="2"), "Version"),
        (message(URI=None), "URI is not specified"),
        (message(URI="***"), "URI is not valid"),
        (message(**{"Issued At": None}), "Issued At is not specified"),
        (message(**{"Issued At": "yesterday"}), "Issued At is not a valid"),
        (message(**{"Expiration Time": "2025-01-01T00:00:00Z"}), "after Expiration"),
        (message(**{"Not Before": "2027-01-01T00:00:00Z", "Expiration Time": "2026-06-01T00:00:00Z"}), "Not Before is after"),
        (message(**{"Chain ID": "random:mainnet"}), "Chain ID"),
        (message() + "\nResources:\n- https://a.b\n- ***", "position 1"),
        (message() + "\nno separator", "unparsable line"),
        (message() + "\nURI: https://evil.example.com", "given twice"),
    ],
)  # fmt: skip
def test_malformed_messages(text: str, reason: str) -> None:
    with pytest.raises(MessageInvalid, match=reason):
        parse_message(text, "ethereum")


@given(st.text(max_size=2000), st.sampled_from(["ethereum", "solana"]))
def test_any_text_is_parsed_or_refused(tail: str, chain: Chain) -> None:
    for text in (tail, message(chain) + "\n" + tail):
        with suppress(MessageInvalid):
            parse_message(text, chain)


@given(st.text(max_size=140), st.sampled_from(["ethereum", "solana"]))
def test_any_signature_text_is_harmless(text: str, chain: Chain) -> None:
    try:
        raw = parse_signature(text, chain)
    except MessageInvalid:
        return
    assert not is_signed_by_address(parse_message(message(chain), chain), raw)


@given(st.binary(max_size=64))
def test_base58_round_trip(data: bytes) -> None:
    assert decode_base58(encode_base58(data)) == data


def allowed(url: str) -> bool:
    return url.startswith("https://app.example.com/") or url.startswith("http://localhost:")


def judge(text: str, after: timedelta = timedelta(seconds=5)) -> None:
    judge_message(
        parse_message(text, "ethereum"),
        ISSUED + after,
        max_age=timedelta(minutes=10),
        is_redirect_allowed=allowed,
    )


def test_a_message_for_us_may_sign_in() -> None:
    judge(message())
    judge(message(URI="http://localhost:3000/"))
    judge(message(), timedelta(minutes=-9))


@pytest.mark.parametrize(
    ("text", "after", "reason"),
    [
        (message(URI="http://app.example.com/login"), 0, "HTTPS"),
        (message(URI="https://evil.example.com/"), 0, "another app"),
        (message().replace("app.example.com wants", "evil.example.com wants"), 0, "Domain"),
        (message(URI="https://app.example.com@evil.example.com/"), 0, "another app"),
        (message(**{"Not Before": "2026-01-02T00:00:00Z"}), 0, "in the future"),
        (message(**{"Expiration Time": "2026-01-01T00:01:00Z"}), 120, "expired"),
        (message(), 700, "too long ago"),
        (message(), -700, "too far in the future"),
    ],
)
def test_messages_for_others_or_other_times(text: str, after: int, reason: str) -> None:
    with pytest.raises(MessageRefused, match=reason):
        judge(text, timedelta(seconds=after))


def test_one_wallet_is_one_subject() -> None:
    parsed = parse_message(message("solana"), "solana")
    assert parsed.subject == f"web3:solana:{SOL_ADDRESS}"
    assert replace(parsed, statement=None).custom_claims()["statement"] == ""
