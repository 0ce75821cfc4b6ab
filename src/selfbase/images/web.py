"""The HTTP client of `sources`: it connects to addresses that were checked after the name was resolved."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable

import httpcore
import httpx

from selfbase.images.settings import ImagesSettings
from selfbase.images.sources import is_address_allowed


def make_client(settings: ImagesSettings) -> httpx.AsyncClient:
    """A client that connects to checked addresses alone, and leaves redirects to its caller."""
    transport = httpx.AsyncHTTPTransport(retries=0, limits=httpx.Limits(max_connections=32))
    # httpx offers no hook for resolved addresses: its pool takes a network backend, though.
    transport._pool._network_backend = _CheckedNetwork(settings)
    return httpx.AsyncClient(
        transport=transport,
        timeout=settings.download_timeout_s,
        follow_redirects=False,
        trust_env=False,
        headers={"user-agent": "selfbase-images", "accept-encoding": "identity"},
    )


class _CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Resolves a name, checks every address, and connects to one that passed."""

    def __init__(self, settings: ImagesSettings) -> None:
        self._settings = settings
        self._plain = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not addresses or not all(is_address_allowed(a, self._settings) for a in addresses):
            raise httpcore.ConnectError("the address is not allowed")
        return await self._plain.connect_tcp(
            addresses[0], port, timeout, local_address, socket_options
        )

    async def sleep(self, seconds: float) -> None:
        await self._plain.sleep(seconds)
