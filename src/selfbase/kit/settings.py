"""One frozen, typed settings tree: default, unit, variable, help and secrecy stand on the field.

A settings class is a frozen keyword-only dataclass whose fields are made with `setting(...)`.
`load_settings` reads it from layers, strongest first, and says for each field where the value came
from.  This is the only module that turns outside text into settings; nothing else in the package
reads the environment.

Source of precedence: DESIGN section 5 (command line, environment, run time, config.toml, default).
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import orjson

from selfbase.kit.failures import ConfigurationError

KiB = 1024
MiB = 1024 * KiB
GiB = 1024 * MiB

T = TypeVar("T")


class Secret(str):
    """Text that must never be printed.  `reveal()` marks each place that really needs it."""

    __slots__ = ()

    def reveal(self) -> str:
        return str.__str__(self)

    def __repr__(self) -> str:
        return "Secret('***')" if self else "Secret('')"


@dataclass(frozen=True, slots=True)
class SettingInfo:
    """What is known about one setting besides its value.

    `env` are the upstream variable names, strongest first.  `toml` is the dotted path in
    `config.toml`.  `choices` limits text values.
    """

    env: tuple[str, ...]
    toml: str | None
    help: str
    unit: str | None
    secret: bool
    choices: tuple[str, ...]
    runtime: bool


def setting(
    default: Any = dataclasses.MISSING,
    *,
    factory: Any = dataclasses.MISSING,
    env: str | Sequence[str] = (),
    toml: str | None = None,
    help: str = "",
    unit: str | None = None,
    secret: bool = False,
    choices: Sequence[str] = (),
    runtime: bool = False,
) -> Any:
    """A settings field.  `runtime` marks a value that may change while running."""
    names = (env,) if isinstance(env, str) else tuple(env)
    info = SettingInfo(names, toml, help, unit, secret, tuple(choices), runtime)
    metadata = {"setting": info}
    if factory is not dataclasses.MISSING:
        return field(default_factory=factory, metadata=metadata)
    if default is not dataclasses.MISSING:
        return field(default=default, metadata=metadata)
    return field(metadata=metadata)


class Layer(Protocol):
    """One source of settings.  `name` is shown by `selfbase config`."""

    @property
    def name(self) -> str: ...

    def find(self, owner: str, field_name: str, info: SettingInfo) -> Any:
        """The raw value (text or already typed), or None when this layer says nothing."""


@dataclass(frozen=True)
class EnvLayer:
    """Environment variables: `SELFBASE_<SERVICE>_<FIELD>` first, then the upstream names."""

    variables: Mapping[str, str]
    name: str = "environment"

    def find(self, owner: str, field_name: str, info: SettingInfo) -> Any:
        for variable in (f"SELFBASE_{owner}_{field_name}".upper(), *info.env):
            if variable in self.variables:
                return self.variables[variable]
        return None


@dataclass(frozen=True)
class TomlLayer:
    """A parsed `config.toml`."""

    tree: Mapping[str, Any]
    name: str = "config.toml"

    def find(self, owner: str, field_name: str, info: SettingInfo) -> Any:
        if info.toml is None:
            return None
        node: Any = self.tree
        for part in info.toml.split("."):
            if not isinstance(node, Mapping) or part not in node:
                return None
            node = node[part]
        return node


@dataclass(frozen=True)
class ValuesLayer:
    """Values by `owner.field` or by field alone: the command line, the run-time store, a test."""

    values: Mapping[str, Any]
    name: str = "command line"

    def find(self, owner: str, field_name: str, info: SettingInfo) -> Any:
        return self.values.get(f"{owner}.{field_name}", self.values.get(field_name))


@dataclass(frozen=True, slots=True)
class Effective:
    """One setting as it is in force: for `selfbase config`."""

    owner: str
    field: str
    value: Any
    origin: str
    info: SettingInfo

    def shown(self) -> str:
        """The value as text, masked when secret."""
        if self.info.secret and self.value:
            return "********"
        return str(self.value)


def load_settings(cls: type[T], layers: Sequence[Layer], *, owner: str) -> T:
    """Build `cls` from the layers, strongest first.

    Raises ConfigurationError naming the variable, the value's problem and where it came from.
    """
    return load_with_origins(cls, layers, owner=owner)[0]


def load_with_origins(
    cls: type[T], layers: Sequence[Layer], *, owner: str
) -> tuple[T, list[Effective]]:
    """As `load_settings`, and for each field the layer that decided it."""
    hints = _read_hints(cls)  # type: ignore[arg-type]  # every class can be hashed
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for spec in dataclasses.fields(cls):  # type: ignore[arg-type]  # T is a dataclass by contract
        info = spec.metadata.get("setting")
        if info is None:
            continue
        for layer in layers:
            raw = layer.find(owner, spec.name, info)
            if raw is None:
                continue
            values[spec.name] = _convert(hints[spec.name], raw, spec.name, info, layer.name)
            origins[spec.name] = layer.name
            break
        else:
            if spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
                wanted = " or ".join(info.env) or f"SELFBASE_{owner}_{spec.name}".upper()
                raise ConfigurationError(f"{owner}: {spec.name} is not set", hint=f"Set {wanted}.")
    made = cls(**values)
    effective = [
        Effective(owner, s.name, getattr(made, s.name), origins.get(s.name, "default"), info)
        for s in dataclasses.fields(cls)  # type: ignore[arg-type]
        if (info := s.metadata.get("setting")) is not None
    ]
    return made, effective


@cache
def _read_hints(cls: type) -> dict[str, Any]:
    """The types of a class's fields, read from their text once."""
    return typing.get_type_hints(cls)


