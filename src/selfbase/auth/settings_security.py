"""Security settings: passwords, refresh tokens, session limits, rate limits, captcha, hooks."""

from __future__ import annotations

from dataclasses import dataclass

from selfbase.auth.settings_general import gotrue
from selfbase.kit.settings import KiB, Secret, setting

HOOK_NAMES = (
    "custom_access_token", "send_email", "send_sms", "mfa_verification_attempt",
    "password_verification_attempt", "before_user_created", "after_user_created",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class HookSettings:
    """One hook.  `uri` is `pg-functions://…/schema/function` or `https://…`."""

    enabled: bool = setting(False, env="ENABLED", toml="enabled", help="Ask it.", runtime=True)
    uri: str = setting("", env="URI", toml="uri", help="Where it is.", runtime=True)
    secrets: Secret = setting(
        Secret(""),
        env="SECRETS",
        toml="secrets",
        help="`v1,whsec_…`, several joined by |.",
        secret=True,
        runtime=True,
    )


@dataclass(frozen=True, kw_only=True)
class SecuritySettings:
    """What protects accounts."""

    password_min_length: int = gotrue(
        6, "PASSWORD_MIN_LENGTH", "Never below 6.", toml="auth.minimum_password_length"
    )
    password_required_characters: str = gotrue(
        "",
        "PASSWORD_REQUIRED_CHARACTERS",
        "Sets separated by `:`; one of each is needed.",
        toml="auth.password_requirements",
    )
    password_hibp_enabled: bool = gotrue(
        False, "PASSWORD_HIBP_ENABLED", "Refuse passwords known from leaks."
    )
    password_hibp_fail_closed: bool = gotrue(
        False, "PASSWORD_HIBP_FAIL_CLOSED", "Refuse when the leak service does not answer."
    )
    password_hash_cost: int = setting(10, help="bcrypt cost of new hashes.")
    answer_floor_s: float = setting(
        0.1, help="Least time of answers that must not tell who has an account.", unit="s"
    )
    password_threads_max: int = setting(2, help="Threads that compute password hashes.")
    security_captcha_enabled: bool = gotrue(
        False, "SECURITY_CAPTCHA_ENABLED", "Ask for a captcha.", toml="auth.captcha.enabled"
    )
    security_captcha_provider: str = gotrue(
        "hcaptcha",
        "SECURITY_CAPTCHA_PROVIDER",
        "hcaptcha or turnstile.",
        toml="auth.captcha.provider",
    )
    security_captcha_secret: Secret = gotrue(
        Secret(""),
        ("SECURITY_CAPTCHA_SECRET", "SECURITY_CAPTCHA_PROVIDER_SECRET"),
        "The provider's secret.",
        secret=True,
        toml="auth.captcha.secret",
    )
    security_captcha_timeout: float = gotrue(10.0, "SECURITY_CAPTCHA_TIMEOUT", "", unit="s")
    security_refresh_token_rotation_enabled: bool = gotrue(
        True,
        "SECURITY_REFRESH_TOKEN_ROTATION_ENABLED",
        "Reuse ends the whole session.",
        toml="auth.enable_refresh_token_rotation",
    )
    security_refresh_token_reuse_interval: int = gotrue(
        10,
        "SECURITY_REFRESH_TOKEN_REUSE_INTERVAL",
        "Time in which reuse is forgiven.",
        unit="s",
        toml="auth.refresh_token_reuse_interval",
    )
    security_refresh_token_allow_reuse: bool = gotrue(
        False, "SECURITY_REFRESH_TOKEN_ALLOW_REUSE", "Old version 2 tokens give the current one."
    )
    security_refresh_token_algorithm_version: int = gotrue(
        0, "SECURITY_REFRESH_TOKEN_ALGORITHM_VERSION", "0 or 1: stored tokens; 2: signed ones."
    )
    security_refresh_token_upgrade_percentage: int = gotrue(
        0, "SECURITY_REFRESH_TOKEN_UPGRADE_PERCENTAGE", "Version 1 sessions moved to version 2."
    )
    security_update_password_require_reauthentication: bool = gotrue(
        False,
        "SECURITY_UPDATE_PASSWORD_REQUIRE_REAUTHENTICATION",
        "Sessions older than a day need a code to change the password.",
        toml="auth.email.secure_password_change",
    )
    security_update_password_require_current_password: bool = gotrue(
        False, "SECURITY_UPDATE_PASSWORD_REQUIRE_CURRENT_PASSWORD", "The old password is needed."
    )
    security_manual_linking_enabled: bool = gotrue(
        False,
        "SECURITY_MANUAL_LINKING_ENABLED",
        "Users may link and unlink identities.",
        toml="auth.enable_manual_linking",
    )
    security_sb_forwarded_for_enabled: bool = gotrue(
        False, "SECURITY_SB_FORWARDED_FOR_ENABLED", "Trust the Sb-Forwarded-For header."
    )
    sessions_timebox: float | None = gotrue(
        None,
        "SESSIONS_TIMEBOX",
        "Longest life of a session.",
        unit="s",
        toml="auth.sessions.timebox",
    )
    sessions_inactivity_timeout: float | None = gotrue(
        None,
        "SESSIONS_INACTIVITY_TIMEOUT",
        "Longest pause between refreshes.",
        unit="s",
        toml="auth.sessions.inactivity_timeout",
    )
    sessions_allow_low_aal: float | None = gotrue(
        None, "SESSIONS_ALLOW_LOW_AAL", "How long a factor holder may stay at aal1.", unit="s"
    )
    sessions_single_per_user: bool = gotrue(
        False, "SESSIONS_SINGLE_PER_USER", "A newer session ends older ones at their refresh."
    )
    sessions_tags: tuple[str, ...] = gotrue((), "SESSIONS_TAGS", "Groups of single sessions.")
    rate_limit_header: str = gotrue(
        "", "RATE_LIMIT_HEADER", "Header whose first value is the caller's address."
    )
    rate_limit_peers: str = setting(
        "public",
        choices=("off", "public", "all"),
        runtime=True,
        help="Without a header: limit by peer address; `public` spares loopback and private ones.",
    )
    rate_limit_email_sent: str = gotrue(
        "30",
        "RATE_LIMIT_EMAIL_SENT",
        "Mails an hour, or N/duration.",
        toml="auth.rate_limit.email_sent",
    )
    rate_limit_sms_sent: str = gotrue(
        "30", "RATE_LIMIT_SMS_SENT", "SMS an hour, or N/duration.", toml="auth.rate_limit.sms_sent"
    )
    rate_limit_verify: int = gotrue(
        30, "RATE_LIMIT_VERIFY", "In 5 minutes.", toml="auth.rate_limit.token_verifications"
    )
    rate_limit_token_refresh: int = gotrue(
        150, "RATE_LIMIT_TOKEN_REFRESH", "In 5 minutes.", toml="auth.rate_limit.token_refresh"
    )
    rate_limit_sso: int = gotrue(30, "RATE_LIMIT_SSO", "In 5 minutes.")
    rate_limit_anonymous_users: int = gotrue(
        30, "RATE_LIMIT_ANONYMOUS_USERS", "In an hour.", toml="auth.rate_limit.anonymous_users"
    )
    rate_limit_otp: int = gotrue(
        30, "RATE_LIMIT_OTP", "In 5 minutes.", toml="auth.rate_limit.sign_in_sign_ups"
    )
    rate_limit_web3: int = gotrue(
        30, "RATE_LIMIT_WEB3", "In 5 minutes.", toml="auth.rate_limit.web3"
    )
    rate_limit_passkey: int = gotrue(30, "RATE_LIMIT_PASSKEY", "In 5 minutes.")
    rate_limit_oauth_dynamic_client_register: int = gotrue(
        10,
        ("RATE_LIMIT_OAUTH_DYNAMIC_CLIENT_REGISTER", "RATE_LIMIT_O_AUTH_DYNAMIC_CLIENT_REGISTER"),
        "In 5 minutes.",
    )
    hook_timeout_s: float = setting(5.0, help="Longest time for an HTTP hook in all.", unit="s")
    hook_reply_bytes_max: int = setting(200 * KiB, help="Largest reply of a hook.", unit="bytes")
    hook_allow_private: bool = setting(
        False,
        env="GOTRUE_HOOK_ALLOW_PRIVATE_ADDRESSES",
        runtime=True,
        help="HTTP hooks may be on private addresses.",
    )
