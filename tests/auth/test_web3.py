"""Signing in with a wallet."""

from __future__ import annotations

from base64 import b64encode
from datetime import timedelta
from typing import Any

import jwt
import pytest
from tests.auth.auth_server import AuthServer
from tests.auth.conftest import Opener
from tests.auth.logic.test_web3 import ETH_ADDRESS, SOL_KEY, message, sign_ethereum

PATH = "/token?grant_type=web3"


@pytest.fixture
async def auth(auth_with: Opener) -> AuthServer:
    return await auth_with(
        EXTERNAL_WEB3_ETHEREUM_ENABLED="true", EXTERNAL_WEB3_SOLANA_ENABLED="true",
        URI_ALLOW_LIST="https://app.example.com/**",
    )  # fmt: skip


def now(auth: AuthServer) -> str:
    return auth.clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def ethereum(auth: AuthServer, **fields: str | None) -> dict[str, Any]:
    text = message(**{"Issued At": now(auth), **fields})
    return {"chain": "ethereum", "message": text, "signature": sign_ethereum(text)}


def solana(auth: AuthServer) -> dict[str, Any]:
    text = message("solana", **{"Issued At": now(auth)})
    signature = b64encode(SOL_KEY.sign(text.encode())).decode()
    return {"chain": "solana", "message": text, "signature": signature}


async def test_wallets_sign_in(auth: AuthServer) -> None:
    first = await auth.ok("POST", PATH, ethereum(auth))
    claims = jwt.decode(first["access_token"], options={"verify_signature": False})
    assert claims["amr"][0]["method"] == "web3"
    identity = first["user"]["identities"][0]
    assert identity["provider"] == "web3"
    assert identity["id"] == f"web3:ethereum:{ETH_ADDRESS}"
    assert identity["identity_data"]["custom_claims"]["address"] == ETH_ADDRESS
    again = await auth.ok("POST", PATH, ethereum(auth, Nonce="87654321"))
    assert again["user"]["id"] == first["user"]["id"]
    other = await auth.ok("POST", PATH, solana(auth))
    assert other["user"]["id"] != first["user"]["id"]


async def test_a_signed_message_works_once(auth: AuthServer) -> None:
    body = ethereum(auth)
    await auth.ok("POST", PATH, body)
    assert await auth.fails("POST", PATH, body) == (400, "invalid_grant")


async def test_messages_that_must_not_sign_in(auth: AuthServer) -> None:
    good = ethereum(auth)
    forged = [
        {**good, "signature": "0x" + "00" * 65},
        {**good, "signature": sign_ethereum(good["message"] + " ")},
        ethereum(auth, URI="https://evil.example.com/"),
        ethereum(auth, **{"Issued At": "2020-01-01T00:00:00Z"}),
    ]
    soon = (auth.clock.now() + timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    forged.append(ethereum(auth, **{"Expiration Time": soon, "Issued At": "2026-01-01T00:00:00Z"}))
    auth.clock.step(seconds=2)
    for body in forged:
        assert await auth.fails("POST", PATH, body) == (400, "invalid_grant")


RUBBISH: tuple[Any, ...] = (
    ({}, "web3_unsupported_chain"),
    ({"chain": "dogecoin"}, "web3_unsupported_chain"),
    ({"chain": "ethereum", "message": "short"}, "validation_failed"),
    ({"chain": "ethereum", "message": "x" * 30_000, "signature": "0x"}, "validation_failed"),
    ({"chain": "ethereum", "message": "x" * 100, "signature": "0x" + "0" * 130}, "validation_failed"),
    ({"chain": "solana", "message": "x" * 100, "signature": "?"}, "validation_failed"),
    ({"chain": "solana", "message": 7}, "bad_json"),
)  # fmt: skip


async def test_rubbish_is_a_clear_error(auth: AuthServer) -> None:
    for body, code in RUBBISH:
        assert await auth.fails("POST", PATH, body) == (400, code)


async def test_chains_can_be_off(auth_with: Opener) -> None:
    off = await auth_with()
    assert await off.fails("POST", PATH, {"chain": "ethereum"}) == (422, "web3_provider_disabled")
    half = await auth_with(EXTERNAL_WEB3_SOLANA_ENABLED="true")
    found = await half.fails("POST", PATH, {"chain": "ethereum"})
    assert found == (422, "web3_provider_disabled")
