"""The routes and grants of the further ways of signing in."""

from __future__ import annotations

from collections.abc import Mapping

from selfbase.auth.context import AuthRoute, Handler

MORE_ROUTES: tuple[AuthRoute, ...] = ()
MORE_GRANTS: Mapping[str, Handler] = {}
