"""The images service of one project: a port for Storage and an endpoint for processing URLs.

Both roads meet in `_find_or_render`: cache, single flight, pool, pipeline.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from selfbase.http.values import Request, Response, WebSocket
from selfbase.images.cache import ImageCache
from selfbase.images.endpoint import Endpoint
from selfbase.images.errors import ImageFailure, SourceTooLarge
from selfbase.images.events import ImageRefused, ImageRendered
from selfbase.images.flights import Flights
from selfbase.images.logic.formats import (
    CONTENT_TYPES,
    Accepted,
    detect_format,
    parse_accept,
    parse_format_quality,
)
from selfbase.images.logic.options import Gravity, Options, Resizing, digest_options
from selfbase.images.pipeline import Encoding, Limits, Rendered, describe_engine, render
from selfbase.images.pool import Job, RenderPool
from selfbase.images.ports import FinishedImage, Source, Wanted
from selfbase.images.settings import ImagesSettings
from selfbase.images.sources import ObjectReader, Sources
from selfbase.kit.clock import Clock
from selfbase.kit.events import Events
from selfbase.kit.failures import ConfigurationError
from selfbase.kit.settings import Layer, ValuesLayer, load_settings
from selfbase.project import Health, Project

MEGA = 1_000_000


class Images:
    """Transformations of one project."""

    name = "images"

    def __init__(
        self,
        settings: ImagesSettings,
        events: Events,
        clock: Clock,
        *,
        pool: RenderPool | None = None,
        read_object: ObjectReader | None = None,
        must_sign: bool = True,
    ) -> None:
        self.settings = settings
        self._events = events
        self._clock = clock
        self._owns_pool = pool is None
        self._pool = pool or RenderPool(settings.workers, queue_max=settings.queue_max)
        self._flights: Flights[Rendered] = Flights()
        self._engine: str | None = None
        self._encoding = _load_encoding(settings)
        self._cache = ImageCache(
            settings.cache_dir or Path(), settings.cache_bytes_max if settings.cache_dir else 0
        )
        self._sources = Sources(settings, read_object)
        self._endpoint = Endpoint(settings, clock, self._render_url, must_sign=must_sign)

    async def open(self) -> None:
        await self._cache.open()

    async def close(self) -> None:
        await self._flights.close()
        await self._sources.close()
        await self._cache.close()
        if self._owns_pool:
            await self._pool.close()

    async def health(self) -> Health:
        return Health.HEALTHY

    async def answer(self, request: Request) -> Response:
        """One processing URL."""
        return await self._endpoint.answer(request)

    async def connect(self, socket: WebSocket) -> None:
        await socket.reject(Response(404, [("content-type", "text/plain")], b"Not found"))

    async def transform(self, source: Source, wanted: Wanted, accept: str) -> FinishedImage:
        """The port for Storage: an object's image as the render parameters say.

        The source is read on a miss only.  Raises ImageFailure.
        """
        bytes_max = self.settings.source_bytes_max
        if source.size > bytes_max:
            raise SourceTooLarge

        async def read() -> bytes:
            return await _read_source(source, bytes_max)

        identity = f"{source.cache_scope} {source.etag} {source.size}"
        return await self._find_or_render(plan_options(wanted), accept, identity, read)

    # What both roads share

    async def _render_url(self, options: Options, source: str, accept: str) -> FinishedImage:
        """A processing URL's image.  The source is fetched to know what it is: its address does
        not tell whether its bytes have changed."""
        bytes_max = self._limits(options).source_bytes_max
        content = await self._sources.read(source, bytes_max)
        digest = hashlib.sha256(content).hexdigest()
        if options.raw:
            kind = CONTENT_TYPES.get(detect_format(content) or "", "application/octet-stream")
            return FinishedImage(content, kind, f'"{digest[:32]}"')

        async def read() -> bytes:
            return content

        return await self._find_or_render(options, accept, digest, read)

    async def _find_or_render(
        self, options: Options, accept: str, identity: str, read: Callable[[], Awaitable[bytes]]
    ) -> FinishedImage:
        settings = self.settings
        accepted = parse_accept(accept, auto_webp=settings.auto_webp, auto_avif=settings.auto_avif)
        negotiated = options.format is None and not options.keep_format
        if not negotiated:
            accepted = Accepted()
        if self._engine is None:
            # The library is loaded on a thread: it takes longer than the loop should wait.
            self._engine = await asyncio.to_thread(describe_engine)
        key = self._key(self._engine, options, accepted, identity)
        image = await self._cache.find(key)
        if image is None:
            image = await self._flights.run(key, lambda: self._render(key, options, accepted, read))
        return FinishedImage(
            image.content,
            CONTENT_TYPES[image.format],
            f'"{key[:32]}"',
            varies=negotiated and (settings.auto_webp or settings.auto_avif),
        )

    def _key(self, engine: str, options: Options, accepted: Accepted, identity: str) -> str:
        encoding = self._encoding
        written = (
            encoding.quality,
            sorted(encoding.format_quality.items()),
            encoding.avif_speed,
            hashlib.sha256(encoding.watermark or b"").hexdigest(),
            encoding.watermark_opacity,
            self._limits(options),
        )
        parts = (engine, identity, digest_options(options), accepted.text, repr(written))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    async def _render(
        self,
        key: str,
        options: Options,
        accepted: Accepted,
        read: Callable[[], Awaitable[bytes]],
    ) -> Rendered:
        started_s = self._clock.monotonic_s()
        data = await read()
        limits = self._limits(options)

        def work(job: Job) -> Rendered:
            return render(data, options, accepted, limits, self._encoding, job.track)

        try:
            image = await self._pool.run(work, self.settings.timeout_s)
        except ImageFailure as failure:
            self._events.emit(
                ImageRefused(reason=type(failure).__name__, detail=failure.internal or "")
            )
            raise
        took_ms = (self._clock.monotonic_s() - started_s) * 1000
        self._events.emit(
            ImageRendered(
                format=image.format, bytes_in=len(data), bytes_out=len(image.content), ms=took_ms
            )
        )
        await self._cache.put(key, image)
        return image

    def _limits(self, options: Options) -> Limits:
        """The settings' limits; a URL may lower them, and raise them only where that is allowed."""
        settings = self.settings
        pick = _replace if settings.allow_security_options else _lower
        return Limits(
            source_pixels_max=pick(
                int(settings.source_megapixels_max * MEGA), options.source_pixels_max
            ),
            frame_pixels_max=int(settings.frame_megapixels_max * MEGA),
            source_bytes_max=pick(settings.source_bytes_max, options.source_bytes_max),
            frames_max=pick(settings.frames_max, options.frames_max),
            side_max=settings.result_side_max,
        )


