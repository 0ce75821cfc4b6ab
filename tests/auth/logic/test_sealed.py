"""Sealed columns: round trips, and values that must not open."""

from __future__ import annotations

from base64 import urlsafe_b64encode

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfbase.auth.logic.sealed import (
    SealBroken,
    SealKeys,
    parse_key_list,
    parse_seal_keys,
    seal,
    unseal,
)

KEYS = SealKeys("a", {"a": b"1" * 32, "b": b"2" * 32})
NONCE = b"n" * 12


@given(st.text())
def test_what_is_sealed_opens_in_its_row_only(plain: str) -> None:
    stored = seal(plain, "row", KEYS, NONCE)
    assert unseal(stored, "row", KEYS) == plain
    with pytest.raises(SealBroken):
        unseal(stored, "other", KEYS)


@given(st.text())
def test_any_stored_text_opens_or_is_refused(stored: str) -> None:
    for text in (stored, "{" + stored):
        try:
            opened = unseal(text, "row", KEYS)
        except SealBroken:
            continue
        assert opened == text


def test_changed_and_foreign_values_are_refused() -> None:
    parts = orjson.loads(seal("secret", "row", KEYS, NONCE))
    for change in (
        {"key_id": "b"}, {"key_id": "gone"}, {"alg": "none"}, {"nonce": "AAAA"}, {"data": "AAAA"},
    ):  # fmt: skip
        with pytest.raises(SealBroken):
            unseal(orjson.dumps({**parts, **change}).decode(), "row", KEYS)


def test_without_a_key_nothing_is_sealed() -> None:
    assert seal("secret", "row", SealKeys(), NONCE) == "secret"


def test_keys_are_read_and_checked() -> None:
    text = urlsafe_b64encode(b"k" * 32).decode().rstrip("=")
    listed = parse_key_list(f"a:{text}, b:{text}")
    keys = parse_seal_keys(encrypt=True, key_id="a", key=text, decryption_keys=listed)
    assert (keys.writing, set(keys.keys)) == ("a", {"a", "b"})
    for bad in ({"decryption_keys": {"x": "short"}}, {"key_id": "", "key": ""}):
        options = {"encrypt": True, "key_id": "a", "key": text, "decryption_keys": {}, **bad}
        with pytest.raises(ValueError, match="key") as caught:
            parse_seal_keys(**options)  # type: ignore[arg-type]
        assert text not in str(caught.value)
