"""Request bodies and queries read field by field, with the type coercion clients count on.

A number may come as text and the other way round; a field the schema does not name is ignored.
Messages are those of the schema validator of the reference server.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from selfbase.storage.errors import SchemaInvalid

_MISSING = object()


class Fields:
    """One object of a request.  Every method raises SchemaInvalid, naming the place."""

    def __init__(self, value: Any, where: str = "body") -> None:
        if not isinstance(value, Mapping):
            raise SchemaInvalid(f"{where} must be object")
        self._values = value
        self._where = where

    def has(self, name: str) -> bool:
        return name in self._values

    def is_null(self, name: str) -> bool:
        return self._values.get(name, _MISSING) is None

    def text(self, name: str, default: str = "") -> str:
        value = self._values.get(name, _MISSING)
        return default if value is _MISSING else self._as_text(name, value)

    def required_text(self, name: str) -> str:
        self._require(name)
        return self._as_text(name, self._values[name])

    def text_or_none(self, name: str) -> str | None:
        value = self._values.get(name)
        return None if value is None else self._as_text(name, value)

    def integer(self, name: str, default: int, *, least: int | None = None) -> int:
        value = self._values.get(name, _MISSING)
        if value is _MISSING:
            return default
        return self._as_integer(name, value, least)

    def required_integer(self, name: str, *, least: int | None = None) -> int:
        self._require(name)
        return self._as_integer(name, self._values[name], least)

    def boolean(self, name: str, default: bool) -> bool:
        value = self._values.get(name, _MISSING)
        if value is _MISSING:
            return default
        if value in (True, "true", 1):
            return True
        if value in (False, "false", 0, None):
            return False
        raise SchemaInvalid(f"{self._where}/{name} must be boolean")

    def choice(self, name: str, options: Sequence[str], default: str) -> str:
        value = self._values.get(name, _MISSING)
        if value is _MISSING:
            return default
        if value not in options:
            raise SchemaInvalid(f"{self._where}/{name} must be equal to one of the allowed values")
        return str(value)

    def texts(self, name: str, *, least: int = 0, most: int | None = None) -> list[str]:
        self._require(name)
        value = self._values[name]
        items = value if isinstance(value, list) else [value]
        if len(items) < least:
            raise SchemaInvalid(f"{self._where}/{name} must NOT have fewer than {least} items")
        if most is not None and len(items) > most:
            raise SchemaInvalid(f"{self._where}/{name} must NOT have more than {most} items")
        return [self._as_text(f"{name}/{index}", item) for index, item in enumerate(items)]

    def texts_or_none(self, name: str) -> list[str] | None:
        return None if self._values.get(name) is None else self.texts(name)

    def size_or_none(self, name: str) -> int | str | None:
        """A size limit: a whole number, or text with a unit."""
        value = self._values.get(name)
        if value is None:
            return None
        if isinstance(value, str):
            return int(value) if value.isascii() and value.isdigit() else value
        return self._as_integer(name, value, 0)

    def inner(self, name: str) -> Fields | None:
        """A nested object."""
        value = self._values.get(name)
        return None if value is None else Fields(value, f"{self._where}/{name}")

    def _require(self, name: str) -> None:
        if name not in self._values:
            raise SchemaInvalid(f"{self._where} must have required property '{name}'")

    def _as_text(self, name: str, value: Any) -> str:
        if isinstance(value, str):
            return value
        if value is None:
            return ""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, (int, float)):
            return str(value)
        raise SchemaInvalid(f"{self._where}/{name} must be string")

    def _as_integer(self, name: str, value: Any, least: int | None) -> int:
        wrong = SchemaInvalid(f"{self._where}/{name} must be integer")
        if value is None:
            number = 0.0
        elif isinstance(value, (int, float)):
            number = float(value)
        elif isinstance(value, str):
            try:
                number = float(value)
            except ValueError:
                raise wrong from None
        else:
            raise wrong
        if not math.isfinite(number) or not number.is_integer():
            raise wrong
        if least is not None and number < least:
            raise SchemaInvalid(f"{self._where}/{name} must be >= {least}")
        return int(number)
