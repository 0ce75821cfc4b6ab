"""Signing in at providers in the browser: whose account it is, and how it cannot be bent."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest
from tests.auth.auth_server import AuthServer
from tests.auth.conftest import Opener
from tests.auth.world import Issuer, World, enter

from selfbase.auth.errors import ValidationFailed
from selfbase.auth.logic.oauth_server import s256_challenge

GITHUB = {
    "EXTERNAL_GITHUB_ENABLED": "true", "EXTERNAL_GITHUB_CLIENT_ID": "gh-id",
    "EXTERNAL_GITHUB_SECRET": "gh-secret", "URI_ALLOW_LIST": "https://app.test/**",
}  # fmt: skip
VERIFIER = "v" * 50
CHALLENGE = {"code_challenge": s256_challenge(VERIFIER), "code_challenge_method": "s256"}


class Browser:
    """A person's browser, between Auth and GitHub."""

    def __init__(self, auth: AuthServer) -> None:
        self.auth, self.world = auth, enter(auth)
        self.person = {"id": 1, "login": "ada", "name": "Ada", "avatar_url": "https://a/1.png"}
        self.emails = [{"email": "ada@example.com", "verified": True, "primary": True}]
        self.world.pages |= {
            "https://github.com/login/oauth/access_token": {"access_token": "gho"},
            "https://api.github.com/user": lambda asked: self.person,
            "https://api.github.com/user/emails": lambda asked: self.emails,
        }

    async def authorize(self, **query: str) -> str:
        """The state GitHub is sent."""
        members = {"provider": "github", "redirect_to": "https://app.test/welcome", **query}
        answer = await self.auth.request("GET", f"/authorize?{urlencode(members)}")
        assert answer.status == 302, answer.text
        self.location = answer.headers.get("location")
        return parse_qs(urlsplit(self.location).query)["state"][0]

    async def come_back(self, state: str, **query: str) -> Any:
        members = {"state": state, "code": "code-1", **query}
        return await self.auth.request("GET", f"/callback?{urlencode(members)}")

    async def sign_in(self, **query: str) -> dict[str, str]:
        """The members of the fragment."""
        answer = await self.come_back(await self.authorize(**query))
        assert answer.status == 302
        return landed(answer)[1]

    def user(self, address: str = "ada@example.com") -> dict[str, Any]:
        (row,) = self.auth.sql("select to_jsonb(u) from auth.users u where email = %s", address)
        return dict(row[0])


def landed(answer: Any) -> tuple[dict[str, str], dict[str, str]]:
    """Query and fragment of where the browser is sent."""
    parts = urlsplit(answer.headers.get("location"))
    return dict(parse_qsl(parts.query)), dict(parse_qsl(parts.fragment))


@pytest.fixture
async def browser(auth_with: Opener) -> Browser:
    return Browser(await auth_with(**GITHUB))


async def test_the_implicit_flow_ends_with_a_session(browser: Browser) -> None:
    state = await browser.authorize(scopes="repo,read:org", prompt="consent", client_id="evil")
    sent = parse_qs(urlsplit(browser.location).query)
    assert browser.location.startswith("https://github.com/login/oauth/authorize?")
    assert sent["client_id"] == ["gh-id"]
    assert sent["redirect_uri"] == ["https://project.test/auth/v1/callback"]
    assert sent["scope"] == ["user:email repo read:org"]
    assert sent["prompt"] == ["consent"]
    assert "redirect_to" not in sent
    answer = await browser.come_back(state)
    assert answer.status == 302
    assert answer.headers.get("location").startswith("https://app.test/welcome#access_token=")
    fragment = landed(answer)[1]
    assert fragment["provider_token"] == "gho"
    assert "type" not in fragment
    user = await browser.auth.ok("GET", "/user", bearer=fragment["access_token"])
    assert user["email"] == "ada@example.com"
    assert user["app_metadata"] == {"provider": "github", "providers": ["github"]}
    assert user["user_metadata"]["user_name"] == "ada"
    assert user["user_metadata"]["email_verified"] is True
    identity = user["identities"][0]
    assert (identity["id"], identity["provider"]) == ("1", "github")
    assert identity["identity_data"]["provider_id"] == "1"
    exchange = browser.world.asked_for("https://github.com/login/oauth/access_token")[0]
    assert exchange.form["code"] == "code-1"
    assert exchange.form["client_secret"] == "gh-secret"
    assert not exchange.allow_private


