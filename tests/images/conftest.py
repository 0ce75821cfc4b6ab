"""An images service of a test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from selfbase.images.service import Images
from selfbase.images.settings import ImagesSettings
from selfbase.kit.clock import SystemClock
from selfbase.kit.events import Events

MakeImages = Callable[..., Awaitable[Images]]


@pytest.fixture
async def make_images(tmp_path: Path) -> AsyncIterator[MakeImages]:
    """Opens services with the settings given; closes them after the test."""
    opened: list[Images] = []

    async def make(*, must_sign: bool = False, read_object: Any = None, **values: Any) -> Images:
        patient = {"timeout_s": 60.0, "download_timeout_s": 60.0}  # the machine may be busy
        settings = ImagesSettings(**{"cache_dir": tmp_path / "images", **patient, **values})
        service = Images(
            settings, Events(), SystemClock(), must_sign=must_sign, read_object=read_object
        )
        await service.open()
        opened.append(service)
        return service

    yield make
    for service in opened:
        await service.close()


@pytest.fixture
async def images(make_images: MakeImages) -> Images:
    return await make_images()
