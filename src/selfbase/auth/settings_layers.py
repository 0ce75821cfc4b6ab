"""Layers of settings seen through a prefix, for groups whose members have equal shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from selfbase.kit.settings import Layer, SettingInfo, load_settings

OWNER = "auth"
T = TypeVar("T")


def load_prefixed(
    cls: type[T],
    layers: Sequence[Layer],
    field_prefix: str,
    env_prefix: str,
    toml_prefix: str,
) -> T:
    """One member of a repeated group: the class's own names are suffixes of the prefixes."""
    wrapped = [
        cast("Layer", _Prefixed(layer, field_prefix, env_prefix, toml_prefix)) for layer in layers
    ]
    return load_settings(cls, wrapped, owner=OWNER)


@dataclass(frozen=True)
class _Prefixed:
    """Shows a layer to a settings class whose names lack the group's prefixes."""

    inner: Layer
    field_prefix: str
    env_prefix: str
    toml_prefix: str

    @property
    def name(self) -> str:
        return self.inner.name

    def find(self, owner: str, field_name: str, info: SettingInfo) -> Any:
        full = dataclasses.replace(
            info,
            env=tuple(self.env_prefix + suffix for suffix in info.env),
            toml=None if info.toml is None else self.toml_prefix + info.toml,
        )
        return self.inner.find(owner, self.field_prefix + field_name, full)
