"""Every key of the official CLI's `[auth]` sections, read as the CLI means it."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from selfbase.auth.settings import AuthSettings, load_auth_settings
from selfbase.kit.settings import EnvLayer, TomlLayer

WHOLE = r"""
[inbucket]
admin_email = "local@example.com"
sender_name = "Local"
[auth]
enabled = true
site_url = "https://site.test"
external_url = "https://auth.test/auth/v1"
additional_redirect_urls = ["https://a.test", "https://b.test/**"]
jwt_expiry = 1800
jwt_issuer = "https://issuer.test"
enable_refresh_token_rotation = false
refresh_token_reuse_interval = 20
enable_signup = false
enable_anonymous_sign_ins = true
enable_manual_linking = true
minimum_password_length = 9
password_requirements = "lower_upper_letters_digits_symbols"
a_key_of_tomorrow = [1, { x = 2 }]
[auth.a_section_of_tomorrow]
enabled = true
[auth.passkey]
enabled = true
[auth.webauthn]
rp_display_name = "Us"
rp_id = "site.test"
rp_origins = ["https://site.test"]
[auth.rate_limit]
email_sent = 2
sms_sent = 31
anonymous_users = 32
token_refresh = 151
sign_in_sign_ups = 33
token_verifications = 34
web3 = 35
[auth.captcha]
enabled = true
provider = "turnstile"
secret = "captcha-secret"
[auth.email]
enable_signup = false
double_confirm_changes = false
enable_confirmations = true
secure_password_change = true
max_frequency = "2s"
otp_length = 8
otp_expiry = 900
[auth.email.template.invite]
subject = "Come in"
content = "<p>{{ .ConfirmationURL }}</p>"
[auth.email.notification.password_changed]
enabled = true
subject = "Changed"
[auth.sms]
enable_signup = true
enable_confirmations = false
template = "Code {{ .Code }}"
max_frequency = "5s"
[auth.sms.test_otp]
4152127777 = "123456"
4152127778 = "654321"
[auth.sms.twilio]
enabled = false
account_sid = "T"
[auth.sms.vonage]
enabled = true
from = "Us"
api_key = "K"
api_secret = "S"
[auth.sessions]
timebox = "24h"
inactivity_timeout = "0s"
[auth.hook.before_user_created]
enabled = true
uri = "pg-functions://postgres/public/hook"
[auth.hook.send_email]
enabled = true
uri = "https://hook.test"
secrets = "v1,whsec_c2VjcmV0"
[auth.mfa]
max_enrolled_factors = 3
[auth.mfa.totp]
enroll_enabled = false
verify_enabled = false
[auth.mfa.phone]
enroll_enabled = true
verify_enabled = true
otp_length = 7
template = "Factor {{ .Code }}"
max_frequency = "6s"
[auth.mfa.web_authn]
enroll_enabled = true
verify_enabled = true
[auth.external.apple]
enabled = true
client_id = "one,two"
secret = "apple-secret"
redirect_uri = "https://auth.test/back"
url = ""
skip_nonce_check = true
email_optional = true
[auth.external.provider_of_tomorrow]
enabled = true
[auth.web3.solana]
enabled = true
[auth.web3.ethereum]
enabled = true
[auth.third_party.firebase]
enabled = false
project_id = "p"
[auth.oauth_server]
enabled = true
authorization_url_path = "/oauth/consent"
allow_dynamic_registration = true
"""


def load(text: str, **variables: str) -> AuthSettings:
    return load_auth_settings([EnvLayer(variables), TomlLayer(tomllib.loads(text))])


def test_every_key_of_the_cli() -> None:
    made = load(WHOLE)
    expected: dict[str, Any] = {
        "site_url": "https://site.test", "external_url": "https://auth.test/auth/v1",
        "uri_allow_list": ("https://a.test", "https://b.test/**"), "jwt_exp": 1800,
        "issuer": "https://issuer.test", "security_refresh_token_rotation_enabled": False,
        "security_refresh_token_reuse_interval": 20, "disable_signup": True,
        "external_anonymous_users_enabled": True, "security_manual_linking_enabled": True,
        "password_min_length": 9, "passkey_enabled": True, "webauthn_rp_display_name": "Us",
        "webauthn_rp_id": "site.test", "webauthn_rp_origins": ("https://site.test",),
        "rate_limit_sms_sent": "31", "rate_limit_anonymous_users": 32,
        "rate_limit_token_refresh": 151, "rate_limit_otp": 33, "rate_limit_verify": 34,
        "rate_limit_web3": 35, "security_captcha_enabled": True,
        "security_captcha_provider": "turnstile", "security_captcha_secret": "captcha-secret",
        "external_email_enabled": False, "mailer_secure_email_change_enabled": False,
        "mailer_autoconfirm": False, "smtp_max_frequency": 2.0, "mailer_otp_length": 8,
        "mailer_otp_exp": 900, "security_update_password_require_reauthentication": True,
        "external_phone_enabled": True, "sms_autoconfirm": True, "sms_template": "Code {{ .Code }}",
        "sms_max_frequency": 5.0, "sms_test_otp": "4152127777:123456,4152127778:654321",
        "sms_provider": "vonage", "sms_vonage_from": "Us", "sms_vonage_api_key": "K",
        "sms_vonage_api_secret": "S", "sessions_timebox": 86400.0,
        "sessions_inactivity_timeout": None, "mfa_max_enrolled_factors": 3,
        "mfa_totp_enroll_enabled": False, "mfa_totp_verify_enabled": False,
        "mfa_phone_enroll_enabled": True, "mfa_phone_verify_enabled": True,
        "mfa_phone_otp_length": 7, "mfa_phone_template": "Factor {{ .Code }}",
        "mfa_phone_max_frequency": 6.0, "mfa_web_authn_enroll_enabled": True,
        "mfa_web_authn_verify_enabled": True, "external_web3_solana_enabled": True,
        "external_web3_ethereum_enabled": True, "oauth_server_enabled": True,
        "oauth_server_authorization_path": "/oauth/consent",
        "oauth_server_allow_dynamic_registration": True,
        # No mail server: the catcher's mails are not counted, and come from the catcher's sender.
        "rate_limit_email_sent": "360000", "smtp_host": "",
        "smtp_admin_email": "local@example.com", "smtp_sender_name": "Local",
    }  # fmt: skip
    assert {name: getattr(made, name) for name in expected} == expected
    assert made.password_required_characters.startswith("abcdefghijklmnopqrstuvwxyz:ABC")
    assert made.mails["invite"].subject == "Come in"
    assert made.mails["invite"].content == "<p>{{ .ConfirmationURL }}</p>"
    assert made.mails["password_changed_notification"].subject == "Changed"
    assert made.notifications["password_changed"]
    assert made.hooks["before_user_created"].uri == "pg-functions://postgres/public/hook"
    assert made.hooks["send_email"].secrets == "v1,whsec_c2VjcmV0"
    apple = made.providers["apple"]
    assert (apple.enabled, apple.client_id, apple.secret) == (True, ("one", "two"), "apple-secret")
    assert (apple.redirect_uri, apple.url) == ("https://auth.test/back", "")
    assert apple.skip_nonce_check
    assert apple.email_optional


@pytest.mark.parametrize(
    ("more", "host", "count"),
    [
        ("", "mail.test", "2"),
        ("enabled = true", "mail.test", "2"),
        ("enabled = false", "", "360000"),
    ],
)
def test_a_mail_server_counts_its_mails(more: str, host: str, count: str) -> None:
    made = load(
        '[auth.rate_limit]\nemail_sent = 2\n[auth.email.smtp]\nhost = "mail.test"\n'
        f'admin_email = "us@mail.test"\n{more}\n'
    )
    assert (made.smtp_host, made.rate_limit_email_sent) == (host, count)
    assert made.smtp_admin_email == ("us@mail.test" if host else "admin@email.com")


def test_without_auth_sections_auths_own_defaults_hold() -> None:
    assert load("[api]\nport = 1\n") == load_auth_settings([])


def test_the_environment_is_stronger() -> None:
    made = load(WHOLE, GOTRUE_SMS_PROVIDER="twilio", GOTRUE_RATE_LIMIT_EMAIL_SENT="5")
    assert (made.sms_provider, made.rate_limit_email_sent) == ("twilio", "5")