def _convert(kind: Any, raw: Any, name: str, info: SettingInfo, origin: str) -> Any:
    try:
        value = _typed(kind, raw)
    except (ValueError, TypeError) as error:
        shown = "the value" if info.secret else repr(raw)
        raise ConfigurationError(
            f"{name}: {shown} from {origin} is not valid: {error}", hint=info.help or None
        ) from None
    if info.choices and value not in info.choices:
        raise ConfigurationError(
            f"{name}: {value!r} from {origin} is not one of {', '.join(info.choices)}"
        )
    return value


def _typed(kind: Any, raw: Any) -> Any:
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        options = [option for option in typing.get_args(kind) if option is not type(None)]
        if raw == "" and type(None) in typing.get_args(kind):
            return None
        return _typed(options[0], raw)
    if origin in (tuple, list, frozenset):
        parts = raw if isinstance(raw, (list, tuple)) else _split(str(raw))
        item = (typing.get_args(kind) or (str,))[0]
        return origin(_typed(item, part) for part in parts)
    if origin in (dict, Mapping, typing.get_origin(Mapping[str, str])):
        return dict(raw) if isinstance(raw, Mapping) else orjson.loads(raw)
    if origin is typing.Literal:
        if raw not in typing.get_args(kind):
            raise ValueError(f"choose one of {', '.join(map(str, typing.get_args(kind)))}")
        return raw
    if kind is bool:
        return parse_bool(raw)
    if kind is int:
        return parse_size(raw) if isinstance(raw, str) and not _INT.match(raw) else int(raw)
    if kind is float:
        return raw if isinstance(raw, float) else parse_seconds(raw)
    if kind is timedelta:
        return timedelta(seconds=parse_seconds(raw))
    if kind is Any or isinstance(kind, TypeVar):
        return raw
    if isinstance(kind, type) and issubclass(kind, (str, Path, Enum)):
        return kind(raw)
    raise TypeError(f"no reading for settings of type {kind}")


_INT = re.compile(r"^\s*[-+]?\d+\s*$")
_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([KMGT]?i?B?)\s*$", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s)")
_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def parse_bool(raw: object) -> bool:
    """`true/false`, `1/0`, `yes/no`, `on/off` in any case.  Raises ValueError."""
    if isinstance(raw, bool):
        return raw
    text = str(raw).strip().lower()
    if text in {"1", "t", "true", "yes", "y", "on"}:
        return True
    if text in {"0", "f", "false", "no", "n", "off", ""}:
        return False
    raise ValueError("use true or false")


def parse_size(raw: str) -> int:
    """Bytes from `50MiB`, `50MB`, `1g`.  All suffixes count in powers of 1,024, as the CLI does."""
    match = _SIZE.match(raw)
    if match is None:
        raise ValueError("use a number with an optional suffix such as 50MiB")
    power = "kmgt".find(match[2][:1].lower()) + 1 if match[2] else 0
    return int(float(match[1]) * 1024**power)


def parse_seconds(raw: object) -> float:
    """Seconds from a number or a Go duration such as `1h30m` or `250ms`.  Raises ValueError."""
    if isinstance(raw, (int, float)):
        return float(raw)
    text = str(raw).strip()
    try:
        return float(text)
    except ValueError:
        pieces = _DURATION.findall(text)
        if not pieces or "".join(number + unit for number, unit in pieces) != text:
            raise ValueError("use seconds or a duration such as 1h30m") from None
        return sum(float(number) * _UNIT_S[unit] for number, unit in pieces)


def _split(raw: str) -> list[str]:
    return [part.strip() for part in raw.split(",") if part.strip()]
