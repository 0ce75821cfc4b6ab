"""The grants of `POST /token` beside passwords, refresh tokens and PKCE codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from selfbase.auth.context import Handler
from selfbase.auth.handlers import id_token, web3

MORE_GRANTS: Final[Mapping[str, Handler]] = {
    "id_token": id_token.grant_id_token,
    "web3": web3.grant_web3,
}
