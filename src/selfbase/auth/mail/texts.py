"""The built-in mails: subjects and HTML templates, one for each kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A subject and a body, both templates."""

    subject: str
    html: str


def _page(title: str, *paragraphs: str) -> str:
    return f"<h2>{title}</h2>\n\n" + "\n".join(f"<p>{text}</p>" for text in paragraphs) + "\n"


_CODE = "Or enter this code: <strong>{{ .Token }}</strong>"
_NOT_YOU = "If this was not you, contact us at once."
_IGNORE = "If you did not ask for this, you can leave this mail alone."

TEXTS: Mapping[str, BuiltIn] = {
    "invite": BuiltIn(
        "You have been invited",
        _page(
            "You have been invited",
            "You have been invited to create an account on {{ .SiteURL }}.",
            '<a href="{{ .ConfirmationURL }}">Accept the invitation</a>',
            _CODE,
        ),
    ),
    "confirmation": BuiltIn(
        "Confirm your email address",
        _page(
            "Confirm your email address",
            '<a href="{{ .ConfirmationURL }}">Confirm this address</a> to finish signing up.',
            _CODE,
            _IGNORE,
        ),
    ),
    "recovery": BuiltIn(
        "Reset your password",
        _page(
            "Reset your password",
            '<a href="{{ .ConfirmationURL }}">Choose a new password</a>',
            _CODE,
            _IGNORE,
        ),
    ),
    "magic_link": BuiltIn(
        "Your sign-in link",
        _page(
            "Sign in",
            '<a href="{{ .ConfirmationURL }}">Sign in</a> with this link. It works once.',
            _CODE,
            _IGNORE,
        ),
    ),
    "email_change": BuiltIn(
        "Confirm your new email address",
        _page(
            "Confirm the change of your email address",
            "Your address is to change from {{ .Email }} to {{ .NewEmail }}.",
            '<a href="{{ .ConfirmationURL }}">Confirm the change</a>',
            _CODE,
            _IGNORE,
        ),
    ),
    "reauthentication": BuiltIn(
        "{{ .Token }} is your verification code",
        _page("Confirm that it is you", "Enter this code: <strong>{{ .Token }}</strong>", _IGNORE),
    ),
    "password_changed_notification": BuiltIn(
        "Your password was changed",
        _page("Your password was changed", "The password of {{ .Email }} was changed.", _NOT_YOU),
    ),
    "email_changed_notification": BuiltIn(
        "Your email address was changed",
        _page(
            "Your email address was changed",
            "It was changed from {{ .OldEmail }} to {{ .Email }}.",
            _NOT_YOU,
        ),
    ),
    "phone_changed_notification": BuiltIn(
        "Your phone number was changed",
        _page(
            "Your phone number was changed",
            "It was changed from {{ .OldPhone }} to {{ .Phone }}.",
            _NOT_YOU,
        ),
    ),
    "identity_linked_notification": BuiltIn(
        "A new way of signing in was added",
        _page(
            "A new way of signing in was added",
            "{{ .Email }} can now sign in with {{ .Provider }}.",
            _NOT_YOU,
        ),
    ),
    "identity_unlinked_notification": BuiltIn(
        "A way of signing in was removed",
        _page(
            "A way of signing in was removed",
            "{{ .Email }} can no longer sign in with {{ .Provider }}.",
            _NOT_YOU,
        ),
    ),
    "mfa_factor_enrolled_notification": BuiltIn(
        "A second factor was added",
        _page(
            "A second factor was added", "{{ .FactorType }} was added to {{ .Email }}.", _NOT_YOU
        ),
    ),
    "mfa_factor_unenrolled_notification": BuiltIn(
        "A second factor was removed",
        _page(
            "A second factor was removed",
            "{{ .FactorType }} was removed from {{ .Email }}.",
            _NOT_YOU,
        ),
    ),
}
