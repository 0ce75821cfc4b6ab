"""Settings that change while Auth runs: kept in the database, in force from the next request on.

`current` compares one number with the database's in a quick read, so that every worker on every
machine follows without a restart and without a standing connection.  `read` and `update` are the
internal API that Studio and the Management API use.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson

from selfbase.auth.context import AUTH_ADMIN, VERSION_STATEMENT
from selfbase.auth.errors import ValidationFailed
from selfbase.auth.logic.templates import TemplateError, parse_template
from selfbase.auth.settings import (
    PREFIX,
    AuthSettings,
    insert_runtime,
    load_auth_settings,
)
from selfbase.auth.settings_more import PROVIDER_VARIABLES, render_providers
from selfbase.database.batch import Batch, Result, Statement
from selfbase.database.database import Database
from selfbase.kit.events import Event, Events
from selfbase.kit.failures import ConfigurationError
from selfbase.kit.settings import Layer, SettingInfo

VALUE_BYTES_MAX = 256 * 1024
_VERSION = Batch("auth", (), (VERSION_STATEMENT,), read_only=True)
_VALUES = Batch(
    "auth", (), (Statement(b"select version, values from _selfbase_auth.settings"),), read_only=True
)


@dataclass(frozen=True, slots=True)
class SettingsChanged(Event):
    """Settings were changed; the names only, values may be secret."""

    name: ClassVar[str] = "auth.settings.changed"
    service: ClassVar[str] = "auth"
    names: tuple[str, ...]
    version: int


@dataclass(frozen=True, slots=True)
class SettingsRefused(Event):
    """Stored settings cannot be read together; those before them stay in force."""

    name: ClassVar[str] = "auth.settings.refused"
    level: ClassVar = "error"
    service: ClassVar[str] = "auth"
    reason: str


class RuntimeSettings:
    """The settings in force."""

    def __init__(self, database: Database, layers: Sequence[Layer], events: Events) -> None:
        self._database = database
        self._layers = tuple(layers)
        self._events = events
        self._version = -1
        # Called after settings have changed: what else depends on their version.
        self.followers: list[Callable[[], Awaitable[None]]] = []
        self._values: Mapping[str, Any] = {}
        self.settings = load_auth_settings(self._layers)

    async def current(self) -> AuthSettings:
        """The settings for the request that begins now.  Raises DatabaseFailure."""
        (result,) = await self._database.run(_VERSION, login=AUTH_ADMIN)
        return await self.follow(result)

    async def follow(self, result: Result) -> AuthSettings:
        """The settings in force, given what the version statement answered just now."""
        version = int(result.rows[0][0] or b"0") if result.rows else 0
        if version != self._version:
            await self._reload()
        return self.settings

    async def read(self) -> dict[str, Any]:
        """Every setting that can change, by upstream name without prefix; secrets are masked."""
        await self.current()
        shown: dict[str, Any] = {}
        for spec in dataclasses.fields(AuthSettings):
            info: SettingInfo | None = spec.metadata.get("setting")
            if info is None or not info.env or not info.runtime:
                continue
            value = getattr(self.settings, spec.name)
            if isinstance(value, tuple):
                value = ",".join(map(str, value))
            shown[info.env[0].removeprefix(PREFIX)] = "********" if info.secret and value else value
        for name, hook in self.settings.hooks.items():
            upper = name.upper()
            shown[f"HOOK_{upper}_ENABLED"] = hook.enabled
            shown[f"HOOK_{upper}_URI"] = hook.uri
            shown[f"HOOK_{upper}_SECRETS"] = "********" if hook.secrets else ""
        for kind, mail in self.settings.mails.items():
            shown[f"MAILER_SUBJECTS_{kind.upper()}"] = mail.subject
            shown[f"MAILER_TEMPLATES_{kind.upper()}_CONTENT"] = mail.content
        for kind, enabled in self.settings.notifications.items():
            shown[f"MAILER_NOTIFICATIONS_{kind.upper()}_ENABLED"] = enabled
        return shown | render_providers(self.settings.providers)

    async def update(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Stores changes by upstream name without prefix; None takes a setting back to its origin.

        All or nothing.  Raises ValidationFailed naming the setting and its problem.
        """
        clean = {name.upper().removeprefix(PREFIX): value for name, value in changes.items()}
        for name, value in clean.items():
            _check_change(name, value)
        async with self._database.as_service("change of settings", login=AUTH_ADMIN) as tx:
            stored = await tx.fetch_value("select values from _selfbase_auth.settings for update")
            merged = {**(stored or {}), **clean}
            merged = {name: value for name, value in merged.items() if value is not None}
            try:
                load_auth_settings(insert_runtime(self._layers, merged))
            except ConfigurationError as error:
                raise ValidationFailed(error.message) from None
            version = await tx.fetch_value(
                """update _selfbase_auth.settings set values = %s, version = version + 1,
                     changed_at = now() returning version""",
                [orjson.dumps(merged).decode()],
            )
        self._events.emit(SettingsChanged(tuple(sorted(clean)), version))
        return await self.read()

    async def _reload(self) -> None:
        (result,) = await self._database.run(_VALUES, login=AUTH_ADMIN)
        version, text = result.rows[0] if result.rows else (b"0", b"{}")
        values = orjson.loads(text or b"{}")
        try:
            self.settings = load_auth_settings(insert_runtime(self._layers, values))
            self._values = values
        except ConfigurationError as error:
            self._events.emit(SettingsRefused(error.message))
        # Followers first: a request that comes meanwhile looks again instead of going on with the
        # old keys.
        for follow in self.followers:
            await follow()
        self._version = int(version or b"0")


def _check_change(name: str, value: Any) -> None:
    if not _is_known(name):
        raise ValidationFailed(f"{name} is not a setting that can be changed while running")
    if len(orjson.dumps(value)) > VALUE_BYTES_MAX:
        raise ValidationFailed(f"{name} is too long")
    is_text = name.startswith("MAILER_SUBJECTS_") or name.endswith("_CONTENT")
    if (is_text or name == "SMS_TEMPLATE") and isinstance(value, str):
        try:
            parse_template(value)
        except TemplateError as error:
            raise ValidationFailed(f"{name}: {error}") from None


def _is_known(name: str) -> bool:
    known = {
        variable.removeprefix(PREFIX)
        for spec in dataclasses.fields(AuthSettings)
        if (info := spec.metadata.get("setting")) is not None and info.runtime
        for variable in info.env
    }
    groups = ("HOOK_", "MAILER_SUBJECTS_", "MAILER_TEMPLATES_", "MAILER_URLPATHS_",
              "MAILER_NOTIFICATIONS_")  # fmt: skip
    return name in known or name in PROVIDER_VARIABLES or name.startswith(groups)
