"""Where the processing endpoint gets images from: local files, the project's objects, the web.

A web address is fetched only when the settings allow its prefix, and only from network addresses
that were checked after the name was resolved: the connection goes to the checked address itself, so
that a name cannot point elsewhere the next moment.  Redirects are checked the same way.
"""

from __future__ import annotations

import asyncio
import re
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from selfbase.http.addresses import parse_reached
from selfbase.images.errors import ForbiddenUrl, SourceTooLarge, SourceUnreachable
from selfbase.images.settings import ImagesSettings

if TYPE_CHECKING:
    # Loaded with the first download: it is large, and a project's images are its own objects.
    import httpx

# Reads an object of the project by bucket and path, up to a number of bytes, past its policies:
# the signature of the URL is the proof.
ObjectReader = Callable[[str, str, int], Awaitable[bytes]]

_REDIRECTS_MAX = 3
_HTTP = ("http://", "https://")


class Sources:
    """Reads a source URL.  `storage://bucket/path` needs a reader from the project."""

    def __init__(self, settings: ImagesSettings, read_object: ObjectReader | None = None) -> None:
        self._settings = settings
        self._read_object = read_object
        self._allowed = [_compile_prefix(text) for text in settings.allowed_sources]
        self._client: httpx.AsyncClient | None = None

    async def read(self, url: str, bytes_max: int) -> bytes:
        """The bytes at `url`.  Raises ForbiddenUrl, SourceUnreachable, SourceTooLarge."""
        if self._allowed and not any(prefix.match(url) for prefix in self._allowed):
            raise ForbiddenUrl(internal="the source is not among the allowed ones")
        if url.startswith("local://"):
            return await asyncio.to_thread(self._read_file, url.removeprefix("local://"), bytes_max)
        if url.startswith("storage://") and self._read_object is not None:
            bucket, _, path = url.removeprefix("storage://").partition("/")
            return await self._read_object(unquote(bucket), unquote(path), bytes_max)
        if url.startswith(_HTTP) and (self._allowed or self._read_object is None):
            return await self._fetch(url, bytes_max)
        raise ForbiddenUrl(internal="no sources of this kind")

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    def _read_file(self, path: str, bytes_max: int) -> bytes:
        root = self._settings.local_root
        if root is None or "\0" in path:
            raise ForbiddenUrl(internal="local files are not offered")
        base = root.resolve()
        found = _resolve_below(base, unquote(path))
        try:
            status = found.stat()
            if not stat.S_ISREG(status.st_mode):
                raise SourceUnreachable(internal="not a file")
            if status.st_size > bytes_max:
                raise SourceTooLarge
            return found.read_bytes()
        except OSError as error:
            raise SourceUnreachable(internal=str(error.strerror)) from None

    async def _fetch(self, url: str, bytes_max: int) -> bytes:
        import httpx

        from selfbase.images.web import make_client

        if self._client is None:
            self._client = make_client(self._settings)
        try:
            async with asyncio.timeout(self._settings.download_timeout_s):
                return await self._follow(self._client, url, bytes_max)
        except TimeoutError:
            raise SourceUnreachable(internal="download timed out") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise SourceUnreachable(internal=type(error).__name__) from None

    async def _follow(self, client: httpx.AsyncClient, url: str, bytes_max: int) -> bytes:
        for _ in range(_REDIRECTS_MAX + 1):
            async with client.stream("GET", url) as response:
                if response.is_redirect:
                    url = str(response.url.join(response.headers["location"]))
                    if not url.startswith(_HTTP) or (
                        self._allowed and not any(prefix.match(url) for prefix in self._allowed)
                    ):
                        raise ForbiddenUrl(internal="redirected to a source that is not allowed")
                    continue
                if response.status_code != 200:
                    raise SourceUnreachable(internal=f"status {response.status_code}")
                content = bytearray()
                async for piece in response.aiter_bytes(64 * 1024):
                    content += piece
                    if len(content) > bytes_max:
                        raise SourceTooLarge
                return bytes(content)
        raise SourceUnreachable(internal="too many redirects")


def _resolve_below(base: Path, path: str) -> Path:
    """The real file below `base`; links and `..` that lead out of it are refused."""
    try:
        found = (base / path.lstrip("/")).resolve()
    except (OSError, ValueError, RuntimeError):
        raise SourceUnreachable(internal="no such file") from None
    if not found.is_relative_to(base):
        raise ForbiddenUrl(internal="the path leaves the folder of sources")
    return found


def _compile_prefix(text: str) -> re.Pattern[str]:
    """`*` stands for any characters but a slash, so that it cannot reach into another host."""
    return re.compile("[^/]*".join(re.escape(part) for part in text.split("*")))


def is_address_allowed(text: str, settings: ImagesSettings) -> bool:
    """Public addresses always; others only where a setting says so."""
    address = parse_reached(text)
    if address.is_unspecified or address.is_multicast or address.is_reserved:
        return False
    if address.is_loopback:
        return settings.allow_loopback
    if address.is_link_local:
        return settings.allow_link_local
    return address.is_global or settings.allow_private
