"""One-time passwords by time: the RFC's own numbers, windows and replay."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from selfbase.auth.logic import totp

SECRET = totp.encode_secret(b"12345678901234567890")


@pytest.mark.parametrize(
    ("moment", "code"),
    [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")],
)
def test_the_numbers_of_rfc_6238(moment: int, code: str) -> None:
    assert totp.code_at(SECRET, totp.step_at(moment)) == code
    assert totp.find_step(SECRET, code, moment) == totp.step_at(moment)


def test_neighbours_count_and_others_do_not() -> None:
    now, step = 1_800_000_000, totp.step_at(1_800_000_000)
    for offset in (-1, 0, 1):
        assert totp.find_step(SECRET, totp.code_at(SECRET, step + offset), now) == step + offset
    for offset in (-2, 2):
        assert totp.find_step(SECRET, totp.code_at(SECRET, step + offset), now) is None


def test_a_code_works_once() -> None:
    now, step = 1_800_000_000, totp.step_at(1_800_000_000)
    code = totp.code_at(SECRET, step)
    assert totp.find_step(SECRET, code, now, after=step) is None
    assert totp.find_step(SECRET, code, now, after=step - 1) == step
    assert totp.find_step(SECRET, totp.code_at(SECRET, step + 1), now, after=step) == step + 1


@given(st.text(max_size=20))
def test_rubbish_is_no_code(code: str) -> None:
    step = totp.find_step(SECRET, code, 59)
    assert step is None or code.strip() in {totp.code_at(SECRET, s) for s in (0, 1, 2)}


def test_the_qr_code_holds_the_address() -> None:
    uri = totp.render_uri(SECRET, issuer="my app", account="a+b@x.y")
    parts = urlsplit(uri)
    assert (parts.scheme, parts.netloc) == ("otpauth", "totp")
    assert parts.path == "/my%20app:a%2Bb@x.y"
    assert parse_qs(parts.query) == {
        "algorithm": ["SHA1"], "digits": ["6"], "issuer": ["my app"], "period": ["30"],
        "secret": [SECRET],
    }  # fmt: skip
    svg = totp.render_qr_svg(uri)
    assert etree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert len(svg) < 20_000
