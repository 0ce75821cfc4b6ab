"""What happens in the images service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from selfbase.kit.events import Event


@dataclass(frozen=True, slots=True)
class ImageRendered(Event):
    """An image was transformed; answers from the cache do not count."""

    name: ClassVar[str] = "images.rendered"
    level: ClassVar = "debug"
    service: ClassVar[str] = "images"
    format: str
    bytes_in: int
    bytes_out: int
    ms: float


@dataclass(frozen=True, slots=True)
class ImageRefused(Event):
    """An image was not transformed; `detail` is what the decoder said."""

    name: ClassVar[str] = "images.refused"
    service: ClassVar[str] = "images"
    reason: str
    detail: str
