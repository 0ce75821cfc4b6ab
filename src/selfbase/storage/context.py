"""The parts of one project's storage service, made once and handed to every handler."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from selfbase.identity.tokens import Key, TokenVerifier
from selfbase.kit.clock import Clock
from selfbase.kit.events import Event, Events, Level
from selfbase.storage.blobs import Blobs, BlobsFailed
from selfbase.storage.faults import Faults
from selfbase.storage.ports import ImageTransformer
from selfbase.storage.rows import Rows
from selfbase.storage.settings import StorageSettings
from selfbase.storage.versions import make_version

if TYPE_CHECKING:
    from selfbase.storage.buckets import Buckets
    from selfbase.storage.objects import Objects
    from selfbase.storage.resumable import Resumables


@dataclass(frozen=True, slots=True)
class BlobsLeft(Event):
    """Bytes that no row names could not be removed now; the collector will."""

    name: ClassVar[str] = "storage.blobs.left"
    level: ClassVar[Level] = "warning"
    service: ClassVar[str] = "storage"
    count: int
    error: str


@dataclass(frozen=True, slots=True)
class BackgroundFailed(Event):
    """Work that goes on after an answer failed."""

    name: ClassVar[str] = "storage.background.failed"
    level: ClassVar[Level] = "error"
    service: ClassVar[str] = "storage"
    work: str
    error: str


@dataclass(slots=True)
class Context:
    """Everything a handler or operation may use.

    `signing_key` signs object URLs; `tokens` verifies those and bearer tokens.
    """

    settings: StorageSettings
    project_ref: str
    rows: Rows
    blobs: Blobs
    tokens: TokenVerifier
    signing_key: Key
    clock: Clock
    events: Events
    s3_access_key_id: str = ""
    s3_access_key_secret: str = field(default="", repr=False)
    anon_key: str = field(default="", repr=False)
    images: ImageTransformer | None = None
    faults: Faults = field(default_factory=Faults)
    objects: Objects = field(init=False)
    buckets: Buckets = field(init=False)
    resumables: Resumables = field(init=False)
    _background: set[asyncio.Task[None]] = field(default_factory=set)

    def make_version(self) -> str:
        """A new version: the key of bytes that are about to be written."""
        return make_version(self.clock.now())

    async def discard(self, keys: Sequence[str]) -> None:
        """Removes bytes that no row names.  Never raises: what stays is found by the collector."""
        if not keys:
            return
        try:
            await self.blobs.remove(keys)
        except BlobsFailed as error:
            self.events.emit(BlobsLeft(len(keys), str(error)))

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Goes on with `work` after the answer; `close` waits for it."""
        task = asyncio.create_task(self._report(name, work), name=name)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _report(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            # Nobody waits for this result any more: the log is the only place left.
            self.events.emit(BackgroundFailed(name, f"{type(error).__name__}: {error}"))

    async def close(self) -> None:
        """Ends work in the background and closes the blob store."""
        for task in list(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.blobs.close()
