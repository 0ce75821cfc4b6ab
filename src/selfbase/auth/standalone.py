"""Settings that only Auth alone needs: where its database is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selfbase.auth.settings_layers import OWNER
from selfbase.kit.settings import Layer, Secret, load_settings, setting


@dataclass(frozen=True, kw_only=True)
class StandaloneSettings:
    """The database of Auth alone."""

    url: Secret = setting(
        env=("GOTRUE_DB_DATABASE_URL", "DATABASE_URL", "GOTRUE_DATABASE_URL"),
        help="postgres://user:password@host:port/database",
        secret=True,
    )


def load_standalone(layers: Sequence[Layer]) -> StandaloneSettings:
    """Raises ConfigurationError when no database is named."""
    return load_settings(StandaloneSettings, layers, owner=OWNER)
