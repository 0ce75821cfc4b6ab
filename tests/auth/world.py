"""The outside world of a test: providers that answer in memory, in the place of the network.

Everything above the socket is real: what is asked, with which headers, and what is made of the
answer.  Addresses nobody serves cannot be reached.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from tests.auth.auth_server import AuthServer

from selfbase.auth.issuers import Issuers
from selfbase.auth.outgoing import FetchFailed, Outgoing, Reply

Answering = Callable[["Asked"], Any]
_KEYS: dict[str, rsa.RSAPrivateKey] = {}


def rsa_key(name: str) -> rsa.RSAPrivateKey:
    if name not in _KEYS:
        _KEYS[name] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return _KEYS[name]


@dataclass
class Asked:
    """One request that left us."""

    method: str
    url: str
    headers: dict[str, str]
    form: dict[str, str]
    allow_private: bool

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.url).query))


@dataclass
class World(Outgoing):
    """`pages` maps an address without its query to what it answers: JSON, bytes, a number for a
    bare status, or a function of the request."""

    pages: dict[str, Any] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        form: Mapping[str, str] | None = None,
        timeout_s: float = 10.0,
        reply_bytes_max: int = 0,
        allow_private: bool = False,
    ) -> Reply:
        sent = dict(form or dict(parse_qsl((content or b"").decode())))
        asked = Asked(method, url, dict(headers or {}), sent, allow_private)
        self.asked.append(asked)
        page = self.pages.get(url.partition("?")[0])
        if callable(page):
            page = page(asked)
        if page is None:
            raise FetchFailed("nobody there")
        if isinstance(page, int):
            return Reply(page, httpx.Headers(), b"{}")
        body = page if isinstance(page, bytes) else orjson.dumps(page)
        return Reply(200, httpx.Headers(), body)

    async def close(self) -> None:
        self.pages.clear()

    def asked_for(self, url: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.url.partition("?")[0] == url]


def enter(auth: AuthServer) -> World:
    """Puts Auth into a world of its own."""
    world = World()
    core = auth.auth.core
    core.outgoing = world
    core.issuers = Issuers(world, core.clock)
    core.sms._outgoing = world
    return world


@dataclass
class Issuer:
    """An OpenID Connect provider."""

    world: World
    url: str = "https://idp.example.com"
    key_name: str = "issuer"

    def __post_init__(self) -> None:
        self.world.pages[f"{self.url}/.well-known/openid-configuration"] = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "jwks_uri": f"{self.url}/keys",
        }
        self.publish(self.key_name)

    def publish(self, *names: str) -> None:
        keys = [
            {**RSAAlgorithm.to_jwk(rsa_key(name).public_key(), as_dict=True), "kid": name}
            for name in names
        ]
        self.world.pages[f"{self.url}/keys"] = {"keys": keys}

    def token(self, auth: AuthServer, *, key: str | None = None, **claims: Any) -> str:
        now_s = int(auth.clock.now().timestamp())
        body = {
            "iss": self.url, "sub": "person-1", "aud": "app", "iat": now_s, "exp": now_s + 300,
            "email": "ada@example.com", "email_verified": True, **claims,
        }  # fmt: skip
        name = key or self.key_name
        body = {member: value for member, value in body.items() if value is not None}
        return jwt.encode(body, rsa_key(name), "RS256", {"kid": name})
