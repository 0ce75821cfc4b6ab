"""Reads members of a JSON object by type: unknown members are ignored, null equals absent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from selfbase.auth.errors import BadJson, ValidationFailed


class Fields:
    """One JSON object sent by a client.  Every method raises BadJson on a wrong type."""

    __slots__ = ("raw",)

    def __init__(self, raw: Any) -> None:
        if not isinstance(raw, Mapping):
            raise BadJson("Could not parse request body as JSON: an object is expected")
        self.raw: Mapping[str, Any] = raw

    def has(self, name: str) -> bool:
        return self.raw.get(name) is not None

    def text(self, name: str, default: str = "") -> str:
        value = self.raw.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise _wrong(name, "a string")
        # NUL cannot be stored in PostgreSQL text; nothing legitimate holds one.
        if "\x00" in value:
            raise ValidationFailed(f"{name} must not contain a null character")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.raw.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise _wrong(name, "true or false")
        return value

    def mapping(self, name: str) -> dict[str, Any]:
        value = self.raw.get(name)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise _wrong(name, "an object")
        if _holds_null_character(value):
            raise ValidationFailed(f"{name} must not contain a null character")
        return dict(value)

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.raw.get(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise _wrong(name, "a list of strings")
        return tuple(value)

    def inner(self, name: str) -> Fields:
        """The object under `name`; an empty one when it is absent."""
        return Fields(self.mapping(name))


def _wrong(name: str, wanted: str) -> BadJson:
    return BadJson(f"Could not parse request body as JSON: {name} must be {wanted}")


def _holds_null_character(value: Any) -> bool:
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, Mapping):
        return any(_holds_null_character(k) or _holds_null_character(v) for k, v in value.items())
    if isinstance(value, list):
        return any(_holds_null_character(item) for item in value)
    return False


def parse_uuid(text: str, message: str, *, status: int = 400) -> str:
    """The canonical text of a UUID.  Raises ValidationFailed with `message`."""
    try:
        if len(text) != 36:
            raise ValueError
        return str(UUID(text))
    except ValueError:
        raise ValidationFailed(message, status=status) from None
