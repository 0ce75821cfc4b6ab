"""OpenID Connect issuers: their discovery documents and signature keys, remembered for a while.

Fetched through the guarded client, bounded in number and size, and fetched anew when a token names
a key we have not seen, but never more often than a forged token could be sent.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import orjson

from selfbase.auth.logic.idtokens import IdTokenInvalid, has_key_of, keys_from_jwks
from selfbase.auth.outgoing import AddressRefused, FetchFailed, Outgoing
from selfbase.identity.tokens import Key
from selfbase.kit.clock import Clock

DOCUMENTS_MAX = 500
DOCUMENT_BYTES_MAX = 256 * 1024
FRESH_S, KEYS_FRESH_S, AGAIN_S = 3600.0, 600.0, 30.0


class IssuerUnusable(Exception):
    """The issuer cannot be reached or says something else than it should."""


@dataclass(slots=True)
class _Entry:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    document: Any = None
    fetched_at_s: float = float("-inf")


class Issuers:
    """What issuers publish."""

    def __init__(self, outgoing: Outgoing, clock: Clock) -> None:
        self._outgoing = outgoing
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    async def discover(
        self,
        issuer: str,
        *,
        url: str | None = None,
        allow_private: bool = False,
        timeout_s: float = 10.0,
        fresh: bool = False,
    ) -> dict[str, Any]:
        """The discovery document, which must name the issuer it was asked for.

        Raises IssuerUnusable.
        """
        address = url or issuer.removesuffix("/") + "/.well-known/openid-configuration"
        document = await self._get(
            address, 0.0 if fresh else FRESH_S, allow_private=allow_private, timeout_s=timeout_s
        )
        if not isinstance(document, dict) or document.get("issuer") != issuer:
            raise IssuerUnusable("the discovery document names another issuer")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            if not isinstance(document.get(name), str):
                raise IssuerUnusable(f"the discovery document lacks {name}")
        return document

    async def keys_for(
        self, token: str, jwks_uri: str, *, allow_private: bool = False, timeout_s: float = 10.0
    ) -> tuple[Key, ...]:
        """The issuer's keys; fetched anew when none of them is the one the token names.

        Raises IssuerUnusable, IdTokenInvalid.
        """
        for age_s in (KEYS_FRESH_S, AGAIN_S):
            document = await self._get(
                jwks_uri, age_s, allow_private=allow_private, timeout_s=timeout_s
            )
            keys = keys_from_jwks(document)
            if has_key_of(token, keys):
                return keys
        raise IdTokenInvalid("no key of that id")

    async def _get(self, url: str, age_s: float, *, allow_private: bool, timeout_s: float) -> Any:
        key = f"{allow_private:d} {url}"
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry()
            if len(self._entries) > DOCUMENTS_MAX:
                self._entries.popitem(last=False)
        self._entries.move_to_end(key)
        async with entry.lock:
            if self._clock.monotonic_s() - entry.fetched_at_s > age_s:
                entry.document = await self._fetch(url, allow_private, timeout_s)
                entry.fetched_at_s = self._clock.monotonic_s()
            return entry.document

    async def _fetch(self, url: str, allow_private: bool, timeout_s: float) -> Any:
        try:
            reply = await self._outgoing.fetch(
                "GET",
                url,
                headers={"accept": "application/json"},
                timeout_s=timeout_s,
                reply_bytes_max=DOCUMENT_BYTES_MAX,
                allow_private=allow_private,
            )
        except (AddressRefused, FetchFailed, TimeoutError) as error:
            raise IssuerUnusable(f"cannot be fetched ({type(error).__name__})") from None
        if reply.status != 200:
            raise IssuerUnusable(f"answered {reply.status}")
        try:
            return orjson.loads(reply.body)
        except orjson.JSONDecodeError:
            raise IssuerUnusable("did not answer JSON") from None
