"""What Auth writes to people: which mail, with which values, by hook or by queue."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import parseaddr
from typing import Any, ClassVar
from urllib.parse import urlsplit

from selfbase.auth.context import Context
from selfbase.auth.errors import AuthFailure
from selfbase.auth.logic.render import render_user
from selfbase.auth.logic.templates import TemplateError
from selfbase.auth.mail.delivery import Outbox
from selfbase.auth.mail.message import build_link, build_message, parse_headers, render_mail
from selfbase.auth.outgoing import AddressRefused, FetchFailed, Outgoing
from selfbase.auth.settings import AuthSettings
from selfbase.auth.settings_mail import MailText
from selfbase.auth.types import User
from selfbase.database.database import Transaction
from selfbase.kit.clock import Clock
from selfbase.kit.events import Event, Events

FETCHED_MAX = 50


@dataclass(frozen=True, slots=True)
class TemplateUnusable(Event):
    """A template could not be fetched or read; the built-in text was sent instead."""

    name: ClassVar[str] = "auth.mail.template_unusable"
    level: ClassVar = "warning"
    service: ClassVar[str] = "auth"
    kind: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A one-time code as it goes into a mail.  `action` is the verification type of its link."""

    otp: str
    token_hash: str
    action: str
    redirect_to: str = ""


class Mailer:
    """Writes and sends mails."""

    def __init__(self, outbox: Outbox, outgoing: Outgoing, events: Events, clock: Clock) -> None:
        self.outbox = outbox
        self._outgoing = outgoing
        self._events = events
        self._clock = clock
        self._fetched: OrderedDict[str, tuple[float, str]] = OrderedDict()

    async def send_code(
        self,
        ctx: Context,
        tx: Transaction,
        user: User,
        kind: str,
        to: str,
        code: Code,
        values: Mapping[str, Any] | None = None,
    ) -> None:
        """A mail with a code and a link.  Raises HookFailure, OverEmailSendRateLimit."""
        check_authorized(ctx, to)
        if await self._ask_hook(ctx, tx, user, _email_data(ctx, code)):
            return
        full = {
            "SiteURL": ctx.settings.site_url,
            "ConfirmationURL": confirmation_url(ctx, kind, code),
            "Email": user.email or to,
            "Token": code.otp,
            "TokenHash": code.token_hash,
            "Data": user.user_metadata,
            "RedirectTo": code.redirect_to,
            **(values or {}),
        }
        self._put(ctx, kind, to, full)

    async def send_change_codes(
        self, ctx: Context, tx: Transaction, user: User, new: Code, current: Code | None
    ) -> None:
        """The mails of an address change: to the new address, and to the current one if there is
        one that must agree."""
        if ctx.settings.hooks["send_email"].enabled:
            data = _email_data(ctx, new)
            if current is not None:
                # Parity: upstream's pairs are crossed; hooks in the field rely on it.
                data.update(
                    token=current.otp, token_hash=new.token_hash,
                    token_new=new.otp, token_hash_new=current.token_hash,
                )  # fmt: skip
            await self._ask_hook(ctx, tx, user, data)
            return
        targets = [(user.email_change, new)]
        if current is not None:
            targets.append((user.email, current))
        for to, code in targets:
            await self.send_code(
                ctx, tx, user, "email_change", to, code,
                {"Email": user.email, "NewEmail": user.email_change, "SendingTo": to},
            )  # fmt: skip

    async def notify(
        self,
        ctx: Context,
        tx: Transaction,
        name: str,
        user: User,
        *,
        to: str = "",
        **values: str,
    ) -> None:
        """Tells a person of a change, where that is switched on and there is an address.  Trouble
        with the mail is an event, never a failed request."""
        address = to or user.email
        if not ctx.settings.notifications.get(name) or not address:
            return
        kind = f"{name}_notification"
        data: dict[str, Any] = {
            "email_action_type": kind, "site_url": ctx.settings.external_url,
            "provider": values.get("Provider", ""), "factor_type": values.get("FactorType", ""),
            "old_email": values.get("OldEmail", ""), "old_phone": values.get("OldPhone", ""),
            "token": "", "token_hash": "", "redirect_to": "", "token_new": "", "token_hash_new": "",
        }  # fmt: skip
        try:
            check_authorized(ctx, address)
            if not await self._ask_hook(ctx, tx, user, data):
                self._put(ctx, kind, address, {"Email": user.email, "Phone": user.phone, **values})
        except AuthFailure as error:
            self._events.emit(TemplateUnusable(kind, error.code))

    async def _ask_hook(
        self, ctx: Context, tx: Transaction, user: User, email_data: Mapping[str, Any]
    ) -> bool:
        if not ctx.settings.hooks["send_email"].enabled:
            return False
        payload = {"user": render_user(user), "email_data": dict(email_data)}
        await ctx.core.hooks.run(ctx, "send_email", payload, tx=tx)
        return True

    def _put(self, ctx: Context, kind: str, to: str, values: Mapping[str, Any]) -> None:
        settings = ctx.settings
        mail = settings.mails[kind]

        async def build() -> EmailMessage:
            return await self._build(settings, mail, to, values)

        self.outbox.put(kind, to, build, settings)

    async def _build(
        self, settings: AuthSettings, mail: MailText, to: str, values: Mapping[str, Any]
    ) -> EmailMessage:
        fetched = await self._fetch(settings, mail) if mail.template else None
        try:
            subject, html = render_mail(mail, fetched, values)
        except TemplateError as error:
            self._events.emit(TemplateUnusable(mail.kind, str(error)))
            subject, html = render_mail(MailText(kind=mail.kind), None, values)
        sender = parseaddr(settings.smtp_admin_email)[1]
        domain = sender.rpartition("@")[2] or "localhost"
        return build_message(
            to=to,
            sender=sender,
            sender_name=settings.smtp_sender_name,
            subject=subject,
            html=html,
            message_id=f"<{uuid.uuid4()}@{domain}>",
            headers=parse_headers(settings.smtp_headers, mail.kind),
        )

    async def _fetch(self, settings: AuthSettings, mail: MailText) -> str | None:
        address = mail.template
        if not address.startswith(("http://", "https://")):
            address = settings.site_url.rstrip("/") + "/" + address.lstrip("/")
        now_s = self._clock.monotonic_s()
        kept = self._fetched.get(address)
        if kept is not None and now_s - kept[0] < settings.mailer_template_max_age:
            return kept[1]
        try:
            # The operator chose the address; it is often a neighbour on a private network.
            reply = await self._outgoing.fetch(
                "GET", address, timeout_s=10.0, allow_private=True,
                reply_bytes_max=settings.mailer_template_max_size,
            )  # fmt: skip
        except (FetchFailed, AddressRefused, TimeoutError) as error:
            self._events.emit(TemplateUnusable(mail.kind, type(error).__name__))
            return kept[1] if kept else None
        if reply.status != 200:
            self._events.emit(TemplateUnusable(mail.kind, f"status {reply.status}"))
            return kept[1] if kept else None
        text = reply.body.decode("utf-8", "replace")
        self._fetched[address] = (now_s, text)
        if len(self._fetched) > FETCHED_MAX:
            self._fetched.popitem(last=False)
        return text