async def test_the_pkce_flow_ends_with_a_code_that_needs_its_verifier(browser: Browser) -> None:
    answer = await browser.come_back(await browser.authorize(**CHALLENGE))
    query, fragment = landed(answer)
    assert fragment == {}
    path = "/token?grant_type=pkce"
    wrong = {"auth_code": query["code"], "code_verifier": "w" * 50}
    assert await browser.auth.fails("POST", path, wrong) == (400, "bad_code_verifier")
    right = {"auth_code": query["code"], "code_verifier": VERIFIER}
    session = await browser.auth.ok("POST", path, right)
    assert session["provider_token"] == "gho"
    assert await browser.auth.fails("POST", path, right) == (404, "flow_state_not_found")


async def test_coming_again_is_the_same_person(browser: Browser) -> None:
    await browser.sign_in()
    browser.person = {**browser.person, "name": "Ada L"}
    browser.emails = [{"email": "new@example.com", "verified": True, "primary": True}]
    await browser.sign_in()
    rows = browser.auth.sql("select email, raw_user_meta_data->>'name' from auth.users")
    assert rows == [("ada@example.com", "Ada L")]


async def test_a_verified_address_links_to_the_account_that_has_it(browser: Browser) -> None:
    before = await browser.auth.confirmed("ada@example.com")
    fragment = await browser.sign_in()
    user = await browser.auth.ok("GET", "/user", bearer=fragment["access_token"])
    assert user["id"] == before["user"]["id"]
    assert user["app_metadata"]["providers"] == ["email", "github"]
    # The password still works: that account was confirmed.
    assert await browser.auth.sign_in("ada@example.com")


async def test_an_unverified_address_links_to_nobody(browser: Browser) -> None:
    before = await browser.auth.confirmed("ada@example.com")
    browser.emails = [{"email": "ada@example.com", "verified": False, "primary": True}]
    answer = await browser.come_back(await browser.authorize())
    query, fragment = landed(answer)
    assert query["error_code"] == fragment["error_code"] == "provider_email_needs_verification"
    assert query["error"] == "access_denied"
    assert "sb" in urlsplit(answer.headers.get("location")).fragment
    rows = browser.auth.sql("select user_id::text from auth.identities where provider = 'github'")
    assert rows[0][0] != before["user"]["id"]


async def test_an_unverified_new_address_gets_a_mail_and_no_session(browser: Browser) -> None:
    browser.emails = [{"email": "ada@example.com", "verified": False, "primary": True}]
    answer = await browser.come_back(await browser.authorize())
    assert landed(answer)[0]["error_code"] == "provider_email_needs_verification"
    mail = await browser.auth.last_mail()
    assert mail.message["to"] == "ada@example.com"
    assert browser.user()["email_confirmed_at"] is None


async def test_a_prepared_account_is_taken_from_who_prepared_it(browser: Browser) -> None:
    """Mallory signs up with Ada's address and waits; Ada arrives with GitHub."""
    await browser.auth.sign_up("ada@example.com", "mallorys password", data={"admin": True})
    fragment = await browser.sign_in()
    user = await browser.auth.ok("GET", "/user", bearer=fragment["access_token"])
    assert [identity["provider"] for identity in user["identities"]] == ["github"]
    assert "admin" not in user["user_metadata"]
    found = await browser.auth.fails(
        "POST", "/token?grant_type=password",
        {"email": "ada@example.com", "password": "mallorys password"},
    )  # fmt: skip
    assert found == (400, "invalid_credentials")


