"""Sending codes by phone: the port providers fill, test codes, and the send-SMS hook."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Protocol

from selfbase.auth.context import Context
from selfbase.auth.errors import PhoneProviderDisabled, SmsSendFailed
from selfbase.auth.logic.render import render_user
from selfbase.auth.logic.templates import TemplateError, parse_template, render_template
from selfbase.auth.outgoing import Outgoing
from selfbase.auth.settings import AuthSettings
from selfbase.auth.types import User
from selfbase.database.database import Transaction
from selfbase.kit.events import Event

DEFAULT_TEMPLATE = "Your code is {{ .Code }}"


class SmsProvider(Protocol):
    """One company that sends messages."""

    async def send(self, phone: str, text: str, channel: str, code: str) -> str:
        """The message's id.  Raises SmsSendFailed."""

    async def check(self, phone: str, code: str) -> bool | None:
        """Whether the company itself accepts the code; None when it does not keep codes."""


ProviderMaker = Callable[[AuthSettings, Outgoing], SmsProvider]


@dataclass(frozen=True, slots=True)
class SmsFailed(Event):
    """A message could not be sent."""

    name: ClassVar[str] = "auth.sms.failed"
    level: ClassVar = "warning"
    service: ClassVar[str] = "auth"
    provider: str
    reason: str


class SmsSender:
    """Sends through the configured provider.  `makers` are known providers by name."""

    def __init__(self, outgoing: Outgoing, makers: Mapping[str, ProviderMaker]) -> None:
        self._outgoing = outgoing
        self._makers = makers

    def find_provider(self, settings: AuthSettings) -> SmsProvider | None:
        """The configured provider, or None when there is none of that name."""
        maker = self._makers.get(settings.sms_provider)
        return None if maker is None else maker(settings, self._outgoing)

    async def send_code(
        self,
        ctx: Context,
        user: User,
        phone: str,
        code: str,
        channel: str,
        *,
        tx: Transaction | None = None,
        template: str = "",
        sms_type: str = "",
    ) -> str:
        """Sends the code by hook or provider; the message's id, empty where there is none.

        Raises HookFailure, PhoneProviderDisabled, SmsSendFailed.
        """
        if ctx.settings.hooks["send_sms"].enabled:
            sms = {"otp": code, "phone": phone, **({"sms_type": sms_type} if sms_type else {})}
            await ctx.core.hooks.run(
                ctx, "send_sms", {"user": render_user(user), "sms": sms}, tx=tx
            )
            return ""
        provider = self.find_provider(ctx.settings)
        if provider is None:
            raise PhoneProviderDisabled(
                "Unable to get SMS provider", status=500, code="unexpected_failure"
            )
        try:
            parsed = parse_template(template or ctx.settings.sms_template or DEFAULT_TEMPLATE)
            text = render_template(parsed, {"Code": code}, escape=False)
        except TemplateError:
            text = f"Your code is {code}"
        try:
            return await provider.send(phone, text, channel, code)
        except SmsSendFailed as error:
            ctx.core.events.emit(SmsFailed(ctx.settings.sms_provider, error.internal or ""))
            raise


def find_test_code(settings: AuthSettings, phone: str, now: datetime) -> str | None:
    """The fixed code of a test number, while test codes are valid."""
    until = settings.sms_test_otp_valid_until
    if until:
        try:
            moment = datetime.fromisoformat(until)
        except ValueError:
            return None
        if moment.tzinfo is None or now >= moment:
            return None
    for pair in settings.sms_test_otp.split(","):
        number, separator, code = pair.strip().partition(":")
        if separator and number.strip().lstrip("+") == phone:
            return code.strip()
    return None
