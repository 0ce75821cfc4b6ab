"""Rows of the further ways of signing in as values: challenges, passkeys, SSO, OAuth, providers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from selfbase.auth.logic.passkeys import Credential
from selfbase.auth.types import Document, read_moment


def _bytes(value: Any) -> bytes:
    """A bytea column as JSON shows it: `\\x…` in hexadecimal."""
    return bytes.fromhex(value.removeprefix("\\x")) if isinstance(value, str) else b""


def _moment(value: Any) -> datetime:
    moment = read_moment(value)
    if moment is None:
        raise ValueError("a row lacks a moment it must have")
    return moment


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorChallenge:
    """A row of `auth.mfa_challenges`.  `otp_code` is the hash of a code sent by phone."""

    id: str
    factor_id: str
    created_at: datetime
    verified_at: datetime | None
    ip_address: str
    otp_code: str = field(default="", repr=False)
    session_data: Mapping[str, Any] | None = None

    @classmethod
    def from_document(cls, row: Document) -> FactorChallenge:
        return cls(
            id=row["id"],
            factor_id=row["factor_id"],
            created_at=_moment(row["created_at"]),
            verified_at=read_moment(row["verified_at"]),
            ip_address=row["ip_address"],
            otp_code=row["otp_code"] or "",
            session_data=row["web_authn_session_data"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Passkey:
    """A row of `auth.webauthn_credentials`."""

    id: str
    user_id: str
    credential: Credential
    friendly_name: str
    created_at: datetime
    last_used_at: datetime | None

    @classmethod
    def from_document(cls, row: Document) -> Passkey:
        credential = Credential(
            id=_bytes(row["credential_id"]),
            public_key=_bytes(row["public_key"]),
            sign_count=int(row["sign_count"] or 0),
            attestation_type=row["attestation_type"] or "none",
            transports=tuple(row["transports"] or ()),
            backup_eligible=bool(row["backup_eligible"]),
            backed_up=bool(row["backed_up"]),
        )
        return cls(
            id=row["id"],
            user_id=row["user_id"],
            credential=credential,
            friendly_name=row["friendly_name"] or "",
            created_at=_moment(row["created_at"]),
            last_used_at=read_moment(row["last_used_at"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SsoProvider:
    """A SAML connection: `auth.sso_providers` with its SAML row and domains."""

    id: str
    resource_id: str | None
    disabled: bool | None
    entity_id: str
    metadata_xml: str = field(repr=False)
    metadata_url: str | None
    attribute_mapping: Mapping[str, Any]
    name_id_format: str | None
    domains: tuple[str, ...]
    created_at: datetime
    updated_at: datetime
    metadata_updated_at: datetime

    @classmethod
    def from_document(cls, row: Document) -> SsoProvider:
        saml = row["saml"]
        return cls(
            id=row["id"],
            resource_id=row["resource_id"],
            disabled=row["disabled"],
            entity_id=saml["entity_id"],
            metadata_xml=saml["metadata_xml"],
            metadata_url=saml["metadata_url"] or None,
            attribute_mapping=saml["attribute_mapping"] or {},
            name_id_format=saml["name_id_format"],
            domains=tuple(row["domains"] or ()),
            created_at=_moment(row["created_at"]),
            updated_at=_moment(row["updated_at"]),
            metadata_updated_at=_moment(saml["updated_at"] or row["updated_at"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayState:
    """A row of `auth.saml_relay_states`: a SAML request under way."""

    id: str
    sso_provider_id: str
    request_id: str
    redirect_to: str
    flow_state_id: str | None
    created_at: datetime

    @classmethod
    def from_document(cls, row: Document) -> RelayState:
        return cls(
            id=row["id"],
            sso_provider_id=row["sso_provider_id"],
            request_id=row["request_id"],
            redirect_to=row["redirect_to"] or "",
            flow_state_id=row["flow_state_id"],
            created_at=_moment(row["created_at"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthClient:
    """A row of `auth.oauth_clients`."""

    id: str
    client_type: str
    token_endpoint_auth_method: str
    registration_type: str
    redirect_uris: tuple[str, ...]
    grant_types: tuple[str, ...]
    client_name: str
    client_uri: str
    logo_uri: str
    created_at: datetime
    updated_at: datetime
    secret_hash: str = field(default="", repr=False)

    @classmethod
    def from_document(cls, row: Document) -> OAuthClient:
        public = row["client_type"] == "public"
        return cls(
            id=row["id"],
            client_type=row["client_type"],
            token_endpoint_auth_method=row["token_endpoint_auth_method"]
            or ("none" if public else "client_secret_basic"),
            registration_type=row["registration_type"],
            redirect_uris=tuple(uri for uri in row["redirect_uris"].split(",") if uri),
            grant_types=tuple(grant for grant in row["grant_types"].split(",") if grant),
            client_name=row["client_name"] or "",
            client_uri=row["client_uri"] or "",
            logo_uri=row["logo_uri"] or "",
            created_at=_moment(row["created_at"]),
            updated_at=_moment(row["updated_at"]),
            secret_hash=row["client_secret_hash"] or "",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthAuthorization:
    """A row of `auth.oauth_authorizations`."""

    authorization_id: str
    client_id: str
    user_id: str | None
    redirect_uri: str
    scope: str
    state: str
    resource: str
    nonce: str
    code_challenge: str
    code_challenge_method: str
    status: str
    expires_at: datetime
    code: str = field(default="", repr=False)

    @classmethod
    def from_document(cls, row: Document) -> OAuthAuthorization:
        return cls(
            authorization_id=row["authorization_id"],
            client_id=row["client_id"],
            user_id=row["user_id"],
            redirect_uri=row["redirect_uri"],
            scope=row["scope"],
            state=row["state"] or "",
            resource=row["resource"] or "",
            nonce=row["nonce"] or "",
            code_challenge=row["code_challenge"] or "",
            code_challenge_method=row["code_challenge_method"] or "",
            status=row["status"],
            expires_at=_moment(row["expires_at"]),
            code=row["authorization_code"] or "",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomProvider:
    """A row of `auth.custom_oauth_providers`."""

    id: str
    provider_type: str
    identifier: str
    name: str
    client_id: str
    client_secret: str = field(repr=False)
    acceptable_client_ids: tuple[str, ...]
    scopes: tuple[str, ...]
    pkce_enabled: bool
    attribute_mapping: Mapping[str, Any]
    authorization_params: Mapping[str, Any]
    custom_claims_allowlist: tuple[str, ...]
    enabled: bool
    email_optional: bool
    skip_nonce_check: bool
    issuer: str | None
    discovery_url: str | None
    cached_discovery: Mapping[str, Any] | None
    authorization_url: str | None
    token_url: str | None
    userinfo_url: str | None
    jwks_uri: str | None
    created_at: datetime
    updated_at: datetime

    @property
    def is_oidc(self) -> bool:
        return self.provider_type == "oidc"

    @classmethod
    def from_document(cls, row: Document) -> CustomProvider:
        same = [
            "id",
            "provider_type",
            "identifier",
            "name",
            "client_id",
            "client_secret",
            "pkce_enabled",
            "enabled",
            "email_optional",
            "skip_nonce_check",
            "issuer",
            "discovery_url",
            "cached_discovery",
            "authorization_url",
            "token_url",
            "userinfo_url",
            "jwks_uri",
        ]
        return cls(
            **{name: row[name] for name in same},
            acceptable_client_ids=tuple(row["acceptable_client_ids"] or ()),
            scopes=tuple(row["scopes"] or ()),
            attribute_mapping=row["attribute_mapping"] or {},
            authorization_params=row["authorization_params"] or {},
            custom_claims_allowlist=tuple(row["custom_claims_allowlist"] or ()),
            created_at=_moment(row["created_at"]),
            updated_at=_moment(row["updated_at"]),
        )