FORGED_STATES = (
    ("", "bad_oauth_callback"),
    ("not-a-uuid", "bad_oauth_state"),
    (str(uuid.uuid4()), "bad_oauth_state"),
    ("00000000-0000-0000-0000-000000000000", "bad_oauth_state"),
)


async def test_forged_states_end_at_the_site(browser: Browser) -> None:
    for state, code in FORGED_STATES:
        answer = await browser.come_back(state)
        assert answer.status == 303
        assert answer.headers.get("location").startswith("https://app.test?")
        assert landed(answer)[0]["error_code"] == code
        assert browser.auth.sql("select count(*) from auth.users") == [(0,)]


async def test_a_state_works_once(browser: Browser) -> None:
    state = await browser.authorize()
    assert "access_token" in landed(await browser.come_back(state))[1]
    assert landed(await browser.come_back(state))[0]["error_code"] == "bad_oauth_state"
    state = await browser.authorize(**CHALLENGE)
    assert "code" in landed(await browser.come_back(state))[0]
    again = await browser.come_back(state)
    assert landed(again)[0]["error_code"] == "flow_state_already_used"


async def test_a_state_grows_old(browser: Browser) -> None:
    state = await browser.authorize()
    browser.auth.clock.step(seconds=301)
    assert landed(await browser.come_back(state))[0]["error_code"] == "bad_oauth_state"


async def test_a_state_of_another_flow_signs_nobody_in(browser: Browser) -> None:
    """Flows of mailed links live in the same table."""
    await browser.auth.confirmed("ada@example.com")
    await browser.auth.ok("POST", "/otp", {"email": "ada@example.com", **CHALLENGE})
    ((state,),) = browser.auth.sql("select id::text from auth.flow_state")
    assert landed(await browser.come_back(state))[0]["error_code"] == "bad_oauth_state"


async def test_the_target_must_be_allowed(browser: Browser) -> None:
    state = await browser.authorize(redirect_to="https://evil.test/")
    location = (await browser.come_back(state)).headers.get("location")
    assert location.startswith("https://app.test#")


async def test_what_the_provider_says_comes_back(browser: Browser) -> None:
    state = await browser.authorize()
    answer = await browser.come_back(
        state, error="access_denied", error_description="no\r\nSet-Cookie: a=b"
    )
    assert landed(answer)[0]["error"] == "access_denied"
    assert "\n" not in answer.headers.get("location")


async def test_a_provider_out_of_order(browser: Browser) -> None:
    pages = dict(browser.world.pages)
    for broken in pages:
        for page in (500, 401, b"<html>", {"error": "bad_verification_code"}, None):
            browser.world.pages = {**pages, broken: page}
            query = landed(await browser.come_back(await browser.authorize()))[0]
            assert (query["error"], query["error_code"]) == ("server_error", "unexpected_failure")
    assert "gh-secret" not in str(browser.auth.events)


async def test_signups_can_be_closed_and_people_banned(auth_with: Opener) -> None:
    browser = Browser(await auth_with(**GITHUB, DISABLE_SIGNUP="true"))
    query = landed(await browser.come_back(await browser.authorize()))[0]
    assert (query["error"], query["error_code"]) == ("access_denied", "signup_disabled")
    known = await browser.auth.confirmed("ada@example.com")
    assert "access_token" in await browser.sign_in()
    path = f"/admin/users/{known['user']['id']}"
    await browser.auth.ok("PUT", path, {"ban_duration": "1h"}, bearer=browser.auth.admin())
    query = landed(await browser.come_back(await browser.authorize()))[0]
    assert (query["error"], query["error_code"]) == ("access_denied", "user_banned")


SENSELESS: tuple[tuple[dict[str, str], str], ...] = (
    ({"provider": "google"}, "provider is not enabled"),
    ({"provider": "nope"}, "could not be found"),
    ({"provider": ""}, "could not be found"),
    ({"provider": "custom:nope"}, "not found"),
    ({"provider": "github", "code_challenge": "x" * 43}, "PKCE"),
    ({"provider": "github", "code_challenge": "x", "code_challenge_method": "s256"}, "challenge"),
)  # fmt: skip


