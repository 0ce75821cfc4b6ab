"""API keys at the gateway: what is translated, kept, removed and refused."""

from __future__ import annotations

import pytest

from selfbase.gateway.keys import (
    Blocked,
    InvalidKey,
    NoKey,
    WrongKey,
    check_gate,
    translate_key,
)
from selfbase.gateway.routes import Gate
from selfbase.identity.secrets import make_secrets

SECRETS = make_secrets("test")
RING = SECRETS.key_ring()
USER = "eyJhbGciOiJIUzI1NiJ9.e30.c2ln"


@pytest.mark.parametrize(
    ("key", "authorization", "expected"),
    [
        (SECRETS.publishable_key, None, f"Bearer {SECRETS.anon_key_asymmetric}"),
        (SECRETS.secret_key, None, f"Bearer {SECRETS.service_role_key_asymmetric}"),
        (SECRETS.anon_key, None, f"Bearer {SECRETS.anon_key}"),
        (SECRETS.service_role_key, "", f"Bearer {SECRETS.service_role_key}"),
        (SECRETS.publishable_key, f"Bearer {USER}", f"Bearer {USER}"),
        (SECRETS.publishable_key, f"bearer {USER}", f"bearer {USER}"),
        (
            SECRETS.publishable_key,
            f"Bearer {SECRETS.publishable_key}",
            f"Bearer {SECRETS.anon_key_asymmetric}",
        ),
        (SECRETS.anon_key, "Basic YTpi", f"Bearer {SECRETS.anon_key}"),
        ("", f"Bearer {SECRETS.secret_key}", None),
        ("", "", None),
        ("", "AWS4-HMAC-SHA256 Credential=x", "AWS4-HMAC-SHA256 Credential=x"),
        ("unknown", None, None),
    ],
)
def test_authorization_becomes_a_token(
    key: str, authorization: str | None, expected: str | None
) -> None:
    done = translate_key(key, authorization, "", RING, keep_query=False)
    assert done.authorization == expected


def test_the_header_wins_over_the_query_and_the_parameter_is_taken_out() -> None:
    query = f"select=id&apikey={SECRETS.secret_key}&order=id"
    done = translate_key(SECRETS.publishable_key, None, query, RING, keep_query=False)
    assert done.key is not None
    assert (done.key.role, done.query) == ("anon", "select=id&order=id")


def test_a_websocket_keeps_a_translated_parameter() -> None:
    query = f"apikey={SECRETS.publishable_key}&vsn=1.0.0"
    done = translate_key("", None, query, RING, keep_query=True)
    assert done.query == f"vsn=1.0.0&apikey={SECRETS.anon_key_asymmetric}"


def test_who_may_pass_which_gate() -> None:
    anon, service = RING.find(SECRETS.anon_key), RING.find(SECRETS.secret_key)
    for gate in (Gate.OPEN, Gate.KEY, Gate.SERVICE):
        check_gate(gate, service, "shown")
    check_gate(Gate.KEY, anon, "shown")
    check_gate(Gate.OPEN, None, "")
    with pytest.raises(NoKey):
        check_gate(Gate.KEY, None, "")
    with pytest.raises(InvalidKey):
        check_gate(Gate.KEY, None, "nonsense")
    with pytest.raises(InvalidKey):
        check_gate(Gate.OPEN, None, "sb_secret_nonsense")
    with pytest.raises(WrongKey):
        check_gate(Gate.SERVICE, anon, "shown")
    with pytest.raises(Blocked):
        check_gate(Gate.BLOCKED, service, "shown")
