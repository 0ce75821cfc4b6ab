"""Settings of providers, factors, passkeys, SAML, Web3 and the OAuth server."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from selfbase.auth.logic.providers.catalog import PROVIDER_NAMES
from selfbase.auth.logic.sealed import SealKeys, parse_key_list, parse_seal_keys
from selfbase.auth.settings_general import gotrue
from selfbase.auth.settings_layers import load_prefixed
from selfbase.kit.settings import Layer, Secret, setting


@dataclass(frozen=True, kw_only=True)
class ProviderSettings:
    """One external provider.  `client_id` lists all ids accepted in ID tokens; the first is used
    on the web."""

    enabled: bool = setting(False, env="ENABLED", toml="enabled", help="Offer it.", runtime=True)
    client_id: tuple[str, ...] = setting(
        (), env="CLIENT_ID", toml="client_id", help="Client ids, comma-separated.", runtime=True
    )
    secret: Secret = setting(
        Secret(""), env="SECRET", toml="secret", help="Its secret.", secret=True, runtime=True
    )
    redirect_uri: str = setting(
        "", env="REDIRECT_URI", toml="redirect_uri", help="Empty: our callback.", runtime=True
    )
    url: str = setting("", env="URL", toml="url", help="Base address, if another.", runtime=True)
    email_optional: bool = setting(
        False,
        env="EMAIL_OPTIONAL",
        toml="email_optional",
        help="People without an address may sign in.",
        runtime=True,
    )
    skip_nonce_check: bool = setting(
        False,
        env="SKIP_NONCE_CHECK",
        toml="skip_nonce_check",
        help="Accept ID tokens without looking at their nonce.",
        runtime=True,
    )


def _provider_variables() -> dict[str, tuple[str, str]]:
    return {
        f"EXTERNAL_{provider.upper()}_{spec.name.upper()}": (provider, spec.name)
        for provider in PROVIDER_NAMES
        for spec in dataclasses.fields(ProviderSettings)
    }


# The provider and field of each variable, by its name without the prefix.
PROVIDER_VARIABLES: Final[Mapping[str, tuple[str, str]]] = _provider_variables()


def render_providers(providers: Mapping[str, ProviderSettings]) -> dict[str, Any]:
    """The settings of all providers by variable; secrets are masked."""
    shown: dict[str, Any] = {}
    for variable, (provider, name) in PROVIDER_VARIABLES.items():
        value = getattr(providers[provider], name)
        if isinstance(value, Secret):
            value = "********" if value else ""
        shown[variable] = ",".join(value) if isinstance(value, tuple) else value
    return shown


@dataclass(frozen=True, kw_only=True)
class MoreSettings:
    """What the further ways of signing in need."""

    providers: Mapping[str, ProviderSettings] = field(default_factory=dict)
    external_ios_bundle_id: str = gotrue(
        "", "EXTERNAL_IOS_BUNDLE_ID", "Further audience of Apple's ID tokens."
    )
    external_allowed_id_token_issuers: tuple[str, ...] = gotrue(
        (), "EXTERNAL_ALLOWED_ID_TOKEN_ISSUERS", "Issuers accepted by address (deprecated form)."
    )
    external_redirect_url: str = gotrue(
        "", "EXTERNAL_REDIRECT_URL", "Where every external sign-in ends, instead of redirect_to."
    )
    external_allow_private: bool = setting(
        False,
        env="GOTRUE_EXTERNAL_ALLOW_PRIVATE_ADDRESSES",
        help="Providers and SAML metadata may be on private addresses.",
        runtime=True,
    )
    external_timeout_s: float = setting(
        10.0, env="GOTRUE_INTERNAL_HTTP_TIMEOUT", help="Longest request to a provider.", unit="s"
    )
    external_web3_solana_enabled: bool = gotrue(
        False, "EXTERNAL_WEB3_SOLANA_ENABLED", "Solana wallets.", toml="auth.web3.solana.enabled"
    )
    external_web3_solana_maximum_validity_duration: float = gotrue(
        600.0, "EXTERNAL_WEB3_SOLANA_MAXIMUM_VALIDITY_DURATION", "Age of a message.", unit="s"
    )
    external_web3_ethereum_enabled: bool = gotrue(
        False, "EXTERNAL_WEB3_ETHEREUM_ENABLED", "Ethereum wallets.",
        toml="auth.web3.ethereum.enabled",
    )  # fmt: skip
    external_web3_ethereum_maximum_validity_duration: float = gotrue(
        600.0, "EXTERNAL_WEB3_ETHEREUM_MAXIMUM_VALIDITY_DURATION", "Age of a message.", unit="s"
    )
    custom_oauth_enabled: bool = gotrue(True, "CUSTOM_OAUTH_ENABLED", "Providers added by hand.")
    custom_oauth_max_providers: int = gotrue(
        0, "CUSTOM_OAUTH_MAX_PROVIDERS", "How many; 0: no limit."
    )
    custom_oauth_external_url: str = gotrue(
        "", "CUSTOM_OAUTH_EXTERNAL_URL", "Base of their callback; empty: the public address."
    )
    security_db_encryption_encrypt: bool = gotrue(
        False, "SECURITY_DB_ENCRYPTION_ENCRYPT", "Seal secrets in their columns."
    )
    security_db_encryption_encryption_key_id: str = gotrue(
        "", "SECURITY_DB_ENCRYPTION_ENCRYPTION_KEY_ID", "The name of the key to seal with."
    )
    security_db_encryption_encryption_key: Secret = gotrue(
        Secret(""),
        "SECURITY_DB_ENCRYPTION_ENCRYPTION_KEY",
        "32 bytes in base64url.",
        secret=True,
        runtime=False,
    )
    security_db_encryption_decryption_keys: Secret = gotrue(
        Secret(""),
        "SECURITY_DB_ENCRYPTION_DECRYPTION_KEYS",
        "`id:key,…`: keys that open what is sealed.",
        secret=True,
        runtime=False,
    )
    mfa_totp_enroll_enabled: bool = gotrue(
        True, "MFA_TOTP_ENROLL_ENABLED", "", toml="auth.mfa.totp.enroll_enabled"
    )
    mfa_totp_verify_enabled: bool = gotrue(
        True, "MFA_TOTP_VERIFY_ENABLED", "", toml="auth.mfa.totp.verify_enabled"
    )
    mfa_phone_enroll_enabled: bool = gotrue(
        False, "MFA_PHONE_ENROLL_ENABLED", "", toml="auth.mfa.phone.enroll_enabled"
    )
    mfa_phone_verify_enabled: bool = gotrue(
        False, "MFA_PHONE_VERIFY_ENABLED", "", toml="auth.mfa.phone.verify_enabled"
    )
    mfa_phone_otp_length: int = gotrue(
        6, "MFA_PHONE_OTP_LENGTH", "Digits, 6 to 10.", toml="auth.mfa.phone.otp_length"
    )
    mfa_phone_template: str = gotrue(
        "", "MFA_PHONE_TEMPLATE", "Text of the message.", toml="auth.mfa.phone.template"
    )
    mfa_phone_max_frequency: float = gotrue(
        60.0, "MFA_PHONE_MAX_FREQUENCY", "Least time between two codes to one factor.", unit="s",
        toml="auth.mfa.phone.max_frequency",
    )  # fmt: skip
    mfa_web_authn_enroll_enabled: bool = gotrue(
        False, "MFA_WEB_AUTHN_ENROLL_ENABLED", "", toml="auth.mfa.web_authn.enroll_enabled"
    )
    mfa_web_authn_verify_enabled: bool = gotrue(
        False, "MFA_WEB_AUTHN_VERIFY_ENABLED", "", toml="auth.mfa.web_authn.verify_enabled"
    )
    mfa_challenge_expiry_duration: float = gotrue(
        300.0, "MFA_CHALLENGE_EXPIRY_DURATION", "Life of a challenge.", unit="s"
    )
    mfa_factor_expiry_duration: float = gotrue(
        300.0, "MFA_FACTOR_EXPIRY_DURATION", "Life of a factor that is never verified.", unit="s"
    )
    mfa_max_enrolled_factors: int = gotrue(
        10, "MFA_MAX_ENROLLED_FACTORS", "", toml="auth.mfa.max_enrolled_factors"
    )
    mfa_max_verified_factors: int = gotrue(10, "MFA_MAX_VERIFIED_FACTORS", "")
    mfa_rate_limit_challenge_and_verify: int = gotrue(
        15, "MFA_RATE_LIMIT_CHALLENGE_AND_VERIFY", "In a minute."
    )
    mfa_attempts_max: int = setting(
        10,
        env="GOTRUE_MFA_ATTEMPTS_MAX",
        help="Wrong codes a factor takes in an hour before it refuses all.",
        runtime=True,
    )
    webauthn_rp_id: str = gotrue(
        "",
        "WEBAUTHN_RP_ID",
        "Domain of credentials; empty: the site's.",
        toml="auth.webauthn.rp_id",
    )
    webauthn_rp_display_name: str = gotrue(
        "", "WEBAUTHN_RP_DISPLAY_NAME", "Name people see; empty: the domain.",
        toml="auth.webauthn.rp_display_name",
    )  # fmt: skip
    webauthn_rp_origins: tuple[str, ...] = gotrue(
        (), "WEBAUTHN_RP_ORIGINS", "Pages that may ask; empty: the site.",
        toml="auth.webauthn.rp_origins",
    )  # fmt: skip
    webauthn_challenge_expiry_duration: float = gotrue(
        300.0, "WEBAUTHN_CHALLENGE_EXPIRY_DURATION", "Life of a passkey challenge.", unit="s"
    )
    passkey_enabled: bool = gotrue(
        False, "PASSKEY_ENABLED", "Sign in with passkeys.", toml="auth.passkey.enabled"
    )
    passkey_max_passkeys_per_user: int = gotrue(10, "PASSKEY_MAX_PASSKEYS_PER_USER", "")
    saml_enabled: bool = gotrue(False, "SAML_ENABLED", "Sign in through SAML providers.")
    saml_private_key: Secret = gotrue(
        Secret(""), "SAML_PRIVATE_KEY", "Base64 of a PKCS#1 DER RSA key.", secret=True
    )
    saml_private_key_next: Secret = gotrue(
        Secret(""), "SAML_PRIVATE_KEY_NEXT", "The key of the next rotation.", secret=True
    )
    saml_allow_encrypted_assertions: bool = gotrue(
        False, "SAML_ALLOW_ENCRYPTED_ASSERTIONS", "Decrypt assertions made for our key."
    )
    saml_relay_state_validity_period: float = gotrue(
        120.0, "SAML_RELAY_STATE_VALIDITY_PERIOD", "Time between request and response.", unit="s"
    )
    saml_external_url: str = gotrue(
        "", "SAML_EXTERNAL_URL", "Base in SAML addresses; empty: the public address."
    )
    saml_rate_limit_assertion: int = gotrue(15, "SAML_RATE_LIMIT_ASSERTION", "In 5 minutes.")
    oauth_server_enabled: bool = gotrue(
        False, "OAUTH_SERVER_ENABLED", "Be an OAuth 2.1 server.", toml="auth.oauth_server.enabled"
    )
    oauth_server_allow_dynamic_registration: bool = gotrue(
        False, "OAUTH_SERVER_ALLOW_DYNAMIC_REGISTRATION", "Anybody may register a client.",
        toml="auth.oauth_server.allow_dynamic_registration",
    )  # fmt: skip
    oauth_server_authorization_path: str = gotrue(
        "", "OAUTH_SERVER_AUTHORIZATION_PATH", "The app's consent page, below the site.",
        toml="auth.oauth_server.authorization_url_path",
    )  # fmt: skip
    oauth_server_authorization_ttl: float = gotrue(
        600.0, "OAUTH_SERVER_AUTHORIZATION_TTL", "Life of a request and its code.", unit="s"
    )
    oauth_server_default_scope: str = gotrue(
        "email", "OAUTH_SERVER_DEFAULT_SCOPE", "Scopes of a request that names none."
    )

    def seal_keys(self) -> SealKeys:
        """The keys of sealed columns.  Raises ValueError naming the key that cannot be used."""
        return parse_seal_keys(
            encrypt=self.security_db_encryption_encrypt,
            key_id=self.security_db_encryption_encryption_key_id,
            key=self.security_db_encryption_encryption_key.reveal(),
            decryption_keys=parse_key_list(self.security_db_encryption_decryption_keys.reveal()),
        )


def load_more(layers: Sequence[Layer]) -> dict[str, Any]:
    """The members of repeated groups, by field name of AuthSettings."""
    return {
        "providers": {
            name: load_prefixed(
                ProviderSettings,
                layers,
                f"external_{name}_",
                f"GOTRUE_EXTERNAL_{name.upper()}_",
                f"auth.external.{name}.",
            )
            for name in PROVIDER_NAMES
        }
    }