_RESIZING: dict[str, Resizing] = {"cover": "fill", "contain": "fit", "fill": "force"}


def plan_options(wanted: Wanted) -> Options:
    """The transformation that Storage's parameters ask for."""
    gravity = Gravity()
    if wanted.gravity == "sm":
        gravity = Gravity("sm")
    elif wanted.gravity:
        gravity = Gravity(wanted.gravity, wanted.x_offset or 0.0, wanted.y_offset or 0.0)
    return Options(
        resizing=_RESIZING[wanted.resize],
        width=wanted.width or 0,
        height=wanted.height or 0,
        quality=wanted.quality or 0,
        format=None if wanted.format == "origin" else wanted.format,
        keep_format=wanted.format == "origin",
        gravity=gravity,
    )


async def _read_source(source: Source, bytes_max: int) -> bytes:
    content = bytearray()
    async for piece in source.open():
        content += piece
        if len(content) > bytes_max:
            raise SourceTooLarge
    return bytes(content)


def _lower(limit: int, asked: int) -> int:
    return min(limit, asked) if asked else limit


def _replace(limit: int, asked: int) -> int:
    return asked or limit


def _load_encoding(settings: ImagesSettings) -> Encoding:
    try:
        format_quality = parse_format_quality(settings.format_quality)
        watermark = settings.watermark_path.read_bytes() if settings.watermark_path else None
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"images: {error}") from None
    return Encoding(
        quality=settings.quality,
        format_quality=format_quality,
        avif_speed=settings.avif_speed,
        watermark=watermark,
        watermark_opacity=settings.watermark_opacity,
    )


def make_images(
    project: Project,
    *,
    pool: RenderPool | None = None,
    read_object: ObjectReader | None = None,
) -> Images:
    """The images service of a project.  `pool` is shared by all projects of the process;
    `read_object` serves `storage://bucket/path` sources of signed processing URLs."""
    settings = load_settings(
        ImagesSettings,
        (*project.layers, ValuesLayer({"cache_dir": project.data_dir / "images"}, "default")),
        owner="images",
    )
    return Images(settings, project.events, project.clock, pool=pool, read_object=read_object)


def make_standalone_images(layers: Sequence[Layer], events: Events, clock: Clock) -> Images:
    """The service in place of an imgproxy container.  Without a key, as there, no signature is
    asked for; sources in private networks are its usual work, so they are allowed by default."""
    settings = load_settings(
        ImagesSettings, (*layers, ValuesLayer({"allow_private": True}, "default")), owner="images"
    )
    return Images(settings, events, clock, must_sign=False)