async def test_requests_that_make_no_sense(browser: Browser) -> None:
    for query, words in SENSELESS:
        answer = await browser.auth.request("GET", f"/authorize?{urlencode(query)}")
        assert answer.status == 400
        assert answer.json()["code"] == "validation_failed"
        assert words in answer.json()["message"]


async def test_an_invited_person_may_come_with_a_provider(browser: Browser) -> None:
    auth = browser.auth
    await auth.ok("POST", "/invite", {"email": "ada@example.com"}, bearer=auth.admin())
    token = parse_qs(urlsplit((await auth.last_mail()).link).query)["token"][0]
    found = await auth.request("GET", "/authorize?provider=github&invite_token=wrong")
    assert (found.status, found.json()["code"]) == (404, "user_not_found")
    browser.emails = [{"email": "other@example.com", "verified": True, "primary": True}]
    state = await browser.authorize(invite_token=token)
    assert landed(await browser.come_back(state))[0]["error_code"] == "validation_failed"
    browser.emails = [{"email": "ada@example.com", "verified": True, "primary": True}]
    fragment = await browser.sign_in(invite_token=token)
    user = await auth.ok("GET", "/user", bearer=fragment["access_token"])
    assert user["confirmed_at"]
    assert [identity["provider"] for identity in user["identities"]] == ["github"]


async def test_linking_by_hand(auth_with: Opener) -> None:
    browser = Browser(await auth_with(**GITHUB, SECURITY_MANUAL_LINKING_ENABLED="true"))
    session = await browser.auth.confirmed("someone@example.com")
    path = "/user/identities/authorize?provider=github&skip_http_redirect=true"
    assert (await browser.auth.request("GET", path)).status == 401
    url = (await browser.auth.ok("GET", path, bearer=session["access_token"]))["url"]
    state = parse_qs(urlsplit(url).query)["state"][0]
    assert "access_token" in landed(await browser.come_back(state))[1]
    user = await browser.auth.ok("GET", "/user", bearer=session["access_token"])
    assert [identity["provider"] for identity in user["identities"]] == ["email", "github"]
    assert user["email"] == "someone@example.com"
    for who, words in ((session, "already linked"), (None, "to another user")):
        other = who or await browser.auth.confirmed("third@example.com")
        url = (await browser.auth.ok("GET", path, bearer=other["access_token"]))["url"]
        state = parse_qs(urlsplit(url).query)["state"][0]
        query = landed(await browser.come_back(state))[0]
        assert query["error_code"] == "identity_already_exists"
        assert words in query["error_description"]


async def test_linking_by_hand_can_be_off(browser: Browser) -> None:
    session = await browser.auth.confirmed("ada@example.com")
    path = "/user/identities/authorize?provider=github"
    found = await browser.auth.fails("GET", path, bearer=session["access_token"])
    assert found == (404, "manual_linking_disabled")


async def test_an_anonymous_person_becomes_somebody(auth_with: Opener) -> None:
    browser = Browser(
        await auth_with(
            **GITHUB, SECURITY_MANUAL_LINKING_ENABLED="true",
            EXTERNAL_ANONYMOUS_USERS_ENABLED="true",
        )
    )  # fmt: skip
    session = await browser.auth.ok("POST", "/signup", {})
    path = "/user/identities/authorize?provider=github&skip_http_redirect=true"
    url = (await browser.auth.ok("GET", path, bearer=session["access_token"]))["url"]
    await browser.come_back(parse_qs(urlsplit(url).query)["state"][0])
    user = await browser.auth.ok("GET", "/user", bearer=session["access_token"])
    assert user["is_anonymous"] is False
    assert user["email"] == "ada@example.com"


