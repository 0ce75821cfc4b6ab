"""The SMS services of reference/auth.md section 5.4: which request sends a message, and what its
answer means.

Sources: the public API documentation of Twilio, MessageBird, Textlocal and Vonage.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode

import orjson

from selfbase.auth.logic.providers.profile import pick

Channel = Literal["sms", "whatsapp"]
CHANNELS: Final = ("sms", "whatsapp")
# WhatsApp goes through Twilio only.
_WHATSAPP_PROVIDERS: Final = frozenset({"twilio", "twilio_verify"})
_PHONE = re.compile(r"[1-9][0-9]{1,14}")


class SmsRefused(Exception):
    """The service did not take the message; the text is for the log, never for a caller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsAccount:
    """The operator's account at one service; which members count depends on the provider."""

    provider: str
    account: str = ""
    secret: str = field(default="", repr=False)
    sender: str = ""
    content_sid: str = ""


@dataclass(frozen=True, slots=True)
class SmsRequest:
    """A form to POST.  Holds a code and credentials: never log it."""

    url: str
    form: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


def is_channel(channel: str, provider: str) -> bool:
    """Whether the provider can send by this channel."""
    return channel == "sms" or (channel == "whatsapp" and provider in _WHATSAPP_PROVIDERS)


def required_members(provider: str) -> tuple[str, ...]:
    """The members of SmsAccount a provider cannot do without.  Raises KeyError if unknown."""
    return {
        "twilio": ("account", "secret", "sender"),
        "twilio_verify": ("account", "secret", "sender"),
        "messagebird": ("secret", "sender"),
        "textlocal": ("secret", "sender"),
        "vonage": ("account", "secret", "sender"),
    }[provider]


def render_message(
    account: SmsAccount, *, phone: str, message: str, code: str, channel: str
) -> SmsRequest:
    """The request that sends a message; `phone` has digits only.  Raises SmsRefused."""
    if not is_channel(channel, account.provider):
        raise SmsRefused(f"{account.provider} cannot send by {channel}")
    match account.provider:
        case "twilio":
            return _twilio(account, phone, message, code, channel)
        case "twilio_verify":
            return _twilio_verify(account, "Verifications", {"To": f"+{phone}", "Channel": channel})
        case "messagebird":
            form = {
                "originator": account.sender,
                "body": message,
                "recipients": phone,
                "type": "sms",
                "datacoding": "unicode",
            }
            authorization = ("authorization", f"AccessKey {account.secret}")
            return _post("https://rest.messagebird.com/messages", form, authorization)
        case "textlocal":
            form = {
                "sender": account.sender,
                "apikey": account.secret,
                "message": message,
                "numbers": phone,
            }
            return _post("https://api.textlocal.in/send", form)
        case "vonage":
            form = {
                "from": account.sender,
                "to": phone,
                "text": message,
                "api_key": account.account,
                "api_secret": account.secret,
            }
            if not message.isascii():
                form["type"] = "unicode"
            return _post("https://rest.nexmo.com/sms/json", form)
    raise SmsRefused(f"unknown SMS provider {account.provider}")


def render_check(account: SmsAccount, *, phone: str, code: str) -> SmsRequest:
    """Asks Twilio Verify whether a code is right: it made the code, we never knew it."""
    return _twilio_verify(account, "VerificationCheck", {"To": f"+{phone}", "Code": code})


def _post(url: str, form: Mapping[str, str], *headers: tuple[str, str]) -> SmsRequest:
    kind = ("content-type", "application/x-www-form-urlencoded")
    return SmsRequest(url, urlencode(form), (kind, *headers))


def _basic(account: SmsAccount) -> tuple[str, str]:
    pair = f"{account.account}:{account.secret}".encode()
    return ("authorization", f"Basic {b64encode(pair).decode()}")


def _twilio(account: SmsAccount, phone: str, message: str, code: str, channel: str) -> SmsRequest:
    sender, receiver = account.sender, f"+{phone}"
    form = {"To": receiver, "Channel": channel, "From": sender}
    if channel == "whatsapp":
        form["To"] = f"whatsapp:{receiver}"
        if _PHONE.fullmatch(sender.removeprefix("+").replace(" ", "")):
            form["From"] = f"whatsapp:{sender}"
    if channel == "whatsapp" and account.content_sid:
        form["ContentSid"] = account.content_sid
        form["ContentVariables"] = orjson.dumps({"1": code}).decode()
    else:
        form["Body"] = message
    base = f"https://api.twilio.com/2010-04-01/Accounts/{quote(account.account, safe='')}"
    return _post(f"{base}/Messages.json", form, _basic(account))


def _twilio_verify(account: SmsAccount, action: str, form: Mapping[str, str]) -> SmsRequest:
    service = quote(account.sender, safe="")
    return _post(f"https://verify.twilio.com/v2/Services/{service}/{action}", form, _basic(account))


def read_message_answer(provider: str, status: int, body: bytes) -> str:
    """The service's id of the accepted message.  Raises SmsRefused."""
    answer = _read_json(provider, status, body)
    fault: str | None = None
    message_id: Any = None
    match provider:
        case "twilio" | "twilio_verify":
            message_id = answer.get("sid")
            if status not in (200, 201):
                fault = f"{answer.get('code')} {answer.get('message')}"
            elif provider == "twilio" and answer.get("status") in ("failed", "undelivered"):
                fault = f"{answer.get('error_code')} {answer.get('error_message')}"
        case "messagebird":
            message_id = answer.get("id")
            if status >= 400:
                fault = str(pick(answer, "errors", 0, "description"))
            elif not pick(answer, "recipients", "totalSentCount"):
                fault = "total sent count is 0"
        case "textlocal":
            message_id = pick(answer, "messages", 0, "id")
            if answer.get("status") != "success":
                fault = (
                    f"{pick(answer, 'errors', 0, 'code')} {pick(answer, 'errors', 0, 'message')}"
                )
        case "vonage":
            message_id = pick(answer, "messages", 0, "message-id")
            if pick(answer, "messages", 0, "status") != "0":
                fault = str(pick(answer, "messages", 0, "error-text"))
        case _:
            fault = "unknown SMS provider"
    if fault is not None:
        raise SmsRefused(f"{provider}: {fault}")
    return str(message_id or "")


def is_check_approved(status: int, body: bytes) -> bool:
    """Whether Twilio Verify approved a code."""
    try:
        answer = _read_json("twilio_verify", status, body)
    except SmsRefused:
        return False
    return status in (200, 201) and answer.get("status") == "approved" and bool(answer.get("valid"))


def _read_json(provider: str, status: int, body: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise SmsRefused(f"{provider}: status {status} without JSON") from None
    if not isinstance(answer, dict):
        raise SmsRefused(f"{provider}: status {status} with an unexpected body")
    return answer
