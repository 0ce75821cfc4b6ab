"""Requests Auth makes for users and operators: to hooks, captcha services, providers.

Refuses addresses that are not public, after the name has been resolved and for every connection
made, so that a name cannot change its address between check and use.  No redirects, no cookies, no
environment proxies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from selfbase.http.addresses import parse_reached

if TYPE_CHECKING:
    # Loaded with the first request we make: it is large, and most projects make none.
    import httpx

REPLY_BYTES_MAX = 1024 * 1024


class AddressRefused(Exception):
    """The target is not a public address."""


class FetchFailed(Exception):
    """No usable reply; the message holds no secret."""


class ReplyTooLarge(FetchFailed):
    """The reply is larger than allowed."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    headers: httpx.Headers
    body: bytes


def is_public(address: str) -> bool:
    """Whether an IP address is reachable on the public internet and nothing else."""
    reached = parse_reached(address)
    return reached.is_global and not reached.is_multicast


def names_private(host: str) -> bool:
    """Whether a host is private by its very name: loopback, or an address that is not public.
    What other names stand for is only known when a connection is made."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return not is_public(name.strip("[]"))
    except ValueError:
        return False


class Outgoing:
    """The two clients: one guarded, one for what an operator allowed to be private."""

    def __init__(self) -> None:
        self._guarded: httpx.AsyncClient | None = None
        self._free: httpx.AsyncClient | None = None

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        form: Mapping[str, str] | None = None,
        timeout_s: float = 10.0,
        reply_bytes_max: int = REPLY_BYTES_MAX,
        allow_private: bool = False,
    ) -> Reply:
        """One request, its whole time and its reply bounded.

        Raises AddressRefused, FetchFailed, ReplyTooLarge, TimeoutError.
        """
        import httpx

        client = self._client(allow_private)
        data = dict(form) if form is not None else None
        try:
            async with (
                asyncio.timeout(timeout_s),
                client.stream(
                    method, url, headers=dict(headers or {}), content=content, data=data
                ) as response,
            ):
                body = bytearray()
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > reply_bytes_max:
                        raise ReplyTooLarge("the reply is too large")
                return Reply(response.status_code, response.headers, bytes(body))
        except httpx.TimeoutException:
            raise TimeoutError from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            if isinstance(error.__cause__, AddressRefused):
                raise error.__cause__ from None
            raise FetchFailed(type(error).__name__) from None

    def _client(self, allow_private: bool) -> httpx.AsyncClient:
        import httpx

        from selfbase.auth.public_network import PublicNetwork

        if allow_private:
            if self._free is None:
                self._free = httpx.AsyncClient(follow_redirects=False, trust_env=False)
            return self._free
        if self._guarded is None:
            transport = httpx.AsyncHTTPTransport(retries=0, trust_env=False)
            pool: Any = transport._pool  # httpx offers no public door to the network backend
            pool._network_backend = PublicNetwork()
            self._guarded = httpx.AsyncClient(
                transport=transport, follow_redirects=False, trust_env=False
            )
        return self._guarded

    async def close(self) -> None:
        for client in (self._guarded, self._free):
            if client is not None:
                await client.aclose()
        self._guarded = self._free = None
