"""What Storage hands over and takes back, by shape: a service never imports a sibling.

`app.py` binds `Images.transform` to Storage's own port of the same shape.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Source(Protocol):
    """The original.  `etag` changes with its bytes; `cache_scope` keeps projects apart; `path` is
    where the bytes lie if they lie on this machine."""

    @property
    def cache_scope(self) -> str: ...
    @property
    def etag(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def path(self) -> Path | None: ...
    def open(self) -> AsyncIterator[bytes]: ...


class Wanted(Protocol):
    """Storage's render parameters, validated and clamped; None where not given.  `format` may be
    `origin`, `webp` or `avif`."""

    @property
    def width(self) -> int | None: ...
    @property
    def height(self) -> int | None: ...
    @property
    def resize(self) -> str: ...
    @property
    def quality(self) -> int | None: ...
    @property
    def format(self) -> str | None: ...
    @property
    def gravity(self) -> str | None: ...
    @property
    def x_offset(self) -> float | None: ...
    @property
    def y_offset(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class FinishedImage:
    """An image for a client.  `etag` is quoted and differs for every variant; `varies` says that
    `Accept` had a say in the format."""

    body: bytes
    mime_type: str
    etag: str
    varies: bool = False
