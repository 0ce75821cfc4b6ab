"""The reference page names every setting and route limit there is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from selfbase.auth.routes import ROUTES
from selfbase.auth.settings import AuthSettings, load_auth_settings
from selfbase.kit.routes import Router
from selfbase.kit.settings import EnvLayer, TomlLayer, ValuesLayer

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "auth.md"


def test_every_setting_is_documented() -> None:
    page = PAGE.read_text()
    missing = [
        spec.name
        for spec in dataclasses.fields(AuthSettings)
        if (info := spec.metadata.get("setting")) is not None
        and (info.env[0] if info.env else f"SELFBASE_AUTH_{spec.name}".upper()) not in page
    ]
    assert missing == []


def test_operations_and_paths_are_named_once() -> None:
    operations = [route.operation for route in ROUTES]
    assert len(set(operations)) == len(operations)
    places = [(route.method, route.path) for route in ROUTES]
    assert len(set(places)) == len(places)
    assert len(Router(ROUTES).routes) == len(ROUTES)


def test_the_cli_file_means_what_it_says() -> None:
    tree = {
        "auth": {
            "site_url": "https://a.test", "enable_signup": False, "jwt_expiry": 60,
            "additional_redirect_urls": ["https://b.test"], "password_requirements": "letters_digits",
            "email": {
                "enable_confirmations": False, "max_frequency": "1s", "otp_expiry": 99,
                "smtp": {"enabled": False, "host": "mail.test"},
                "template": {"invite": {"subject": "Hi", "content": "<p>x</p>"}},
            },
            "rate_limit": {"email_sent": 2},
            "hook": {"send_email": {"enabled": True, "uri": "pg-functions://p/s/f"}},
            "sessions": {"timebox": "24h"},
        }
    }  # fmt: skip
    settings = load_auth_settings([TomlLayer(tree)])
    assert settings.disable_signup is True
    assert settings.mailer_autoconfirm is True
    assert settings.uri_allow_list == ("https://b.test",)
    assert settings.smtp_host == ""
    assert settings.smtp_max_frequency == 1.0
    assert settings.rate_limit_email_sent == "2"
    assert settings.sessions_timebox == 86400
    assert settings.hooks["send_email"].uri == "pg-functions://p/s/f"
    assert settings.mails["invite"].content == "<p>x</p>"
    assert settings.password_required_characters.count(":") == 1
    stronger = [ValuesLayer({"jwt_exp": 5}), EnvLayer({"GOTRUE_SITE_URL": "https://c.test"})]
    settings = load_auth_settings([*stronger, TomlLayer(tree)])
    assert (settings.jwt_exp, settings.site_url) == (5, "https://c.test")
