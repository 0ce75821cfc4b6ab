"""General settings: addresses, tokens, which ways of signing in exist, limits of a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from selfbase.kit.settings import MiB, Secret, setting


def gotrue(default: Any, name: str | tuple[str, ...], help: str, **more: Any) -> Any:
    """A setting known as `GOTRUE_<name>` that may change while running."""
    names = (name,) if isinstance(name, str) else name
    env = tuple(f"GOTRUE_{each}" for each in names)
    return setting(
        default, env=(*env, *more.pop("also", ())), help=help, **{"runtime": True, **more}
    )


@dataclass(frozen=True, kw_only=True)
class GeneralSettings:
    """What Auth is reached by and what it offers."""

    api_external_url: str = gotrue(
        "http://localhost:9999",
        "API_EXTERNAL_URL",
        "Public base address of Auth.",
        also=("API_EXTERNAL_URL",),
        toml="auth.external_url",
        runtime=False,
    )
    site_url: str = gotrue(
        "http://localhost:3000",
        "SITE_URL",
        "Where people land when no redirect is asked for.",
        toml="auth.site_url",
    )
    uri_allow_list: tuple[str, ...] = gotrue(
        (),
        "URI_ALLOW_LIST",
        "Redirect targets that are allowed besides the site; globs.",
        toml="auth.additional_redirect_urls",
    )
    disable_signup: bool = gotrue(False, "DISABLE_SIGNUP", "Nobody can create an account alone.")
    jwt_secret: Secret = gotrue(
        Secret(""), "JWT_SECRET", "Shared secret of HS256 tokens.", secret=True, runtime=False
    )
    jwt_keys: Secret = gotrue(
        Secret(""),
        "JWT_KEYS",
        "Private JWKs as a JSON array; one has `sign` in key_ops.",
        secret=True,
        runtime=False,
    )
    jwt_valid_methods: tuple[str, ...] = gotrue(
        (),
        "JWT_VALID_METHODS",
        "Algorithms accepted; empty: those of the keys.",
        also=("GOTRUE_JWT_VALIDMETHODS",),
        runtime=False,
    )
    jwt_key_id: str = gotrue("", "JWT_KEY_ID", "Key id named by tokens signed with the secret.")
    jwt_exp: int = gotrue(
        3600, "JWT_EXP", "Life of an access token.", unit="s", toml="auth.jwt_expiry"
    )
    jwt_aud: str = gotrue("authenticated", "JWT_AUD", "Audience of new users.")
    jwt_default_group_name: str = gotrue(
        "authenticated", "JWT_DEFAULT_GROUP_NAME", "Database role of new users."
    )
    jwt_admin_group_name: str = gotrue("admin", "JWT_ADMIN_GROUP_NAME", "Kept for old setups.")
    jwt_admin_roles: tuple[str, ...] = gotrue(
        ("service_role", "supabase_admin"), "JWT_ADMIN_ROLES", "Roles that may use /admin."
    )
    jwt_issuer: str = gotrue(
        "", "JWT_ISSUER", "The `iss` claim; empty: the public address.", toml="auth.jwt_issuer"
    )
    operator_token: Secret = gotrue(
        Secret(""), "OPERATOR_TOKEN", "Accepted for old setups; not used.", secret=True
    )
    api_max_request_duration: float = gotrue(
        10.0, "API_MAX_REQUEST_DURATION", "Longest time one request may take.", unit="s"
    )
    api_body_bytes_max: int = setting(1 * MiB, help="Largest request body.", unit="bytes")
    external_email_enabled: bool = gotrue(
        True, "EXTERNAL_EMAIL_ENABLED", "Sign in by e-mail.", toml="auth.email.enable_signup"
    )
    external_email_magic_link_enabled: bool = gotrue(
        True, "EXTERNAL_EMAIL_MAGIC_LINK_ENABLED", "Sign in by magic link."
    )
    external_email_authorized_addresses: tuple[str, ...] = gotrue(
        (), "EXTERNAL_EMAIL_AUTHORIZED_ADDRESSES", "If set, the only addresses mail goes to."
    )
    external_phone_enabled: bool = gotrue(
        False, "EXTERNAL_PHONE_ENABLED", "Sign in by phone.", toml="auth.sms.enable_signup"
    )
    external_anonymous_users_enabled: bool = gotrue(
        False,
        "EXTERNAL_ANONYMOUS_USERS_ENABLED",
        "Sign in without any name.",
        toml="auth.enable_anonymous_sign_ins",
    )
    external_flow_state_expiry_duration: float = gotrue(
        300.0,
        "EXTERNAL_FLOW_STATE_EXPIRY_DURATION",
        "Life of a PKCE code (300 s at least).",
        unit="s",
    )
    cors_allowed_headers: tuple[str, ...] = gotrue(
        (), "CORS_ALLOWED_HEADERS", "Further headers browsers may send."
    )
    request_id_header: str = gotrue(
        "", "REQUEST_ID_HEADER", "Header that names a request.", also=("REQUEST_ID_HEADER",)
    )
    audit_log_disable_postgres: bool = gotrue(
        False, "AUDIT_LOG_DISABLE_POSTGRES", "Keep no audit log in the database."
    )
    db_cleanup_enabled: bool = gotrue(
        False, "DB_CLEANUP_ENABLED", "Remove what has expired from time to time."
    )
    experimental_provider_linking_domains: str = gotrue(
        "", "EXPERIMENTAL_PROVIDER_LINKING_DOMAINS", "`provider=domain,…`"
    )
    experimental_cursor_pagination_enabled: bool = gotrue(
        False, "EXPERIMENTAL_CURSOR_PAGINATION_ENABLED", "Cursor paging of the user list."
    )
    experimental_create_email_identity_on_password_set_enabled: bool = gotrue(
        False,
        "EXPERIMENTAL_CREATE_EMAIL_IDENTITY_ON_PASSWORD_SET_ENABLED",
        "Setting a password adds an e-mail identity where there is none.",
    )
