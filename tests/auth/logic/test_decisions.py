"""Pure decisions: refresh tokens, session limits, redirects, passwords, rates, claims."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfbase.auth.errors import AuthFailure
from selfbase.auth.logic.accounts import merge_metadata, parse_ban
from selfbase.auth.logic.addresses import parse_email, parse_phone
from selfbase.auth.logic.claims import check_hook_claims
from selfbase.auth.logic.one_time import is_code_valid, seconds_to_wait
from selfbase.auth.logic.paging import Page, page_headers
from selfbase.auth.logic.passwords import (
    Argon2,
    Bcrypt,
    FirebaseScrypt,
    find_weaknesses,
    parse_character_sets,
    parse_hash,
)
from selfbase.auth.logic.rates import Rate, parse_rate, take
from selfbase.auth.logic.redirects import compile_glob, is_allowed, with_fragment, with_query
from selfbase.auth.logic.refresh import (
    Fork,
    Refuse,
    Replay,
    RevokeFamily,
    Rotate,
    SessionLimits,
    decide_refresh,
    decide_signed_refresh,
    find_session_fault,
    parse_signed_token,
    render_signed_token,
)
from selfbase.auth.sessions import make_hmac_key
from selfbase.auth.types import Factor, RefreshToken, Session, User

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def token(name: str, *, revoked: bool, parent: str | None = None, age_s: float = 0) -> RefreshToken:
    moment = NOW - timedelta(seconds=age_s)
    return RefreshToken(
        id=1, token=name, user_id="u", session_id="s", parent=parent, revoked=revoked,
        created_at=moment, updated_at=moment,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("used", "active", "rotation", "expected"),
    [
        (token("a", revoked=False), None, True, Rotate),
        (token("a", revoked=True, age_s=9999), token("b", revoked=False, parent="a"), True, Replay),
        (token("a", revoked=True, age_s=5), token("c", revoked=False, parent="b"), True, Fork),
        (
            token("a", revoked=True, age_s=11),
            token("c", revoked=False, parent="b"),
            True,
            RevokeFamily,
        ),
        (token("a", revoked=True, age_s=11), None, False, Refuse),
    ],
)
def test_what_becomes_of_a_refresh_token(
    used: RefreshToken, active: RefreshToken | None, rotation: bool, expected: type
) -> None:
    assert isinstance(decide_refresh(used, active, NOW, reuse_s=10, rotation=rotation), expected)


@given(st.uuids(), st.integers(0, 2**40))
def test_signed_tokens_come_back_as_they_were(session_id: UUID, counter: int) -> None:
    key = make_hmac_key()
    parsed = parse_signed_token(render_signed_token(str(session_id), counter, key))
    assert parsed is not None
    assert (parsed.session_id, parsed.counter) == (str(session_id), counter)
    assert parsed.is_genuine(key)
    assert not parsed.is_genuine(make_hmac_key())


@given(st.text(max_size=90))
def test_no_text_passes_for_a_signed_token(text: str) -> None:
    parsed = parse_signed_token(text)
    assert parsed is None or not parsed.is_genuine(make_hmac_key())


@given(st.data())
def test_a_changed_character_spoils_a_signed_token(data: st.DataObject) -> None:
    key = "A" * 43
    good = render_signed_token("00000000-0000-4000-8000-000000000007", 3, key)
    place = data.draw(st.integers(0, len(good) - 2))
    other = data.draw(st.sampled_from("ABCxyz012-_").filter(lambda c: c != good[place]))
    parsed = parse_signed_token(good[:place] + other + good[place + 1 :])
    assert parsed is None or not parsed.is_genuine(key)


@pytest.mark.parametrize(
    ("counter", "refreshed_s_ago", "expected"),
    [(5, 100, 6), (4, 100, 5), (2, 5, 5), (2, 100, RevokeFamily), (6, 100, None)],
)
def test_what_becomes_of_a_signed_token(
    counter: int, refreshed_s_ago: int, expected: object
) -> None:
    session = Session(
        id="s", user_id="u", refresh_token_counter=5,
        refreshed_at=NOW - timedelta(seconds=refreshed_s_ago),
    )  # fmt: skip
    found = decide_signed_refresh(
        counter, session, NOW, reuse_s=10, allow_reuse=False, rotation=True
    )
    assert isinstance(found, expected) if isinstance(expected, type) else found == expected


FACTOR = Factor(
    id="f", user_id="u", factor_type="totp", status="verified", friendly_name="", phone="",
    created_at=None, updated_at=None, last_challenged_at=None,
)  # fmt: skip


@pytest.mark.parametrize(
    ("session", "limits", "fault"),
    [
        ({}, {}, None),
        ({"not_after": NOW - timedelta(seconds=1)}, {}, "Session Expired"),
        ({}, {"timebox_s": 3600}, None),
        ({}, {"timebox_s": 1800}, "Session Expired"),
        ({"refreshed_at": NOW - timedelta(seconds=10)}, {"inactivity_s": 60}, None),
        ({}, {"inactivity_s": 60}, "Session Expired (Inactivity)"),
        ({}, {"low_aal_s": 60}, "Session Expired (Low AAL: User Needs MFA Verification)"),
        ({"aal": "aal2"}, {"low_aal_s": 60}, None),
        ({}, {"single_per_user": True}, "Session Expired (Revoked by Newer Login)"),
    ],
)
def test_limits_of_sessions(
    session: dict[str, object], limits: dict[str, object], fault: str | None
) -> None:
    user = User(id="u", factors=(FACTOR,))
    begun = NOW - timedelta(minutes=45)
    made = Session(id="s", user_id="u", created_at=begun, **session)  # type: ignore[arg-type]
    newest = begun + timedelta(seconds=1)
    found = find_session_fault(user, made, newest, NOW, SessionLimits(**limits))  # type: ignore[arg-type]
    assert found == fault


@pytest.mark.parametrize(
    ("glob", "target", "allowed"),
    [
        ("https://*.app.test/**", "https://a.app.test/x/y?z=1", True),
        ("https://*.app.test/**", "https://a.b.app.test/x", False),
        ("https://**.app.test/", "https://a.b.app.test/", True),
        ("https://app.test/?", "https://app.test/a", True),
        ("https://app.test/?", "https://app.test//", False),
        ("https://app.test/[a-c]", "https://app.test/b", True),
        ("https://app.test/[!a-c]", "https://app.test/b", False),
        ("https://app.test/{one,two}", "https://app.test/two", True),
        (r"https://app.test/\*", "https://app.test/*", True),
        ("https://app.test/[", "https://app.test/[", False),
        ("exp://192.168.0.1/**", "exp://192.168.0.1/x", False),
        ("http://127.0.0.1:3000/*", "http://127.0.0.1:3000/x", True),
        ("com.app:/callback", "com.app:/callback", True),
        ("https://app.test/a", "https://app.test/a#frag", True),
    ],
)
def test_globs_of_the_allow_list(glob: str, target: str, allowed: bool) -> None:
    assert is_allowed(target, "https://site.test", [glob]) is allowed


def test_the_site_is_allowed_and_its_port_matters_only_outside_loopback() -> None:
    assert is_allowed("https://site.test/any?x#y", "https://site.test", [])
    assert not is_allowed("https://site.test:8443/", "https://site.test", [])
    assert is_allowed("http://localhost:5173/", "http://localhost:3000", [])


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_glob_compiles_or_matches_nothing(glob: str, target: str) -> None:
    pattern = compile_glob(glob)
    if pattern is not None:
        pattern.fullmatch(target)


@given(st.text(alphabet="ab*/.", max_size=8), st.text(alphabet="ab/.", max_size=8))
def test_a_star_is_never_wider_than_the_shells(glob: str, target: str) -> None:
    pattern = compile_glob(glob)
    assert pattern is not None
    if pattern.fullmatch(target):
        assert fnmatchcase(target, glob)


@given(st.text(max_size=60))
def test_redirects_beyond_the_site_need_the_list(target: str) -> None:
    if is_allowed(target, "https://site.test", []):
        assert re.match(r"https://site\.test(:443)?($|[/?#])", target, re.IGNORECASE)


def test_members_of_redirects() -> None:
    assert (
        with_query("https://a.test/?b=1&code=old", {"code": "new"})
        == "https://a.test/?b=1&code=new"
    )
    assert with_fragment("https://a.test/#old", {"b": "x y"}) == "https://a.test/#b=x+y&sb="


def test_character_sets_of_passwords() -> None:
    sets = parse_character_sets(r"abc:123:\:!")
    assert sets == ("abc", "123", ":!")
    assert find_weaknesses("aaaa1:", length_min=2, sets=sets) == ([], [])
    reasons, _ = find_weaknesses("zzz", length_min=8, sets=sets)
    assert reasons == ["length", "characters"]


ARGON = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHRzb21l$" + "A" * 43
FIREBASE = "$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk=" + "c2s=" + "$c2FsdA==$aGFzaA=="


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("$2a$10$" + "a" * 53, Bcrypt),
        ("$2y$04$" + "a" * 53, Bcrypt),
        ("$2b$31$" + "a" * 53, type(None)),
        (ARGON, Argon2),
        (ARGON.replace("m=65536", "m=99999999"), type(None)),
        (ARGON.replace("t=2", "t=21"), type(None)),
        (ARGON.replace("p=1", "p=17"), type(None)),
        (FIREBASE, FirebaseScrypt),
        (FIREBASE.replace("n=14", "n=30"), type(None)),
        ("plain", type(None)),
        ("", type(None)),
    ],
)
def test_formats_of_hashes(text: str, kind: type) -> None:
    assert isinstance(parse_hash(text), kind)


@given(st.lists(st.floats(0, 100), max_size=40))
def test_a_bucket_never_gives_more_than_it_holds(gaps: list[float]) -> None:
    rate, bucket, now_s, taken = Rate(5, 10.0), None, 0.0, 0
    for gap in gaps:
        now_s += gap
        bucket, wait_s = take(bucket, rate, now_s)
        taken += wait_s is None
        assert wait_s is None or 0 < wait_s <= 10.0
    assert taken <= 5 + now_s / 10 + 1e-6


def test_rates_as_text() -> None:
    assert parse_rate("30") == Rate(30, 120.0)
    assert parse_rate("5/1m") == Rate(5, 60.0)
    assert parse_rate("0") == Rate(0, 3600.0)


@pytest.mark.parametrize("text", ["a@b", "a+b@c.test", "A@B.Test", "o'brien@x-y.test"])
def test_addresses_that_are_taken(text: str) -> None:
    assert parse_email(f" {text} ") == text.lower()


@pytest.mark.parametrize(
    "text", ["", "a", "@b.test", "a@", "a b@c.test", "a@b..test", ".a@b.test", "a@-b.test",
             "a@b.test\n", "a@b.test,c@d.test", "x" * 250 + "@b.test", "\"a\"@b.test"]
)  # fmt: skip
def test_addresses_that_are_not(text: str) -> None:
    if text.strip() != text and text:
        assert parse_email(text) == text.strip()
        return
    with pytest.raises(AuthFailure):
        parse_email(text)


def test_phone_numbers() -> None:
    assert parse_phone("+1 555 123 4567") == "15551234567"
    for wrong in ("", "0123", "+1555123456789012", "1-555", "abc", "１２３４５"):
        with pytest.raises(AuthFailure):
            parse_phone(wrong)


def test_bans() -> None:
    assert parse_ban("none", NOW) is None
    assert parse_ban("1h30m", NOW) == NOW + timedelta(minutes=90)
    assert parse_ban("9999999h", NOW) is not None
    for wrong in ("soon", "10", "-5h", "h"):
        with pytest.raises(AuthFailure):
            parse_ban(wrong, NOW)


def test_codes_expire_and_fit_either_flow() -> None:
    assert is_code_valid("h", "pkce_h", NOW, 60, NOW)
    assert is_code_valid("h", "h", NOW - timedelta(seconds=60), 60, NOW)
    assert not is_code_valid("h", "h", NOW - timedelta(seconds=61), 60, NOW)
    assert not is_code_valid("h", "", NOW, 60, NOW)
    assert not is_code_valid("h", "h", None, 60, NOW)
    assert seconds_to_wait(NOW - timedelta(seconds=59.5), 60, NOW) == 1


def test_metadata_and_pages() -> None:
    assert merge_metadata({"a": 1, "b": 2}, {"a": None, "c": 3}) == {"b": 2, "c": 3}
    headers = dict(page_headers(Page(2, 10), 20, "/auth/v1/admin/users?page=2"))
    assert headers["Link"] == '</auth/v1/admin/users?page=2&per_page=10>; rel="last"'


def test_claims_of_a_hook_must_be_whole() -> None:
    whole = {
        "aud": "a", "exp": 1, "iat": 1, "sub": "s", "email": "", "phone": "", "role": "r",
        "aal": "aal1", "session_id": "i", "is_anonymous": False,
    }  # fmt: skip
    assert check_hook_claims(whole) is None
    assert check_hook_claims({**whole, "is_anonymous": 1})
    assert check_hook_claims({**whole, "exp": True})
    assert check_hook_claims({name: whole[name] for name in whole if name != "sub"})
    assert check_hook_claims([])