async def test_two_providers_of_one_domain_of_their_own(auth_with: Opener) -> None:
    browser = Browser(
        await auth_with(**GITHUB, EXPERIMENTAL_PROVIDER_LINKING_DOMAINS="github=social")
    )
    before = await browser.auth.confirmed("ada@example.com")
    fragment = await browser.sign_in()
    user = await browser.auth.ok("GET", "/user", bearer=fragment["access_token"])
    assert user["id"] != before["user"]["id"]
    assert user["email"] == "ada@example.com"


async def test_the_hook_may_refuse_a_new_account_only(auth_with: Opener) -> None:
    browser = Browser(
        await auth_with(
            **GITHUB, HOOK_BEFORE_USER_CREATED_ENABLED="true",
            HOOK_BEFORE_USER_CREATED_URI="pg-functions://postgres/public/judge",
        )
    )  # fmt: skip
    browser.auth.sql(
        """create function public.judge(event jsonb) returns jsonb language sql as $$ select
           '{"error": {"http_code": 403, "message": "not here"}}'::jsonb $$"""
    )
    browser.auth.sql("grant execute on function public.judge to supabase_auth_admin")
    query = landed(await browser.come_back(await browser.authorize()))[0]
    assert query["error_description"] == "not here"
    await browser.auth.confirmed("ada@example.com")
    assert "access_token" in await browser.sign_in()


async def test_apple_posts_its_answer(auth_with: Opener) -> None:
    auth = await auth_with(
        EXTERNAL_APPLE_ENABLED="true", EXTERNAL_APPLE_CLIENT_ID="app", EXTERNAL_APPLE_SECRET="s",
        URI_ALLOW_LIST="https://app.test/**",
    )  # fmt: skip
    world = enter(auth)
    apple = Issuer(world, "https://appleid.apple.com")
    world.pages["https://appleid.apple.com/auth/token"] = lambda asked: {
        "access_token": "a", "id_token": apple.token(auth, email_verified=None)
    }  # fmt: skip
    answer = await auth.request("GET", "/authorize?provider=apple")
    sent = parse_qs(urlsplit(answer.headers.get("location")).query)
    assert sent["response_mode"] == ["form_post"]
    form = {
        "state": sent["state"][0], "code": "c",
        "user": '{"name":{"firstName":"Ada","lastName":"L"},"email":"victim@example.com"}',
    }  # fmt: skip
    answer = await auth.client.request(
        "POST", "/callback", content=urlencode(form).encode(),
        headers={"content-type": "application/x-www-form-urlencoded"},
    )  # fmt: skip
    fragment = landed(answer)[1]
    user = await auth.ok("GET", "/user", bearer=fragment["access_token"])
    assert user["email"] == "ada@example.com"
    assert user["user_metadata"]["full_name"] == "Ada L"


TWITTER = {
    "EXTERNAL_TWITTER_ENABLED": "true", "EXTERNAL_TWITTER_CLIENT_ID": "tw",
    "EXTERNAL_TWITTER_SECRET": "secret", "URI_ALLOW_LIST": "https://app.test/**",
}  # fmt: skip


async def test_twitter_speaks_oauth_1(auth_with: Opener) -> None:
    auth = await auth_with(**TWITTER)
    world = enter(auth)
    base = "https://api.twitter.com"
    world.pages |= {
        f"{base}/oauth/request_token": b"oauth_token=req&oauth_token_secret=rs",
        f"{base}/oauth/access_token": b"oauth_token=acc&oauth_token_secret=as",
        f"{base}/1.1/account/verify_credentials.json": {
            "id_str": "9", "screen_name": "ada", "email": "ada@example.com",
        },
    }  # fmt: skip
    answer = await auth.request("GET", "/authorize?provider=twitter")
    assert answer.headers.get("location") == f"{base}/oauth/authenticate?oauth_token=req"
    ((state,),) = auth.sql("select id::text from auth.flow_state")
    asked = world.asked_for(f"{base}/oauth/request_token")[0]
    assert "oauth_signature=" in asked.headers["authorization"]
    stolen = await auth.request(
        "GET", f"/callback?state={state}&oauth_token=other&oauth_verifier=v"
    )
    assert landed(stolen)[0]["error_code"] == "bad_oauth_callback"
    answer = await auth.request("GET", f"/callback?state={state}&oauth_token=req&oauth_verifier=v")
    fragment = landed(answer)[1]
    assert (await auth.ok("GET", "/user", bearer=fragment["access_token"]))["email"] == (
        "ada@example.com"
    )


