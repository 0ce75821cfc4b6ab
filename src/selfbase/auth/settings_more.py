"""Settings of providers, factors, passkeys, SAML, Web3 and the OAuth server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from selfbase.auth.settings_general import gotrue
from selfbase.kit.settings import Layer


@dataclass(frozen=True, kw_only=True)
class MoreSettings:
    """What the further ways of signing in need."""

    saml_enabled: bool = gotrue(False, "SAML_ENABLED", "Sign in through SAML providers.")
    passkey_enabled: bool = gotrue(False, "PASSKEY_ENABLED", "Sign in with passkeys.")
    oauth_server_enabled: bool = gotrue(
        False, "OAUTH_SERVER_ENABLED", "Be an OAuth 2.1 server.", toml="auth.oauth_server.enabled"
    )


def load_more(layers: Sequence[Layer]) -> dict[str, Any]:
    """The members of repeated groups, by field name of AuthSettings."""
    return {}
