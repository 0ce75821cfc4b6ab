"""What the storage service needs from outside, as narrow protocols that `app.py` binds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ImageSource:
    """The original of an image.

    `etag` changes with its bytes and is enough to key a cache together with `cache_scope`, which
    keeps projects apart.  `path` is where the bytes lie when they lie on this machine; `open`
    streams them in any case, once for each call.
    """

    cache_scope: str
    etag: str
    size: int
    mime_type: str
    path: Path | None
    open: Callable[[], AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True)
class Transformation:
    """What the render endpoints take (reference/storage.md section 6.1), validated and clamped.

    `format` is None when it shall be negotiated by `accept`.  No field set means: re-encode as is.
    """

    width: int | None = None
    height: int | None = None
    resize: str = "cover"
    quality: int | None = None
    format: str | None = None
    gravity: str | None = None
    x_offset: float | None = None
    y_offset: float | None = None


@dataclass(frozen=True, slots=True)
class TransformedImage:
    """The result.  `etag` is quoted and differs for every variant; `varies` says that `Accept`
    had a say in the format."""

    body: bytes
    mime_type: str
    etag: str
    varies: bool = False


class ImageFailed(Exception):
    """The image cannot be transformed.  `message` is for the client, `status` is truthful."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class ImageTransformer(Protocol):
    """Transforms images within limits of its own.  Raises ImageFailed."""

    async def transform(
        self, source: ImageSource, wanted: Transformation, accept: str
    ) -> TransformedImage: ...
