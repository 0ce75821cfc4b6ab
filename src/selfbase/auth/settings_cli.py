"""The official CLI's `[auth]` sections as Auth's settings, where the file says things another way.

Most settings name their path in the file themselves; here is what has to be turned, gathered or
left out.  Keys nobody knows are never an error.  Source: supabase CLI `pkg/config/auth.go` and
`internal/start` (2026-06).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from selfbase.kit.settings import SettingInfo, TomlLayer, parse_bool, parse_seconds

# In the order in which the CLI looks for the one that is enabled.
SMS_PROVIDERS: Final = ("twilio", "twilio_verify", "messagebird", "textlocal", "vonage")
# Mails that only go to the catcher are not counted.
UNCOUNTED: Final = "360000"


@dataclass(frozen=True)
class CliToml:
    """A layer over the file that answers in Auth's terms."""

    inner: TomlLayer

    @property
    def name(self) -> str:
        return self.inner.name

    def find(self, owner: str, field_name: str, info: SettingInfo) -> Any:
        inverse = _INVERSE.get(field_name)
        if inverse is not None:
            raw = self.get(inverse)
            return None if raw is None else not parse_bool(raw)
        value = self.inner.find(owner, field_name, info)
        read = _READERS.get(field_name)
        return value if read is None else read(self, value)

    def get(self, path: str) -> Any:
        """What the file says at a dotted path, or None."""
        return self.inner.find("auth", "", dataclasses.replace(_NOTHING, toml=path))

    def sends_mail(self) -> bool:
        """Whether the file names a mail server; `enabled` may be missing in older files."""
        smtp = self.get("auth.email.smtp")
        return isinstance(smtp, Mapping) and parse_bool(smtp.get("enabled", True))


def _read_requirements(_: CliToml, value: Any) -> Any:
    return _REQUIREMENTS.get(value, value) if isinstance(value, str) else value


def _read_smtp_host(file: CliToml, value: Any) -> Any:
    return value if file.sends_mail() else None


def _read_email_sent(file: CliToml, value: Any) -> Any:
    if file.sends_mail() or file.get("auth") is None:
        return value
    return UNCOUNTED


def _read_admin_email(file: CliToml, value: Any) -> Any:
    return value if file.sends_mail() else file.get("inbucket.admin_email")


def _read_sender_name(file: CliToml, value: Any) -> Any:
    return value if file.sends_mail() else file.get("inbucket.sender_name")


def _read_sms_provider(file: CliToml, _: Any) -> Any:
    enabled = (
        name for name in SMS_PROVIDERS if parse_bool(file.get(f"auth.sms.{name}.enabled") or False)
    )
    return next(enabled, None)


def _read_test_otp(file: CliToml, _: Any) -> Any:
    codes = file.get("auth.sms.test_otp")
    if not isinstance(codes, Mapping):
        return None
    return ",".join(f"{phone}:{code}" for phone, code in codes.items())


def _read_limit(_: CliToml, value: Any) -> Any:
    """Zero means that there is no such limit."""
    return None if value is None or parse_seconds(value) <= 0 else value


_NOTHING: Final = SettingInfo((), None, "", None, secret=False, choices=(), runtime=False)
_INVERSE: Final = {
    "disable_signup": "auth.enable_signup",
    "mailer_autoconfirm": "auth.email.enable_confirmations",
    "sms_autoconfirm": "auth.sms.enable_confirmations",
}
_READERS: Final[Mapping[str, Callable[[CliToml, Any], Any]]] = {
    "password_required_characters": _read_requirements,
    "smtp_host": _read_smtp_host,
    "smtp_admin_email": _read_admin_email,
    "smtp_sender_name": _read_sender_name,
    "rate_limit_email_sent": _read_email_sent,
    "sms_provider": _read_sms_provider,
    "sms_test_otp": _read_test_otp,
    "sessions_timebox": _read_limit,
    "sessions_inactivity_timeout": _read_limit,
}
_LOWER, _UPPER, _DIGITS = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
_SYMBOLS = r"""!@#$%^&*()_+-=[]{};'\\:"|<>?,./`~""".replace(":", "\\:")
_REQUIREMENTS: Final = {
    "letters_digits": f"{_LOWER}{_UPPER}:{_DIGITS}",
    "lower_upper_letters_digits": f"{_LOWER}:{_UPPER}:{_DIGITS}",
    "lower_upper_letters_digits_symbols": f"{_LOWER}:{_UPPER}:{_DIGITS}:{_SYMBOLS}",
}
