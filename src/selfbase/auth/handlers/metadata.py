"""What Auth says about itself: health, settings, keys, OpenID discovery."""

from __future__ import annotations

from selfbase.auth.context import Context
from selfbase.database.failures import DatabaseFailure
from selfbase.http.values import Response, json_response

VERSION = "v2.196.0"
LISTED_PROVIDERS = [
    "apple",
    "azure",
    "bitbucket",
    "discord",
    "facebook",
    "snapchat",
    "figma",
    "fly",
    "github",
    "gitlab",
    "google",
    "keycloak",
    "kakao",
    "linkedin",
    "linkedin_oidc",
    "notion",
    "spotify",
    "slack",
    "slack_oidc",
    "workos",
    "twitch",
    "twitter",
    "zoom",
]


async def get_health(ctx: Context) -> Response:
    """Alive, and whether the database answers."""
    try:
        await ctx.core.read(b"select 'true'::text")
        database = "up"
    except DatabaseFailure:
        database = "down"
    body = {
        "version": VERSION,
        "name": "GoTrue",
        "description": "GoTrue is a user registration and authentication API",
        "database": database,
    }
    return json_response(body)


async def get_settings(ctx: Context) -> Response:
    """What is switched on, for clients to show the right buttons."""
    settings = ctx.settings
    providers = getattr(settings, "providers", {})
    external = {
        name: bool(name in providers and providers[name].enabled) for name in LISTED_PROVIDERS
    }
    external.update(
        anonymous_users=settings.external_anonymous_users_enabled,
        email=settings.external_email_enabled,
        phone=settings.external_phone_enabled,
    )
    return json_response(
        {
            "external": external,
            "disable_signup": settings.disable_signup,
            "mailer_autoconfirm": settings.mailer_autoconfirm,
            "phone_autoconfirm": settings.sms_autoconfirm,
            "sms_provider": settings.sms_provider,
            "saml_enabled": settings.saml_enabled,
            "saml_private_key_next_configured": bool(
                getattr(settings, "saml_private_key_next", "")
            ),
            "passkeys_enabled": settings.passkey_enabled,
        }
    )


async def get_jwks(ctx: Context) -> Response:
    """The public keys; never a shared secret."""
    keys = ctx.core.tokens.public_keys()
    return json_response({"keys": keys}, headers=[("cache-control", "public, max-age=600")])


async def get_openid_configuration(ctx: Context) -> Response:
    """OpenID Connect Discovery 1.0, its addresses below the issuer."""
    issuer = ctx.settings.issuer
    document = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/oauth/authorize",
        "token_endpoint": f"{issuer}/oauth/token",
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        "userinfo_endpoint": f"{issuer}/oauth/userinfo",
        "scopes_supported": ["openid", "profile", "email", "phone", "offline_access"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "HS256", "ES256"],
        "token_endpoint_auth_methods_supported": [
            "client_secret_basic", "client_secret_post", "none",
        ],
        "claims_supported": [
            "sub", "aud", "iss", "exp", "iat", "auth_time", "nonce", "email", "email_verified",
            "phone_number", "phone_number_verified", "name", "picture", "preferred_username",
            "updated_at",
        ],
        "code_challenge_methods_supported": ["S256", "plain"],
    }  # fmt: skip
    if getattr(ctx.settings, "oauth_server_allow_dynamic_registration", False):
        document["registration_endpoint"] = f"{issuer}/oauth/clients/register"
    return json_response(document, headers=[("cache-control", "public, max-age=600")])
