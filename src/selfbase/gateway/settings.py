"""Settings of the public port."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from selfbase.kit.settings import setting


@dataclass(frozen=True, kw_only=True)
class GatewaySettings:
    """Limits, proxies and the access log."""

    key_required: bool = setting(
        True,
        help="Refuse requests that show no API key; false takes them for anon, as the gateway of the"
        " official CLI's local stack does.",
    )
    rate_limit_per_s: float = setting(
        0.0, help="Requests a second for each API key and address; 0 turns the limit off."
    )
    rate_limit_burst: int = setting(0, help="Requests at once; 0 means twice the rate.")
    access_log: Literal["all", "errors", "off"] = setting(
        "all", help="Which requests become a log line."
    )
    trusted_proxies: tuple[str, ...] = setting(
        ("127.0.0.0/8", "::1/128"),
        help="Networks whose X-Forwarded-* headers are believed.",
    )
    dashboard_username: str = setting(
        "", env="DASHBOARD_USERNAME", help="Login of Studio; empty: the one in secrets.toml."
    )
    dashboard_password: str = setting(
        "", env="DASHBOARD_PASSWORD", secret=True, help="Password of Studio; see above."
    )
