"""The routes of the further ways of signing in."""

from __future__ import annotations

from importlib import import_module

from selfbase.auth.context import AuthRoute, Context, Handler
from selfbase.auth.handlers import (
    admin_factors,
    custom_providers,
    external,
    mfa,
    oauth_clients,
    oauth_server,
    passkeys,
)
from selfbase.http.values import Response
from selfbase.kit.routes import Access, Route


def _later(module: str, name: str) -> Handler:
    """A handler whose module is loaded with its first request: XML and its signatures are large, and
    most projects have no SAML."""

    async def handle(ctx: Context) -> Response:
        handler: Handler = getattr(import_module(f"selfbase.auth.handlers.{module}"), name)
        return await handler(ctx)

    return handle


def _admin(method: str, path: str, handler: Handler, operation: str) -> AuthRoute:
    return Route(method, path, handler, operation, access=Access.SERVICE)


MORE_ROUTES: tuple[AuthRoute, ...] = (
    Route("GET", "/authorize", external.authorize, "auth.authorize", access=Access.OPEN),
    Route("GET", "/callback", external.callback, "auth.callback", access=Access.OPEN),
    Route("POST", "/callback", external.callback, "auth.callback_post", access=Access.OPEN),
    Route(
        "GET", "/user/identities/authorize", external.authorize_linking, "auth.identity.link",
        access=Access.USER,
    ),
    Route(
        "POST", "/factors", mfa.enroll_factor, "auth.factor.enroll", access=Access.USER,
        limit="mfa",
    ),
    Route(
        "POST", "/factors/{factor_id}/challenge", mfa.challenge_factor, "auth.factor.challenge",
        access=Access.USER, limit="mfa",
    ),
    Route(
        "POST", "/factors/{factor_id}/verify", mfa.verify_factor, "auth.factor.verify",
        access=Access.USER, limit="mfa",
    ),
    Route(
        "DELETE", "/factors/{factor_id}", mfa.unenroll_factor, "auth.factor.unenroll",
        access=Access.USER,
    ),
    Route(
        "POST", "/passkeys/authentication/options", passkeys.begin_authentication,
        "auth.passkey.authenticate", limit="passkey", extra="captcha",
    ),
    Route(
        "POST", "/passkeys/authentication/verify", passkeys.finish_authentication,
        "auth.passkey.authenticated", limit="passkey",
    ),
    Route(
        "POST", "/passkeys/registration/options", passkeys.begin_registration,
        "auth.passkey.register", access=Access.USER, limit="passkey",
    ),
    Route(
        "POST", "/passkeys/registration/verify", passkeys.finish_registration,
        "auth.passkey.registered", access=Access.USER, limit="passkey",
    ),
    Route("GET", "/passkeys", passkeys.list_passkeys, "auth.passkey.list", access=Access.USER),
    Route(
        "PATCH", "/passkeys/{passkey_id}", passkeys.rename_passkey, "auth.passkey.rename",
        access=Access.USER,
    ),
    Route(
        "DELETE", "/passkeys/{passkey_id}", passkeys.delete_passkey, "auth.passkey.delete",
        access=Access.USER,
    ),
    Route(
        "GET", "/admin/users/{user_id}/factors", admin_factors.list_factors,
        "auth.admin.factor.list", access=Access.SERVICE,
    ),
    Route(
        "PUT", "/admin/users/{user_id}/factors/{factor_id}", admin_factors.update_factor,
        "auth.admin.factor.update", access=Access.SERVICE,
    ),
    Route(
        "DELETE", "/admin/users/{user_id}/factors/{factor_id}", admin_factors.delete_factor,
        "auth.admin.factor.delete", access=Access.SERVICE,
    ),
    Route(
        "GET", "/admin/users/{user_id}/passkeys", admin_factors.list_passkeys,
        "auth.admin.passkey.list", access=Access.SERVICE,
    ),
    Route(
        "DELETE", "/admin/users/{user_id}/passkeys/{passkey_id}", admin_factors.delete_passkey,
        "auth.admin.passkey.delete", access=Access.SERVICE,
    ),
    Route("POST", "/sso", _later("sso", "begin_sso"), "auth.sso", limit="sso", extra="captcha"),
    Route(
        "GET", "/sso/saml/metadata", _later("sso", "get_metadata"), "auth.saml.metadata", access=Access.OPEN
    ),
    Route(
        "POST", "/sso/saml/acs", _later("sso", "consume_assertion"), "auth.saml.acs", access=Access.OPEN,
        limit="saml",
    ),
    _admin("GET", "/admin/sso/providers", _later("admin_sso", "list_providers"), "auth.admin.sso.list"),
    _admin("POST", "/admin/sso/providers", _later("admin_sso", "create_provider"), "auth.admin.sso.create"),
    _admin(
        "GET", "/admin/sso/providers/{provider_id}", _later("admin_sso", "get_provider"),
        "auth.admin.sso.get",
    ),
    _admin(
        "PUT", "/admin/sso/providers/{provider_id}", _later("admin_sso", "update_provider"),
        "auth.admin.sso.update",
    ),
    _admin(
        "DELETE", "/admin/sso/providers/{provider_id}", _later("admin_sso", "delete_provider"),
        "auth.admin.sso.delete",
    ),
    _admin(
        "GET", "/admin/custom-providers", custom_providers.list_providers,
        "auth.admin.provider.list",
    ),
    _admin(
        "POST", "/admin/custom-providers", custom_providers.create_provider,
        "auth.admin.provider.create",
    ),
    _admin(
        "GET", "/admin/custom-providers/{identifier}", custom_providers.get_provider,
        "auth.admin.provider.get",
    ),
    _admin(
        "PUT", "/admin/custom-providers/{identifier}", custom_providers.update_provider,
        "auth.admin.provider.update",
    ),
    _admin(
        "DELETE", "/admin/custom-providers/{identifier}", custom_providers.delete_provider,
        "auth.admin.provider.delete",
    ),
    _admin(
        "GET", "/admin/oauth/clients", oauth_clients.list_clients,
        "auth.admin.oauth_client.list",
    ),
    _admin(
        "POST", "/admin/oauth/clients", oauth_clients.create_client,
        "auth.admin.oauth_client.create",
    ),
    _admin(
        "GET", "/admin/oauth/clients/{client_id}", oauth_clients.get_client,
        "auth.admin.oauth_client.get",
    ),
    _admin(
        "PUT", "/admin/oauth/clients/{client_id}", oauth_clients.update_client,
        "auth.admin.oauth_client.update",
    ),
    _admin(
        "DELETE", "/admin/oauth/clients/{client_id}", oauth_clients.delete_client,
        "auth.admin.oauth_client.delete",
    ),
    _admin(
        "POST", "/admin/oauth/clients/{client_id}/regenerate_secret", oauth_clients.regenerate_secret,
        "auth.admin.oauth_client.regenerate_secret",
    ),
    Route(
        "POST", "/oauth/clients/register", oauth_clients.register_client, "auth.oauth.register",
        access=Access.OPEN, limit="oauth_register",
    ),
    Route(
        "GET", "/oauth/authorize", oauth_server.authorize, "auth.oauth.authorize",
        access=Access.OPEN,
    ),
    Route(
        "GET", "/oauth/authorizations/{authorization_id}", oauth_server.get_authorization,
        "auth.oauth.authorization", access=Access.USER,
    ),
    Route(
        "POST", "/oauth/authorizations/{authorization_id}/consent", oauth_server.decide_consent,
        "auth.oauth.consent", access=Access.USER,
    ),
    Route(
        "POST", "/oauth/token", oauth_server.exchange_token, "auth.oauth.token",
        access=Access.OPEN, limit="token_refresh",
    ),
    Route(
        "GET", "/oauth/userinfo", oauth_server.get_userinfo, "auth.oauth.userinfo",
        access=Access.USER,
    ),
    Route(
        "GET", "/user/oauth/grants", oauth_server.list_grants, "auth.oauth.grant.list",
        access=Access.USER,
    ),
    Route(
        "DELETE", "/user/oauth/grants", oauth_server.revoke_grant, "auth.oauth.grant.revoke",
        access=Access.USER,
    ),
    Route(
        "GET", "/.well-known/oauth-authorization-server", oauth_server.get_server_metadata,
        "auth.oauth.metadata", access=Access.OPEN,
    ),
    # RFC 8414 puts the issuer's path behind the well-known one.
    Route(
        "GET", "/.well-known/oauth-authorization-server/auth/v1",
        oauth_server.get_server_metadata, "auth.oauth.metadata_inserted", access=Access.OPEN,
    ),
)  # fmt: skip
