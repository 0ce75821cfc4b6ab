"""SMS settings: codes, test codes, and which provider sends."""

from __future__ import annotations

from dataclasses import dataclass

from selfbase.auth.settings_general import gotrue
from selfbase.kit.settings import Secret


@dataclass(frozen=True, kw_only=True)
class SmsSettings:
    """Everything about codes by phone."""

    sms_autoconfirm: bool = gotrue(False, "SMS_AUTOCONFIRM", "New numbers count as confirmed.")
    sms_max_frequency: float = gotrue(
        60.0,
        "SMS_MAX_FREQUENCY",
        "Least time between two codes to one user.",
        unit="s",
        toml="auth.sms.max_frequency",
    )
    sms_otp_exp: int = gotrue(60, "SMS_OTP_EXP", "Life of a code sent by phone.", unit="s")
    sms_otp_length: int = gotrue(6, "SMS_OTP_LENGTH", "Digits of a code, 6 to 10.")
    sms_provider: str = gotrue(
        "", "SMS_PROVIDER", "twilio, twilio_verify, messagebird, textlocal or vonage."
    )
    sms_template: str = gotrue("", "SMS_TEMPLATE", "Text of the message.", toml="auth.sms.template")
    sms_test_otp: str = gotrue("", "SMS_TEST_OTP", "`phone:code,…`: known codes, nothing is sent.")
    sms_test_otp_valid_until: str = gotrue(
        "", "SMS_TEST_OTP_VALID_UNTIL", "RFC 3339 moment after which test codes end."
    )
    sms_twilio_account_sid: str = gotrue(
        "", "SMS_TWILIO_ACCOUNT_SID", "", toml="auth.sms.twilio.account_sid"
    )
    sms_twilio_auth_token: Secret = gotrue(
        Secret(""), "SMS_TWILIO_AUTH_TOKEN", "", secret=True, toml="auth.sms.twilio.auth_token"
    )
    sms_twilio_message_service_sid: str = gotrue(
        "", "SMS_TWILIO_MESSAGE_SERVICE_SID", "", toml="auth.sms.twilio.message_service_sid"
    )
    sms_twilio_content_sid: str = gotrue("", "SMS_TWILIO_CONTENT_SID", "")
    sms_twilio_verify_account_sid: str = gotrue(
        "", "SMS_TWILIO_VERIFY_ACCOUNT_SID", "", toml="auth.sms.twilio_verify.account_sid"
    )
    sms_twilio_verify_auth_token: Secret = gotrue(
        Secret(""),
        "SMS_TWILIO_VERIFY_AUTH_TOKEN",
        "",
        secret=True,
        toml="auth.sms.twilio_verify.auth_token",
    )
    sms_twilio_verify_message_service_sid: str = gotrue(
        "",
        "SMS_TWILIO_VERIFY_MESSAGE_SERVICE_SID",
        "",
        toml="auth.sms.twilio_verify.message_service_sid",
    )
    sms_messagebird_access_key: Secret = gotrue(
        Secret(""),
        "SMS_MESSAGEBIRD_ACCESS_KEY",
        "",
        secret=True,
        toml="auth.sms.messagebird.access_key",
    )
    sms_messagebird_originator: str = gotrue(
        "", "SMS_MESSAGEBIRD_ORIGINATOR", "", toml="auth.sms.messagebird.originator"
    )
    sms_textlocal_api_key: Secret = gotrue(
        Secret(""), "SMS_TEXTLOCAL_API_KEY", "", secret=True, toml="auth.sms.textlocal.api_key"
    )
    sms_textlocal_sender: str = gotrue(
        "", "SMS_TEXTLOCAL_SENDER", "", toml="auth.sms.textlocal.sender"
    )
    sms_vonage_api_key: str = gotrue("", "SMS_VONAGE_API_KEY", "", toml="auth.sms.vonage.api_key")
    sms_vonage_api_secret: Secret = gotrue(
        Secret(""), "SMS_VONAGE_API_SECRET", "", secret=True, toml="auth.sms.vonage.api_secret"
    )
    sms_vonage_from: str = gotrue("", "SMS_VONAGE_FROM", "", toml="auth.sms.vonage.from")
