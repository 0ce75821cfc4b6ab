"""Single sign-on by SAML: connections, sign-ins, and responses that must not count."""

from __future__ import annotations

from base64 import b64decode, b64encode
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit
from zlib import decompress

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from lxml import etree
from tests.auth.auth_server import AuthServer
from tests.auth.conftest import Opener
from tests.auth.logic.saml_idp import ENTITY, Answer, metadata, rsa_key
from tests.auth.world import enter

from selfbase.auth.logic.oauth_server import s256_challenge

PROVIDERS = "/admin/sso/providers"
BASE = "https://project.test/auth/v1"
ACS, AUDIENCE = f"{BASE}/sso/saml/acs", f"{BASE}/sso/saml/metadata"
VERIFIER = "v" * 50


def key_text(name: str) -> str:
    der = rsa_key(name).private_bytes(
        Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    )
    return b64encode(der).decode()


class Company:
    """A connection to the identity provider of example.com."""

    def __init__(self, auth: AuthServer) -> None:
        self.auth = auth
        self.provider: dict[str, Any] = {}

    async def connect(self, **more: Any) -> dict[str, Any]:
        body = {"type": "saml", "metadata_xml": metadata(), "domains": ["example.com"], **more}
        self.provider = await self.auth.ok("POST", PROVIDERS, body, bearer=self.auth.admin())
        return self.provider

    async def begin(self, **more: Any) -> tuple[str, str]:
        """Relay state and request id of a sign-in that begins with us."""
        body = {
            "domain": "example.com", "skip_http_redirect": True,
            "redirect_to": "https://app.test/in", **more,
        }  # fmt: skip
        self.url = (await self.auth.ok("POST", "/sso", body))["url"]
        query = parse_qs(urlsplit(self.url).query)
        request = etree.fromstring(decompress(b64decode(query["SAMLRequest"][0]), -15))
        return query["RelayState"][0], request.get("ID")

    def answer(self, request_id: str | None, **more: Any) -> str:
        options = {
            "now": self.auth.clock.now(), "in_response_to": request_id, "destination": ACS,
            "recipient": ACS, "audience": AUDIENCE, "assertion_id": f"a-{len(more)}{request_id}",
            **more,
        }  # fmt: skip
        return Answer(**options).posted()

    async def post(self, state: str, response: str) -> Any:
        form = urlencode({"RelayState": state, "SAMLResponse": response})
        return await self.auth.client.request(
            "POST", "/sso/saml/acs", content=form.encode(),
            headers={"content-type": "application/x-www-form-urlencoded"},
        )  # fmt: skip


@pytest.fixture
async def company(auth_with: Opener) -> Company:
    auth = await auth_with(
        SAML_ENABLED="true", SAML_PRIVATE_KEY=key_text("sp"), URI_ALLOW_LIST="https://app.test/**"
    )
    return Company(auth)


def fragment_of(answer: Any) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(answer.headers.get("location")).fragment))


def error_of(answer: Any) -> str:
    assert answer.status == 303
    return dict(parse_qsl(urlsplit(answer.headers.get("location")).query))["error_code"]


async def test_a_sign_in_that_begins_with_us(company: Company) -> None:
    provider = await company.connect(
        attribute_mapping={"keys": {"team": {"name": "dept"}, "full_name": {"name": "cn"}}}
    )
    state, request_id = await company.begin()
    assert company.url.startswith("https://idp.example.com/sso?tenant=1&SAMLRequest=")
    assert "&Signature=" in company.url
    ends = company.auth.clock.now() + timedelta(hours=8)
    response = company.answer(
        request_id, attributes={"dept": ["research"], "cn": ["Ada L"]}, session_ends=ends
    )
    answer = await company.post(state, response)
    assert answer.status == 302, answer.text
    assert answer.headers.get("location").startswith("https://app.test/in#access_token=")
    token = fragment_of(answer)["access_token"]
    user = await company.auth.ok("GET", "/user", bearer=token)
    name = f"sso:{provider['id']}"
    assert user["app_metadata"] == {"provider": name, "providers": [name]}
    identity = user["identities"][0]
    assert (identity["provider"], identity["id"]) == (name, "person-1")
    assert identity["identity_data"]["custom_claims"] == {"team": "research"}
    assert user["user_metadata"]["full_name"] == "Ada L"
    amr = jwt.decode(token, options={"verify_signature": False})["amr"][0]
    assert (amr["method"], amr["provider"]) == ("sso/saml", provider["id"])
    ((not_after,),) = company.auth.sql("select not_after from auth.sessions")
    assert not_after is not None
    assert company.auth.sql("select is_sso_user from auth.users") == [(True,)]


