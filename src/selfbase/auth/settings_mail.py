"""Mail settings: how mail is sent, what it says, how long its codes live."""

from __future__ import annotations

from dataclasses import dataclass

from selfbase.auth.settings_general import gotrue
from selfbase.kit.settings import Secret, setting

MAIL_KINDS = (
    "invite", "confirmation", "recovery", "email_change", "magic_link", "reauthentication",
    "password_changed_notification", "email_changed_notification", "phone_changed_notification",
    "identity_linked_notification", "identity_unlinked_notification",
    "mfa_factor_enrolled_notification", "mfa_factor_unenrolled_notification",
)  # fmt: skip
NOTIFICATION_KINDS = (
    "password_changed", "email_changed", "phone_changed", "identity_linked", "identity_unlinked",
    "mfa_factor_enrolled", "mfa_factor_unenrolled",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MailText:
    """What one kind of mail says.  `content` is the template's text; `template` where to fetch it.
    Empty means the built-in text."""

    kind: str
    subject: str = ""
    template: str = ""
    content: str = ""
    url_path: str = ""


@dataclass(frozen=True, kw_only=True)
class NotificationSwitch:
    """Whether one kind of notification is sent."""

    enabled: bool = setting(
        False, env="ENABLED", toml="enabled", help="Tell people of this change.", runtime=True
    )


@dataclass(frozen=True, kw_only=True)
class MailSettings:
    """Everything about mail."""

    mailer_autoconfirm: bool = gotrue(
        False, "MAILER_AUTOCONFIRM", "New addresses count as confirmed."
    )
    mailer_allow_unverified_email_sign_ins: bool = gotrue(
        False, "MAILER_ALLOW_UNVERIFIED_EMAIL_SIGN_INS", "Sign in before confirming."
    )
    mailer_secure_email_change_enabled: bool = gotrue(
        True,
        "MAILER_SECURE_EMAIL_CHANGE_ENABLED",
        "Both addresses confirm a change.",
        toml="auth.email.double_confirm_changes",
    )
    mailer_otp_exp: int = gotrue(
        3600,
        "MAILER_OTP_EXP",
        "Life of codes and links sent by mail.",
        unit="s",
        toml="auth.email.otp_expiry",
    )
    mailer_otp_length: int = gotrue(
        6, "MAILER_OTP_LENGTH", "Digits of a code, 6 to 10.", toml="auth.email.otp_length"
    )
    mailer_external_hosts: tuple[str, ...] = gotrue(
        (), "MAILER_EXTERNAL_HOSTS", "Hosts accepted from X-Forwarded-Host for links."
    )
    mailer_email_validation_extended: bool = gotrue(
        False,
        ("MAILER_EMAIL_VALIDATION_EXTENDED", "MAILER_VALIDATION_EXTENDED"),
        "Refuse well-known mistyped domains.",
    )
    mailer_template_max_size: int = gotrue(
        1_000_000, "MAILER_TEMPLATE_MAX_SIZE", "Largest template fetched.", unit="bytes"
    )
    mailer_template_max_age: float = gotrue(
        600.0, "MAILER_TEMPLATE_MAX_AGE", "How long a fetched template is kept.", unit="s"
    )
    mailer_otp_attempts_max: int = setting(
        10,
        env="GOTRUE_MAILER_OTP_ATTEMPTS_MAX",
        help="Wrong guesses that void a code.",
        runtime=True,
    )
    smtp_host: str = gotrue(
        "", "SMTP_HOST", "Mail server; empty: the built-in catcher.", toml="auth.email.smtp.host"
    )
    smtp_port: int = gotrue(587, "SMTP_PORT", "465 is TLS at once.", toml="auth.email.smtp.port")
    smtp_user: str = gotrue("", "SMTP_USER", "Login; empty: none.", toml="auth.email.smtp.user")
    smtp_pass: Secret = gotrue(
        Secret(""), "SMTP_PASS", "Password.", secret=True, toml="auth.email.smtp.pass"
    )
    smtp_admin_email: str = gotrue(
        "admin@email.com",
        "SMTP_ADMIN_EMAIL",
        "The From address.",
        toml="auth.email.smtp.admin_email",
    )
    smtp_sender_name: str = gotrue(
        "", "SMTP_SENDER_NAME", "The From name.", toml="auth.email.smtp.sender_name"
    )
    smtp_headers: str = gotrue(
        "", "SMTP_HEADERS", "JSON object of lists; `$messageType` is replaced."
    )
    smtp_max_frequency: float = gotrue(
        60.0,
        "SMTP_MAX_FREQUENCY",
        "Least time between two mails to one user.",
        unit="s",
        toml="auth.email.max_frequency",
    )
    smtp_tls: str = setting(
        "auto",
        env="GOTRUE_SMTP_TLS",
        choices=("auto", "starttls", "implicit", "none"),
        help="auto: TLS at once on port 465, else STARTTLS where offered.",
        runtime=True,
    )
    smtp_ca_file: str = setting(
        "", env="GOTRUE_SMTP_CA_FILE", help="Certificates to trust besides the system's."
    )