async def test_x_wants_our_own_pkce(auth_with: Opener) -> None:
    auth = await auth_with(
        EXTERNAL_X_ENABLED="true", EXTERNAL_X_CLIENT_ID="x", EXTERNAL_X_SECRET="s",
        URI_ALLOW_LIST="https://app.test/**",
    )  # fmt: skip
    world = enter(auth)
    challenges: list[str] = []

    def exchange(asked: Any) -> Any:
        assert s256_challenge(asked.form["code_verifier"]) == challenges[-1]
        assert asked.headers["authorization"].startswith("Basic ")
        return {"access_token": "t"}

    world.pages |= {
        "https://api.x.com/2/oauth2/token": exchange,
        "https://api.x.com/2/users/me": {"data": {"id": "1", "confirmed_email": "a@example.com"}},
    }
    answer = await auth.request("GET", "/authorize?provider=x&code_challenge_method=plain")
    assert answer.status == 400
    answer = await auth.request("GET", "/authorize?provider=x")
    sent = parse_qs(urlsplit(answer.headers.get("location")).query)
    challenges += sent["code_challenge"]
    assert sent["code_challenge_method"] == ["S256"]
    state = sent["state"][0]
    answer = await auth.request("GET", f"/callback?state={state}&code=c")
    assert "access_token" in landed(answer)[1]
    # Our verifier is gone with its first use.
    assert auth.sql("select count(*) from auth.oauth_client_states") == [(0,)]


async def test_a_provider_of_the_operators_own_may_be_private(auth_with: Opener) -> None:
    auth = await auth_with(
        EXTERNAL_KEYCLOAK_ENABLED="true", EXTERNAL_KEYCLOAK_CLIENT_ID="k",
        EXTERNAL_KEYCLOAK_SECRET="s", EXTERNAL_KEYCLOAK_URL="http://keycloak:8080/realms/a",
    )  # fmt: skip
    world: World = enter(auth)
    realm = "http://keycloak:8080/realms/a/protocol/openid-connect"
    world.pages |= {
        f"{realm}/token": {"access_token": "t"},
        f"{realm}/userinfo": {"sub": "1", "email": "a@example.com", "email_verified": True},
    }
    answer = await auth.request("GET", "/authorize?provider=keycloak")
    location = answer.headers.get("location")
    assert location.startswith(f"{realm}/auth?")
    state = parse_qs(urlsplit(location).query)["state"][0]
    assert "access_token" in landed(await auth.request("GET", f"/callback?state={state}&code=c"))[1]
    assert all(asked.allow_private for asked in world.asked)


async def test_a_provider_switched_on_while_running(auth: AuthServer) -> None:
    runtime = auth.auth.core.runtime
    path = "/authorize?provider=github"
    assert (await auth.request("GET", path)).status == 400
    changes = {
        "EXTERNAL_GITHUB_ENABLED": True, "EXTERNAL_GITHUB_CLIENT_ID": "a,b",
        "EXTERNAL_GITHUB_SECRET": "very-hidden",
    }  # fmt: skip
    shown = await runtime.update(changes)
    assert shown["EXTERNAL_GITHUB_CLIENT_ID"] == "a,b"
    assert "very-hidden" not in str(shown)
    assert (await auth.request("GET", path)).status == 302
    with pytest.raises(ValidationFailed):
        await runtime.update({"EXTERNAL_NOSUCH_ENABLED": True})
    await runtime.update(dict.fromkeys(changes))
    assert (await auth.request("GET", path)).status == 400