async def test_a_sign_in_with_a_code(company: Company) -> None:
    await company.connect()
    challenge = {"code_challenge": s256_challenge(VERIFIER), "code_challenge_method": "s256"}
    state, request_id = await company.begin(**challenge)
    answer = await company.post(state, company.answer(request_id))
    query = dict(parse_qsl(urlsplit(answer.headers.get("location")).query))
    body = {"auth_code": query["code"], "code_verifier": VERIFIER}
    session = await company.auth.ok("POST", "/token?grant_type=pkce", body)
    assert session["user"]["email"] == "person@example.com"


async def test_a_sign_in_that_begins_with_the_provider(company: Company) -> None:
    await company.connect()
    answer = await company.post("https://app.test/deep", company.answer(None))
    assert answer.headers.get("location").startswith("https://app.test/deep#access_token=")
    # Where it asks to go elsewhere, the site is the end.
    answer = await company.post("https://evil.test/", company.answer(None, assertion_id="b"))
    assert answer.headers.get("location").startswith("https://app.test#access_token=")


async def test_a_response_works_once(company: Company) -> None:
    await company.connect()
    state, request_id = await company.begin()
    response = company.answer(request_id)
    assert (await company.post(state, response)).status == 302
    assert error_of(await company.post(state, response)) == "saml_relay_state_not_found"
    # Without the relay state it is no unsolicited response either.
    assert error_of(await company.post("", response)) == "validation_failed"
    unsolicited = company.answer(None)
    assert (await company.post("", unsolicited)).status == 302
    assert error_of(await company.post("", unsolicited)) == "validation_failed"
    assert company.auth.sql("select count(*) from auth.sessions") == [(2,)]


async def test_the_note_of_a_used_assertion_is_no_relay_state(company: Company) -> None:
    await company.connect()
    await company.post("", company.answer(None))
    ((state,),) = company.auth.sql("select id::text from auth.saml_relay_states")
    response = company.answer(None, assertion_id="b")
    assert error_of(await company.post(state, response)) == "saml_relay_state_not_found"


async def test_responses_that_must_not_count(company: Company) -> None:
    await company.connect()
    now = company.auth.clock.now()
    forged: list[dict[str, Any]] = [
        {"sign": "none"},
        {"key": "stranger"},
        {"audience": "https://other.example.com"},
        {"recipient": "https://evil.example.com"},
        {"now": now - timedelta(minutes=10)},
        {"in_response_to": "id-other"},
        {"in_response_to": None},
    ]
    for change in forged:
        state, request_id = await company.begin()
        answer = await company.post(state, company.answer(request_id, **change))
        assert error_of(answer) == "validation_failed", change
    assert company.auth.sql("select count(*) from auth.users") == [(0,)]


async def test_another_companys_provider_cannot_answer(company: Company) -> None:
    await company.connect()
    other = "https://idp.other.com/saml"
    body = {"type": "saml", "metadata_xml": metadata("other", other), "domains": ["other.com"]}
    await company.auth.ok("POST", PROVIDERS, body, bearer=company.auth.admin())
    state, request_id = await company.begin()
    forged = company.answer(request_id, entity=other, key="other")
    assert error_of(await company.post(state, forged)) == "validation_failed"
    # It may sign its own people in, with any address, but only into accounts of its own.
    state, request_id = await company.begin()
    ours = fragment_of(await company.post(state, company.answer(request_id)))
    theirs = fragment_of(
        await company.post("", company.answer(None, entity=other, key="other", assertion_id="o"))
    )
    first = await company.auth.ok("GET", "/user", bearer=ours["access_token"])
    second = await company.auth.ok("GET", "/user", bearer=theirs["access_token"])
    assert first["email"] == second["email"]
    assert first["id"] != second["id"]


