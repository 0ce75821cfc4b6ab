"""The settings of Auth: one frozen value, made from layers, replaced as a whole when they change.

Every field is known by its upstream name `GOTRUE_<NAME>`; the run-time store and the Management
API use the same name without the prefix.  Repeated groups (hooks, mails, providers) are loaded
once for each member with `load_prefixed`.  Source: supabase/auth `internal/conf` 2.196 and the
`[auth]` sections of the official CLI's `config.toml`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from selfbase.auth.settings_cli import CliToml
from selfbase.auth.settings_general import GeneralSettings
from selfbase.auth.settings_layers import OWNER, load_prefixed
from selfbase.auth.settings_mail import (
    MAIL_KINDS,
    NOTIFICATION_KINDS,
    MailSettings,
    MailText,
    NotificationSwitch,
)
from selfbase.auth.settings_more import MoreSettings, load_more
from selfbase.auth.settings_security import HOOK_NAMES, HookSettings, SecuritySettings
from selfbase.auth.settings_sms import SmsSettings
from selfbase.kit.settings import Layer, SettingInfo, TomlLayer, load_settings

PREFIX = "GOTRUE_"


@dataclass(frozen=True, kw_only=True)
class AuthSettings(GeneralSettings, SecuritySettings, MailSettings, SmsSettings, MoreSettings):
    """Everything that can be set.  Groups with members of equal shape are mappings by name."""

    hooks: Mapping[str, HookSettings] = field(default_factory=dict)
    mails: Mapping[str, MailText] = field(default_factory=dict)
    notifications: Mapping[str, bool] = field(default_factory=dict)

    @property
    def issuer(self) -> str:
        return self.jwt_issuer or self.external_url

    @property
    def external_url(self) -> str:
        """The public base of Auth, without a trailing slash."""
        return self.api_external_url.rstrip("/")


def load_auth_settings(layers: Sequence[Layer]) -> AuthSettings:
    """Builds the settings.  Raises ConfigurationError naming the variable and its problem."""
    translated = [CliToml(layer) if isinstance(layer, TomlLayer) else layer for layer in layers]
    flat = load_settings(AuthSettings, translated, owner=OWNER)
    hooks = {
        name: load_prefixed(
            HookSettings,
            translated,
            f"hook_{name}_",
            f"GOTRUE_HOOK_{name.upper()}_",
            f"auth.hook.{name}.",
        )
        for name in HOOK_NAMES
    }
    mails = {kind: _load_mail(kind, translated) for kind in MAIL_KINDS}
    notifications = {
        kind: load_prefixed(
            NotificationSwitch,
            translated,
            f"mailer_notifications_{kind}_",
            f"GOTRUE_MAILER_NOTIFICATIONS_{kind.upper()}_",
            f"auth.email.notification.{kind}.",
        ).enabled
        for kind in NOTIFICATION_KINDS
    }
    more = load_more(translated)
    return dataclasses.replace(flat, hooks=hooks, mails=mails, notifications=notifications, **more)


def _load_mail(kind: str, layers: Sequence[Layer]) -> MailText:
    found = {}
    group = "notification" if kind.endswith("_notification") else "template"
    short = kind.removesuffix("_notification")
    for part, variable in (
        ("subject", "SUBJECTS"),
        ("template", "TEMPLATES"),
        ("url_path", "URLPATHS"),
    ):
        info = SettingInfo(
            env=(f"GOTRUE_MAILER_{variable}_{kind.upper()}",),
            toml=f"auth.email.{group}.{short}.{part}",
            help="",
            unit=None,
            secret=False,
            choices=(),
            runtime=True,
        )
        for layer in layers:
            value = layer.find(OWNER, f"mailer_{variable.lower()}_{kind}", info)
            if value is not None:
                found[part] = str(value)
                break
    for layer in layers:
        info = SettingInfo(
            env=(f"GOTRUE_MAILER_TEMPLATES_{kind.upper()}_CONTENT",),
            toml=f"auth.email.{group}.{short}.content",
            help="",
            unit=None,
            secret=False,
            choices=(),
            runtime=True,
        )
        inline = layer.find(OWNER, f"mailer_templates_{kind}_content", info)
        if inline is not None:
            found["content"] = str(inline)
            break
    return MailText(kind=kind, **found)


@dataclass(frozen=True)
class RuntimeLayer:
    """Settings changed while running, by upstream name without `GOTRUE_`."""

    values: Mapping[str, Any]
    name: str = "run-time settings"

    def find(self, owner: str, field_name: str, info: SettingInfo) -> Any:
        if not info.runtime:
            return None
        for variable in info.env:
            value = self.values.get(variable.removeprefix(PREFIX))
            if value is not None:
                return value
        return None


def insert_runtime(layers: Sequence[Layer], values: Mapping[str, Any]) -> tuple[Layer, ...]:
    """The layers with the run-time ones in their place: above config.toml, below the environment."""
    place = next((i for i, layer in enumerate(layers) if isinstance(layer, TomlLayer)), len(layers))
    return (*layers[:place], RuntimeLayer(values), *layers[place:])
