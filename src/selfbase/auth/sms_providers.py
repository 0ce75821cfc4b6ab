"""The companies that can send messages, by the name settings use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from selfbase.auth.errors import SmsSendFailed
from selfbase.auth.logic import sms_providers as logic
from selfbase.auth.logic.sms_providers import SmsAccount, SmsRequest
from selfbase.auth.outgoing import AddressRefused, FetchFailed, Outgoing, Reply
from selfbase.auth.settings import AuthSettings
from selfbase.auth.sms import ProviderMaker

TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class HttpSmsProvider:
    """A company that takes a form by HTTPS; what the form holds is data (`logic.sms_providers`)."""

    account: SmsAccount
    outgoing: Outgoing

    async def send(self, phone: str, text: str, channel: str, code: str) -> str:
        """The message's id.  Raises SmsSendFailed."""
        try:
            request = logic.render_message(
                self.account, phone=phone, message=text, code=code, channel=channel
            )
            reply = await self._post(request)
            return logic.read_message_answer(self.account.provider, reply.status, reply.body)
        except logic.SmsRefused as error:
            raise SmsSendFailed(
                f"Error sending sms to {self.account.provider}", internal=str(error)
            ) from None

    async def check(self, phone: str, code: str) -> bool | None:
        """Whether the company accepts the code; None where the code is ours."""
        if self.account.provider != "twilio_verify":
            return None
        try:
            reply = await self._post(logic.render_check(self.account, phone=phone, code=code))
        except logic.SmsRefused as error:
            raise SmsSendFailed("Error checking the code", internal=str(error)) from None
        return logic.is_check_approved(reply.status, reply.body)

    async def _post(self, request: SmsRequest) -> Reply:
        try:
            return await self.outgoing.fetch(
                "POST",
                request.url,
                headers=dict(request.headers),
                content=request.form.encode(),
                timeout_s=TIMEOUT_S,
                reply_bytes_max=ANSWER_BYTES_MAX,
            )
        except (AddressRefused, FetchFailed, TimeoutError) as error:
            raise logic.SmsRefused(f"{self.account.provider}: {type(error).__name__}") from None


def read_account(settings: AuthSettings) -> SmsAccount:
    """The operator's account at the configured company.  Raises SmsSendFailed when a member that
    it cannot do without is not set."""
    provider = settings.sms_provider
    account = {
        "twilio": SmsAccount(
            provider="twilio",
            account=settings.sms_twilio_account_sid,
            secret=settings.sms_twilio_auth_token.reveal(),
            sender=settings.sms_twilio_message_service_sid,
            content_sid=settings.sms_twilio_content_sid,
        ),
        "twilio_verify": SmsAccount(
            provider="twilio_verify",
            account=settings.sms_twilio_verify_account_sid,
            secret=settings.sms_twilio_verify_auth_token.reveal(),
            sender=settings.sms_twilio_verify_message_service_sid,
        ),
        "messagebird": SmsAccount(
            provider="messagebird",
            secret=settings.sms_messagebird_access_key.reveal(),
            sender=settings.sms_messagebird_originator,
        ),
        "textlocal": SmsAccount(
            provider="textlocal",
            secret=settings.sms_textlocal_api_key.reveal(),
            sender=settings.sms_textlocal_sender,
        ),
        "vonage": SmsAccount(
            provider="vonage",
            account=settings.sms_vonage_api_key,
            secret=settings.sms_vonage_api_secret.reveal(),
            sender=settings.sms_vonage_from,
        ),
    }[provider]
    for name in logic.required_members(provider):
        if not getattr(account, name):
            raise SmsSendFailed("Error sending sms", internal=f"{provider}: {name} is not set")
    return account


def _make(settings: AuthSettings, outgoing: Outgoing) -> HttpSmsProvider:
    return HttpSmsProvider(read_account(settings), outgoing)


PROVIDERS: Mapping[str, ProviderMaker] = dict.fromkeys(
    ("twilio", "twilio_verify", "messagebird", "textlocal", "vonage"), _make
)