async def test_an_sso_address_does_not_reach_an_ordinary_account(company: Company) -> None:
    await company.connect()
    before = await company.auth.confirmed("person@example.com")
    state, request_id = await company.begin()
    fragment = fragment_of(await company.post(state, company.answer(request_id)))
    user = await company.auth.ok("GET", "/user", bearer=fragment["access_token"])
    assert user["id"] != before["user"]["id"]


async def test_relay_states_grow_old(company: Company) -> None:
    await company.connect()
    state, request_id = await company.begin()
    company.auth.clock.step(seconds=121)
    answer = await company.post(state, company.answer(request_id))
    assert error_of(answer) == "saml_relay_state_expired"


async def test_people_need_an_id_and_an_address(company: Company) -> None:
    await company.connect()
    transient = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
    for change, code in (
        ({"name_id_format": transient}, "saml_assertion_no_user_id"),
        ({"email": ""}, "saml_assertion_no_email"),
    ):
        state, request_id = await company.begin()
        answer = await company.post(state, company.answer(request_id, **change))
        assert error_of(answer) == code


RUBBISH: tuple[Any, ...] = (
    ("", "", "validation_failed"),
    ("", "%%%", "validation_failed"),
    ("not a state", "AAAA", "validation_failed"),
    ("", b64encode(b"<a/>").decode(), "validation_failed"),
    ("00000000-0000-0000-0000-000000000000", "AAAA", "saml_relay_state_not_found"),
    ("", Answer(entity="https://unknown").posted(), "saml_idp_not_found"),
)  # fmt: skip


async def test_rubbish_ends_at_the_site(company: Company) -> None:
    for state, response, code in RUBBISH:
        assert error_of(await company.post(state, response)) == code


async def test_finding_a_connection(company: Company) -> None:
    provider = await company.connect()
    path = "/sso"
    for body in ({"domain": "EXAMPLE.com"}, {"provider_id": provider["id"]}):
        answer = await company.auth.request("POST", path, body)
        assert answer.status == 303
    for body, found in (
        ({}, (400, "validation_failed")),
        ({"domain": "a", "provider_id": provider["id"]}, (400, "validation_failed")),
        ({"domain": "nope.com"}, (404, "sso_provider_not_found")),
        ({"provider_id": "x"}, (400, "validation_failed")),
    ):
        assert await company.auth.fails("POST", path, body) == found
    one = f"{PROVIDERS}/{provider['id']}"
    await company.auth.ok("PUT", one, {"disabled": True}, bearer=company.auth.admin())
    found = await company.auth.fails("POST", path, {"domain": "example.com"})
    assert found == (404, "sso_provider_disabled")


