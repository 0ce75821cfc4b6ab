"""Finds and removes bytes that belong to nothing: what crashes and lost removals leave behind.

Bytes belong when a row names them: an object's version, a part of an unfinished S3 upload, a
resumable upload that has not expired.  Only bytes older than a grace period are judged, so that an
upload between its bytes and its row is safe.  A row without bytes is damage and only reported.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ClassVar

from selfbase.database.failures import DatabaseFailure
from selfbase.kit.events import Event, Level
from selfbase.storage.blobs import GROWING, OBJECTS, PARTS, BlobSeen, BlobsFailed
from selfbase.storage.context import Context
from selfbase.storage.queries import SQL
from selfbase.storage.rows import by_service, service_actor
from selfbase.storage.versions import find_made_at

_BATCH = 5000
_FIRST_WAIT_S = 60.0
_LIVE = {OBJECTS: "list_live_versions", PARTS: "list_live_parts", GROWING: "list_live_growing"}


@dataclass(slots=True)
class Collected:
    """What a run found.  `keys` are the first of them, for the report."""

    dry_run: bool
    orphans: int = 0
    orphan_bytes: int = 0
    expired_uploads: int = 0
    seen: int = 0
    keys: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CollectorRan(Event):
    """A run ended."""

    name: ClassVar[str] = "storage.collector.ran"
    service: ClassVar[str] = "storage"
    dry_run: bool
    seen: int
    orphans: int
    orphan_bytes: int
    expired_uploads: int


@dataclass(frozen=True, slots=True)
class CollectorFailed(Event):
    """A run could not be finished; the next one will try again."""

    name: ClassVar[str] = "storage.collector.failed"
    level: ClassVar[Level] = "warning"
    service: ClassVar[str] = "storage"
    error: str


class Collector:
    """The collector of one project."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def run(self) -> None:
        """Collects now and then, until cancelled."""
        settings = self._context.settings
        wait_s = min(_FIRST_WAIT_S, settings.collect_every_s)
        while True:
            await asyncio.sleep(wait_s)
            wait_s = settings.collect_every_s
            try:
                await self.collect_orphans(dry_run=False)
            except (DatabaseFailure, BlobsFailed) as failure:
                self._context.events.emit(CollectorFailed(str(failure)[:300]))

    async def collect_orphans(
        self, *, dry_run: bool, grace_s: float | None = None, keys_max: int = 1000
    ) -> Collected:
        """Removes orphans older than `grace_s` (default: the setting), or only counts them.

        Raises DatabaseFailure and BlobsFailed; what was removed until then stays removed.
        """
        found = Collected(dry_run)
        grace = self._context.settings.collect_grace_s if grace_s is None else grace_s
        before = self._context.clock.now() - timedelta(seconds=grace)
        if not dry_run:
            found.expired_uploads = await self._forget_expired()
        for area in (OBJECTS, PARTS, GROWING):
            async for orphans in self._find_orphans(area, before, found):
                found.orphans += len(orphans)
                found.orphan_bytes += sum(blob.size for blob in orphans)
                found.keys += [blob.key for blob in orphans][: keys_max - len(found.keys)]
                if not dry_run:
                    await self._context.blobs.remove([blob.key for blob in orphans])
        self._context.events.emit(
            CollectorRan(
                dry_run, found.seen, found.orphans, found.orphan_bytes, found.expired_uploads
            )
        )
        return found

    async def _forget_expired(self) -> int:
        actor = service_actor("storage.collect")
        steps = [by_service(SQL["delete_expired_resumables"])]
        expiry_s = self._context.settings.s3_upload_expiry_s
        if expiry_s > 0:
            # Their parts have no row from here on: this run or the next one finds them.
            steps.append(by_service(SQL["delete_expired_multiparts"], str(expiry_s)))
        results = await self._context.rows.run(actor, *steps)
        return sum(len(rows) for rows in results)

    async def _find_orphans(
        self, area: str, before: datetime, found: Collected
    ) -> AsyncIterator[list[BlobSeen]]:
        batch: list[BlobSeen] = []
        async for blob in self._context.blobs.list(area):
            found.seen += 1
            made_at = find_made_at(_name(blob.key)) or blob.modified_at
            # The later of both: a growing blob is as old as its last byte.
            if max(made_at, blob.modified_at) < before:
                batch.append(blob)
            if len(batch) >= _BATCH:
                yield await self._without_row(area, batch)
                batch = []
        if batch:
            yield await self._without_row(area, batch)

    async def _without_row(self, area: str, blobs: list[BlobSeen]) -> list[BlobSeen]:
        names = list({_name(blob.key) for blob in blobs})
        actor = service_actor("storage.collect")
        (live,) = await self._context.rows.run(actor, by_service(SQL[_LIVE[area]], names))
        alive = set(live)
        return [blob for blob in blobs if _name(blob.key) not in alive]


def _name(key: str) -> str:
    return key.rpartition("/")[2]