def confirmation_url(ctx: Context, kind: str, code: Code) -> str:
    """The address that verifies a code."""
    path_kind = {"magic_link": "recovery"}.get(kind, kind)
    path = ctx.settings.mails[path_kind].url_path or "/verify"
    return build_link(
        link_base(ctx), path, token=code.token_hash, kind=code.action,
        redirect_to=code.redirect_to,
    )  # fmt: skip


def link_base(ctx: Context) -> str:
    """The public address of Auth; a forwarded host replaces it only where it is listed."""
    forwarded = ctx.request.headers.get("x-forwarded-host").partition(",")[0].strip().lower()
    host = forwarded.partition(":")[0]
    if not host or host not in {name.lower() for name in ctx.settings.mailer_external_hosts}:
        return ctx.settings.external_url
    split = urlsplit(ctx.settings.external_url)
    scheme = ctx.request.headers.get("x-forwarded-proto", split.scheme)
    if scheme not in ("http", "https"):
        scheme = split.scheme
    return split._replace(scheme=scheme, netloc=forwarded).geturl()


def check_authorized(ctx: Context, to: str) -> None:
    """Where mail goes to listed addresses only, refuses the others; `+label` does not count."""
    listed = {
        _without_label(address) for address in ctx.settings.external_email_authorized_addresses
    }
    if listed and _without_label(to) not in listed:
        raise AuthFailure(
            "Email address not authorized", code="email_address_not_authorized", status=400
        )


def _without_label(address: str) -> str:
    local, _, domain = address.strip().lower().rpartition("@")
    return f"{local.partition('+')[0]}@{domain}"


def _email_data(ctx: Context, code: Code) -> dict[str, Any]:
    return {
        "token": code.otp,
        "token_hash": code.token_hash,
        "redirect_to": code.redirect_to,
        "email_action_type": code.action,
        "site_url": ctx.settings.external_url,
        "token_new": "",
        "token_hash_new": "",
        "old_email": "",
        "old_phone": "",
        "provider": "",
        "factor_type": "",
    }
