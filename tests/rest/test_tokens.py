"""Who calls: tokens good and bad, roles, and what policies see."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from tests.rest.conftest import JWT_SECRET, MakeRest, make_token

from selfbase.http.testing import Client
from selfbase.kit.settings import EnvLayer
from selfbase.rest.callers import Callers, make_verifier
from selfbase.rest.service import Rest
from selfbase.rest.settings import load_rest_settings

ANN = "0a0a0a0a-0000-4000-8000-000000000001"
BOB = "0a0a0a0a-0000-4000-8000-000000000002"


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_policies_decide_by_the_token(rest: Rest) -> None:
    ann = Client(rest, bearer(make_token("authenticated", sub=ANN)))
    bob = Client(rest, bearer(make_token("authenticated", sub=BOB)))
    assert (await ann.post("/notes", json={"body": "mine"})).status == 201
    assert [row["body"] for row in (await ann.get("/notes")).json()] == ["mine"]
    assert (await bob.get("/notes")).json() == []
    assert (await Client(rest).get("/notes")).json() == []
    forged = await bob.post("/notes", json={"body": "not mine", "owner": ANN})
    assert (forged.status, forged.json()["code"]) == (403, "42501")
    gone = await bob.request("DELETE", "/notes?id=gt.0", headers={"prefer": "count=exact"})
    assert gone.headers.get("content-range") == "*/0"


async def test_functions_see_the_claims(rest: Rest) -> None:
    client = Client(rest, bearer(make_token("authenticated", sub=ANN, extra={"a": 1})))
    seen = (await client.get("/rpc/whoami")).json()
    assert seen["role"] == "authenticated"
    assert seen["claims"]["extra"] == {"a": 1}
    assert (await Client(rest).get("/rpc/whoami")).json() == {
        "role": "anon",
        "claims": {"role": "anon"},
    }


@pytest.mark.parametrize("secret", [bytes(range(200, 232)), "⚠️ ⚠︎ Unicode ☠️ ☠".encode()])
def test_a_secret_in_a_file_may_be_any_bytes(tmp_path: Path, secret: bytes) -> None:
    (tmp_path / "secret").write_bytes(secret)
    variables = {"PGRST_JWT_SECRET": f"@{tmp_path}/secret"}
    settings = load_rest_settings([EnvLayer(variables)])
    token = jwt.encode({"role": "anon"}, secret, algorithm="HS256")
    callers = Callers(settings, make_verifier(settings))
    assert callers.identify(f"Bearer {token}", NOW).role == "anon"


NOW = int(time.time())
LATER = NOW + 86_400  # far beyond the end of any run
BAD: list[tuple[str, str, str, str]] = [
    ("empty", "", "PGRST301", "Empty JWT is sent in Authorization header"),
    ("two parts", "a.b", "PGRST301", "Expected 3 parts in JWT; got 2"),
    ("nonsense", "a.b.c", "PGRST301", "JWT cryptographic operation failed"),
    (
        "none",
        jwt.encode({"role": "service_role"}, "", algorithm="none"),
        "PGRST301",
        "Wrong or unsupported encoding algorithm",
    ),
    (
        "other secret",
        jwt.encode({"role": "service_role"}, "x" * 40, algorithm="HS256"),
        "PGRST301",
        "No suitable key or wrong key type",
    ),
    (
        "other algorithm",
        jwt.encode({"role": "service_role"}, JWT_SECRET + "x" * 40, algorithm="HS512"),
        "PGRST301",
        "No suitable key or wrong key type",
    ),
    ("expired", make_token("anon", exp=NOW - 100), "PGRST303", "JWT expired"),
    ("too early", make_token("anon", nbf=LATER), "PGRST303", "JWT not yet valid"),
    ("from the future", make_token("anon", iat=LATER), "PGRST303", "JWT issued at future"),
    (
        "wrong type",
        make_token("anon", exp="soon"),
        "PGRST303",
        "The JWT 'exp' claim must be a number",
    ),
]


@pytest.mark.parametrize(
    ("token", "code", "message"), [case[1:] for case in BAD], ids=[case[0] for case in BAD]
)
async def test_a_bad_token_is_refused(api: Client, token: str, code: str, message: str) -> None:
    for path in ("/films", "/no_such_table", "/rpc/add?a=1"):
        answer = await api.get(path, headers=bearer(token))
        assert (answer.status, answer.json()["code"], answer.json()["message"]) == (
            401,
            code,
            message,
        )
        assert answer.headers.get("www-authenticate").startswith('Bearer error="invalid_token"')


async def test_an_unsigned_token_is_told_so(api: Client) -> None:
    token = jwt.encode({"role": "service_role"}, "", algorithm="none")
    details = (await api.get("/films", headers=bearer(token))).json()["details"]
    assert details == "JWT is unsecured but expected 'alg' was not 'none'"


async def test_a_token_expires_although_it_is_remembered(make_rest: MakeRest) -> None:
    rest = await make_rest()
    token = make_token("anon", exp=int(time.time()) + 60)
    assert (await Client(rest).get("/films?limit=1", headers=bearer(token))).status == 200
    active = rest.reloader.active
    assert active is not None
    with pytest.raises(Exception, match="JWT expired"):
        active.callers.identify(f"Bearer {token}", time.time() + 200)


@pytest.mark.parametrize(
    "role", ["postgres", "supabase_admin", "no_such_role", 'anon"; drop table films; --']
)
async def test_a_role_the_login_is_no_member_of_is_refused(api: Client, role: str) -> None:
    answer = await api.get("/films", headers=bearer(make_token(role)))
    assert answer.status in (401, 403)


async def test_the_role_stands_where_the_setting_says(make_rest: MakeRest) -> None:
    rest = await make_rest(jwt_role_claim_key='.realm."my roles"[1]')
    claims = {"realm": {"my roles": ["x", "service_role"]}}
    token = jwt.encode(claims, JWT_SECRET, algorithm="HS256")
    assert (await Client(rest).get("/rpc/whoami", headers=bearer(token))).json()[
        "role"
    ] == "service_role"


async def test_an_audience_is_checked_when_set(make_rest: MakeRest) -> None:
    client = Client(await make_rest(jwt_aud="us"))
    good: Any = make_token("anon", aud=["them", "us"])
    assert (await client.get("/films", headers=bearer(good))).status == 200
    bad = await client.get("/films", headers=bearer(make_token("anon", aud="them")))
    assert bad.json()["message"] == "JWT not in audience"


async def test_without_an_anonymous_role_a_token_is_needed(make_rest: MakeRest) -> None:
    client = Client(await make_rest(db_anon_role=""))
    answer = await client.get("/films")
    assert (answer.status, answer.json()["code"]) == (401, "PGRST302")
    assert answer.headers.get("www-authenticate") == "Bearer"
