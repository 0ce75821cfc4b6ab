"""Getting messages out: a bounded queue, a few tries, and a log of what became of each mail.

A request never waits for a mail server, and its time says nothing about who has an account.  No
failure is silent: each is an event and stays visible in `deliveries`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from email.message import EmailMessage
from typing import ClassVar, Protocol

import aiosmtplib

from selfbase.auth.errors import OverEmailSendRateLimit
from selfbase.auth.settings import AuthSettings
from selfbase.kit.clock import Clock
from selfbase.kit.events import Event, Events

QUEUE_MAX = 1_000
LOG_MAX = 500
WORKERS = 2
TRIES_PAUSES_S = (2.0, 10.0)
SMTP_TIMEOUT_S = 15.0
IDLE_S = 20.0


class MailSink(Protocol):
    """Where messages go."""

    async def send(self, message: EmailMessage, settings: AuthSettings) -> None:
        """Raises MailRefused (never again) or any other error (perhaps again)."""

    async def close(self) -> None:
        """Ends what is open."""


class MailRefused(Exception):
    """The server will not take this message; another try would be the same."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one mail.  `state` is queued, sent or failed."""

    id: int
    kind: str
    to: str
    queued_at: datetime
    state: str
    tries: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class MailSent(Event):
    """A mail was taken by the server."""

    name: ClassVar[str] = "auth.mail.sent"
    service: ClassVar[str] = "auth"
    kind: str
    tries: int


@dataclass(frozen=True, slots=True)
class MailFailed(Event):
    """A mail could not be delivered to the server."""

    name: ClassVar[str] = "auth.mail.failed"
    level: ClassVar = "error"
    service: ClassVar[str] = "auth"
    kind: str
    tries: int
    reason: str


Build = Callable[[], Awaitable[EmailMessage]]


@dataclass(frozen=True, slots=True)
class _Job:
    delivery: Delivery
    build: Build
    settings: AuthSettings


class Outbox:
    """The queue of mails of one Auth."""

    def __init__(self, sink: MailSink, events: Events, clock: Clock) -> None:
        self._sink = sink
        self._events = events
        self._clock = clock
        self._queue: asyncio.Queue[_Job] = asyncio.Queue(QUEUE_MAX)
        self._log: deque[Delivery] = deque(maxlen=LOG_MAX)
        self._workers: list[asyncio.Task[None]] = []
        self._count = 0

    @property
    def deliveries(self) -> tuple[Delivery, ...]:
        """The last mails and their fate, newest last."""
        return tuple(self._log)

    def put(self, kind: str, to: str, build: Build, settings: AuthSettings) -> None:
        """Queues a mail; `build` makes the message later.  Raises OverEmailSendRateLimit when the
        queue is full."""
        self._count += 1
        delivery = Delivery(self._count, kind, to, self._clock.now(), "queued")
        try:
            self._queue.put_nowait(_Job(delivery, build, settings))
        except asyncio.QueueFull:
            raise OverEmailSendRateLimit(
                "Too many mails are waiting to be sent", headers=[("Retry-After", "30")]
            ) from None
        self._log.append(delivery)
        if not self._workers:
            self._workers = [asyncio.create_task(self._work()) for _ in range(WORKERS)]

    async def drain(self) -> None:
        """Waits until every queued mail has met its fate."""
        await self._queue.join()

    async def close(self, wait_s: float = 5.0) -> None:
        """Sends what is left for a short while, then stops."""
        if self._workers:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._queue.join()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        self._workers.clear()
        await self._sink.close()

    async def _work(self) -> None:
        while True:
            job = await self._queue.get()
            try:
                await self._deliver(job)
            finally:
                self._queue.task_done()

    async def _deliver(self, job: _Job) -> None:
        tries, reason = 0, ""
        for pause_s in (*TRIES_PAUSES_S, None):
            tries += 1
            try:
                await self._sink.send(await job.build(), job.settings)
            except MailRefused as error:
                reason = str(error)
                break
            except Exception as error:
                # Whatever went wrong with one mail must not end the worker that sends the next.
                reason = f"{type(error).__name__}: {error}"[:300]
                if pause_s is None:
                    break
                await asyncio.sleep(pause_s)
            else:
                self._events.emit(MailSent(job.delivery.kind, tries))
                self._note(job.delivery, "sent", tries, "")
                return
        self._events.emit(MailFailed(job.delivery.kind, tries, reason))
        self._note(job.delivery, "failed", tries, reason)

    def _note(self, delivery: Delivery, state: str, tries: int, reason: str) -> None:
        changed = replace(delivery, state=state, tries=tries, reason=reason)
        for index, entry in enumerate(self._log):
            if entry.id == delivery.id:
                self._log[index] = changed
                return


class SmtpSink:
    """A mail server, by a few connections that stay open while there is something to send."""

    def __init__(self, catcher: tuple[str, int] | None = None) -> None:
        """`catcher` is the host and port used while no server is set."""
        self._catcher = catcher
        self._idle: list[tuple[tuple[object, ...], float, aiosmtplib.SMTP]] = []

    async def send(self, message: EmailMessage, settings: AuthSettings) -> None:
        if not settings.smtp_host:
            if self._catcher is None:
                raise MailRefused("no mail server is set (GOTRUE_SMTP_HOST)")
            host, port = self._catcher
            settings = replace(
                settings, smtp_host=host, smtp_port=port, smtp_user="", smtp_tls="none"
            )
        key = _identity(settings)
        client = await self._take(key, settings)
        try:
            await client.send_message(message)
        except (aiosmtplib.SMTPRecipientsRefused, aiosmtplib.SMTPSenderRefused) as error:
            await _quit(client)
            raise MailRefused(f"{type(error).__name__}") from None
        except aiosmtplib.SMTPResponseException as error:
            await _quit(client)
            if 500 <= error.code < 600:
                raise MailRefused(f"{error.code} {error.message}"[:300]) from None
            raise
        except BaseException:
            client.close()
            raise
        self._idle.append((key, asyncio.get_running_loop().time(), client))

    async def _take(self, key: tuple[object, ...], settings: AuthSettings) -> aiosmtplib.SMTP:
        now = asyncio.get_running_loop().time()
        while self._idle:
            kept_key, since, client = self._idle.pop()
            if kept_key == key and now - since < IDLE_S and client.is_connected:
                return client
            await _quit(client)
        mode = settings.smtp_tls
        implicit = mode == "implicit" or (mode == "auto" and settings.smtp_port == 465)
        client = aiosmtplib.SMTP(
            hostname=settings.smtp_host,
            port=settings.smtp_port,
            username=settings.smtp_user or None,
            password=settings.smtp_pass.reveal() or None,
            use_tls=implicit,
            start_tls=None if mode == "auto" and not implicit else mode == "starttls",
            tls_context=_tls(settings.smtp_ca_file),
            timeout=SMTP_TIMEOUT_S,
        )
        await client.connect()
        return client

    async def close(self) -> None:
        while self._idle:
            await _quit(self._idle.pop()[2])


def _identity(settings: AuthSettings) -> tuple[object, ...]:
    return (
        settings.smtp_host, settings.smtp_port, settings.smtp_user, settings.smtp_pass.reveal(),
        settings.smtp_tls, settings.smtp_ca_file,
    )  # fmt: skip


def _tls(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


async def _quit(client: aiosmtplib.SMTP) -> None:
    with suppress(aiosmtplib.SMTPException, OSError):
        await client.quit()
    client.close()