async def test_looking_after_connections(company: Company) -> None:
    admin = company.auth.admin()
    auth = company.auth
    provider = await company.connect(resource_id="acme")
    assert provider["domains"] == [{"domain": "example.com"}]
    assert provider["saml"]["entity_id"] == ENTITY
    again = {"type": "saml", "metadata_xml": metadata()}
    found = await auth.fails("POST", PROVIDERS, again, bearer=admin)
    assert found == (422, "saml_idp_already_exists")
    other = {
        "type": "saml", "metadata_xml": metadata("o", "https://o"), "domains": ["Example.com"]
    }  # fmt: skip
    found = await auth.fails("POST", PROVIDERS, other, bearer=admin)
    assert found == (400, "sso_domain_already_exists")
    (item,) = (await auth.ok("GET", PROVIDERS, bearer=admin))["items"]
    assert "metadata_xml" not in item["saml"]
    assert (await auth.ok("GET", f"{PROVIDERS}?resource_id_prefix=ac", bearer=admin))["items"]
    assert (await auth.ok("GET", f"{PROVIDERS}?resource_id=x", bearer=admin))["items"] == []
    one = f"{PROVIDERS}/resource_acme"
    assert (await auth.ok("GET", one, bearer=admin))["id"] == provider["id"]
    changed = await auth.ok("PUT", one, {"domains": ["b.com", "a.com"]}, bearer=admin)
    assert changed["domains"] == [{"domain": "a.com"}, {"domain": "b.com"}]
    found = await auth.fails("PUT", one, {"metadata_xml": metadata("o", "https://o")}, bearer=admin)
    assert found == (400, "saml_entity_id_mismatch")
    await auth.ok("DELETE", one, bearer=admin)
    assert await auth.fails("GET", one, bearer=admin) == (404, "sso_provider_not_found")
    session = await auth.confirmed("ada@example.com")
    found = await auth.fails("GET", PROVIDERS, bearer=session["access_token"])
    assert found == (403, "not_admin")


BAD_CONNECTIONS: tuple[Any, ...] = (
    ({}, "validation_failed"),
    ({"type": "saml"}, "validation_failed"),
    ({"type": "saml", "metadata_xml": "<a/>"}, "validation_failed"),
    ({"type": "saml", "metadata_xml": "x", "metadata_url": "https://x"}, "validation_failed"),
    ({"type": "saml", "metadata_url": "http://idp.example.com"}, "validation_failed"),
    ({"type": "saml", "metadata_url": "https://127.0.0.1/m"}, "saml_metadata_fetch_failed"),
    ({"type": "saml", "metadata_xml": metadata(), "domains": ["a b"]}, "validation_failed"),
    ({"type": "saml", "metadata_xml": metadata(), "name_id_format": "x"}, "validation_failed"),
    ({"type": "saml", "metadata_xml": metadata(), "attribute_mapping": {"keys": 1}}, "validation_failed"),
)  # fmt: skip


async def test_bad_connections(company: Company) -> None:
    for body, code in BAD_CONNECTIONS:
        found = await company.auth.fails("POST", PROVIDERS, body, bearer=company.auth.admin())
        assert found == (400, code)


async def test_metadata_from_an_address_stays_fresh(company: Company) -> None:
    world = enter(company.auth)
    url = "https://idp.example.com/metadata"
    world.pages[url] = metadata("first").encode()
    body = {"type": "saml", "metadata_url": url, "domains": ["example.com"]}
    await company.auth.ok("POST", PROVIDERS, body, bearer=company.auth.admin())
    world.pages[url] = metadata("second").encode()
    company.auth.clock.step(hours=25)
    state, request_id = await company.begin()
    assert (await company.post(state, company.answer(request_id, key="second"))).status == 302
    # An address that answers for somebody else, or not at all, changes nothing.
    for page in (metadata("evil", "https://evil").encode(), 500, b"rubbish"):
        world.pages[url] = page
        company.auth.clock.step(hours=25)
        state, request_id = await company.begin()
        answer = await company.post(state, company.answer(request_id, key="second"))
        assert answer.status == 302


async def test_our_metadata(company: Company) -> None:
    answer = await company.auth.request("GET", "/sso/saml/metadata")
    assert answer.headers.get("content-type") == "application/xml"
    assert answer.headers.get("cache-control") == "public, max-age=600"
    root = etree.fromstring(answer.body)
    assert root.get("entityID") == AUDIENCE
    assert ACS.encode() in answer.body
    answer = await company.auth.request("GET", "/sso/saml/metadata?download=true")
    assert "attachment" in answer.headers.get("content-disposition")
    assert etree.fromstring(answer.body).get("validUntil")


async def test_saml_can_be_off(auth: AuthServer) -> None:
    for method, path in (("POST", "/sso"), ("GET", "/sso/saml/metadata")):
        body = {"domain": "a"} if method == "POST" else None
        assert await auth.fails(method, path, body) == (404, "saml_provider_disabled")
