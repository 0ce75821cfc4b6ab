"""The HTTP surface of Auth as data: method, path, handler, who may call, which limit.

`limit` names a rate limit by address (see limits.py).  `extra=CAPTCHA` asks for a captcha before
the handler runs, except from administrators.  `extra=OFFLINE` marks what answers without a database.
"""

from __future__ import annotations

from typing import Final

from selfbase.auth.context import AuthRoute
from selfbase.auth.handlers import (
    admin_links,
    admin_users,
    metadata,
    otp,
    signup,
    token,
    user,
    verify,
)
from selfbase.auth.routes_more import MORE_ROUTES
from selfbase.kit.routes import Access, Route

CAPTCHA: Final = "captcha"
OFFLINE: Final = "offline"

CORE_ROUTES: tuple[AuthRoute, ...] = (
    Route("GET", "/health", metadata.get_health, "auth.health", extra=OFFLINE),
    Route("GET", "/settings", metadata.get_settings, "auth.settings", extra=OFFLINE),
    Route(
        "GET", "/.well-known/jwks.json", metadata.get_jwks, "auth.jwks", access=Access.OPEN, extra=OFFLINE
    ),
    Route(
        "GET", "/.well-known/openid-configuration", metadata.get_openid_configuration,
        "auth.openid_configuration", access=Access.OPEN, extra=OFFLINE,
    ),
    Route("POST", "/signup", signup.sign_up, "auth.signup", extra=CAPTCHA),
    Route("POST", "/token", token.exchange_token, "auth.token"),
    Route("POST", "/otp", otp.send_otp, "auth.otp", limit="otp", extra=CAPTCHA),
    Route("POST", "/magiclink", otp.send_magic_link, "auth.magiclink", limit="otp", extra=CAPTCHA),
    Route("POST", "/recover", otp.recover, "auth.recover", limit="otp", extra=CAPTCHA),
    Route("POST", "/resend", otp.resend, "auth.resend", limit="otp", extra=CAPTCHA),
    Route(
        "GET", "/verify", verify.verify_link, "auth.verify_link", access=Access.OPEN,
        limit="verify",
    ),
    Route(
        "HEAD", "/verify", verify.verify_link, "auth.verify_look", access=Access.OPEN,
        limit="verify",
    ),
    Route(
        "POST", "/verify", verify.verify_posted, "auth.verify", access=Access.OPEN, limit="verify"
    ),
    Route("POST", "/invite", admin_links.invite, "auth.invite", access=Access.SERVICE),
    Route("GET", "/user", user.get_user, "auth.user.get", access=Access.USER),
    Route(
        "PUT", "/user", user.update_user, "auth.user.update", access=Access.USER, limit="otp"
    ),
    Route(
        "GET", "/reauthenticate", user.reauthenticate, "auth.reauthenticate", access=Access.USER
    ),
    Route(
        "POST", "/reauthenticate", user.reauthenticate, "auth.reauthenticate_post",
        access=Access.USER,
    ),
    Route("POST", "/logout", user.log_out, "auth.logout", access=Access.USER),
    Route(
        "DELETE", "/user/identities/{identity_id}", user.unlink_identity, "auth.identity.unlink",
        access=Access.USER,
    ),
    Route("GET", "/admin/users", admin_users.list_users, "auth.admin.user.list",
          access=Access.SERVICE),
    Route("POST", "/admin/users", admin_users.create_user, "auth.admin.user.create",
          access=Access.SERVICE),
    Route("GET", "/admin/users/{user_id}", admin_users.get_user, "auth.admin.user.get",
          access=Access.SERVICE),
    Route("PUT", "/admin/users/{user_id}", admin_users.update_user, "auth.admin.user.update",
          access=Access.SERVICE),
    Route("DELETE", "/admin/users/{user_id}", admin_users.delete_user, "auth.admin.user.delete",
          access=Access.SERVICE),
    Route("POST", "/admin/generate_link", admin_links.generate_link, "auth.admin.link",
          access=Access.SERVICE),
    Route("GET", "/admin/audit", admin_users.list_audit, "auth.admin.audit",
          access=Access.SERVICE),
)  # fmt: skip

ROUTES: tuple[AuthRoute, ...] = (*CORE_ROUTES, *MORE_ROUTES)
