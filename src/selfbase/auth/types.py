"""Rows of the schema `auth` as values.

Made from the JSON documents the queries return, so that the executor's text results and psycopg's
rows are read by the same code.  Empty e-mails, phones and tokens are empty strings here, whether
the row holds NULL or ''.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Document = Mapping[str, Any]


def read_moment(value: Any) -> datetime | None:
    """An aware UTC moment from ISO text; a text without a zone is UTC already."""
    if value is None:
        return None
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One way a user signs in.  `provider_id` is the provider's subject."""

    id: str
    user_id: str
    provider: str
    provider_id: str
    identity_data: dict[str, Any]
    email: str = ""
    last_sign_in_at: datetime | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @classmethod
    def from_document(cls, row: Document) -> Identity:
        return cls(
            id=row["id"],
            user_id=row["user_id"],
            provider=row["provider"],
            provider_id=row["provider_id"],
            identity_data=dict(row["identity_data"] or {}),
            email=row.get("email") or "",
            last_sign_in_at=read_moment(row["last_sign_in_at"]),
            created_at=read_moment(row["created_at"]),
            updated_at=read_moment(row["updated_at"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """A second factor.  `secret` is never rendered."""

    id: str
    user_id: str
    factor_type: str
    status: str
    friendly_name: str
    phone: str
    created_at: datetime | None
    updated_at: datetime | None
    last_challenged_at: datetime | None
    secret: str = field(default="", repr=False)
    web_authn_credential: dict[str, Any] | None = None
    web_authn_aaguid: str | None = None
    last_webauthn_challenge_data: dict[str, Any] | None = None

    @property
    def is_verified(self) -> bool:
        return self.status == "verified"

    @classmethod
    def from_document(cls, row: Document) -> Factor:
        return cls(
            id=row["id"],
            user_id=row["user_id"],
            factor_type=row["factor_type"],
            status=row["status"],
            friendly_name=row["friendly_name"] or "",
            phone=row["phone"] or "",
            created_at=read_moment(row["created_at"]),
            updated_at=read_moment(row["updated_at"]),
            last_challenged_at=read_moment(row["last_challenged_at"]),
            secret=row["secret"] or "",
            web_authn_credential=row["web_authn_credential"],
            web_authn_aaguid=row["web_authn_aaguid"],
            last_webauthn_challenge_data=row["last_webauthn_challenge_data"],
        )


_TEXTS = [
    "aud",
    "role",
    "email",
    "phone",
    "encrypted_password",
    "confirmation_token",
    "recovery_token",
    "email_change_token_new",
    "email_change_token_current",
    "email_change",
    "phone_change",
    "phone_change_token",
    "reauthentication_token",
]
_MOMENTS = [
    "email_confirmed_at",
    "phone_confirmed_at",
    "confirmed_at",
    "invited_at",
    "confirmation_sent_at",
    "recovery_sent_at",
    "email_change_sent_at",
    "phone_change_sent_at",
    "reauthentication_sent_at",
    "last_sign_in_at",
    "banned_until",
    "deleted_at",
    "created_at",
    "updated_at",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A row of `auth.users` with its identities and factors."""

    id: str
    aud: str = ""
    role: str = ""
    email: str = ""
    phone: str = ""
    encrypted_password: str = field(default="", repr=False)
    confirmation_token: str = field(default="", repr=False)
    recovery_token: str = field(default="", repr=False)
    email_change_token_new: str = field(default="", repr=False)
    email_change_token_current: str = field(default="", repr=False)
    email_change: str = ""
    phone_change: str = ""
    phone_change_token: str = field(default="", repr=False)
    reauthentication_token: str = field(default="", repr=False)
    email_change_confirm_status: int = 0
    email_confirmed_at: datetime | None = None
    phone_confirmed_at: datetime | None = None
    confirmed_at: datetime | None = None
    invited_at: datetime | None = None
    confirmation_sent_at: datetime | None = None
    recovery_sent_at: datetime | None = None
    email_change_sent_at: datetime | None = None
    phone_change_sent_at: datetime | None = None
    reauthentication_sent_at: datetime | None = None
    last_sign_in_at: datetime | None = None
    banned_until: datetime | None = None
    deleted_at: datetime | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    app_metadata: dict[str, Any] = field(default_factory=dict)
    user_metadata: dict[str, Any] = field(default_factory=dict)
    is_sso_user: bool = False
    is_anonymous: bool = False
    identities: tuple[Identity, ...] = ()
    factors: tuple[Factor, ...] = ()

    @classmethod
    def from_document(cls, row: Document) -> User:
        values: dict[str, Any] = {name: row.get(name) or "" for name in _TEXTS}
        values.update({name: read_moment(row.get(name)) for name in _MOMENTS})
        return cls(
            id=row["id"],
            app_metadata=dict(row.get("raw_app_meta_data") or {}),
            user_metadata=dict(row.get("raw_user_meta_data") or {}),
            email_change_confirm_status=row.get("email_change_confirm_status") or 0,
            is_sso_user=bool(row.get("is_sso_user")),
            is_anonymous=bool(row.get("is_anonymous")),
            identities=tuple(Identity.from_document(i) for i in row.get("identities") or ()),
            factors=tuple(Factor.from_document(f) for f in row.get("factors") or ()),
            **values,
        )

    @property
    def has_password(self) -> bool:
        return self.encrypted_password != ""

    @property
    def verified_factors(self) -> tuple[Factor, ...]:
        return tuple(factor for factor in self.factors if factor.is_verified)

    def is_banned(self, now: datetime) -> bool:
        return self.banned_until is not None and now < self.banned_until

    def find_identity(self, provider: str) -> Identity | None:
        return next((i for i in self.identities if i.provider == provider), None)


@dataclass(frozen=True, slots=True)
class AmrClaim:
    """One entry of the authentication method reference: how and when."""

    method: str
    at: datetime
    provider: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A row of `auth.sessions` with its authentication methods, newest first."""

    id: str
    user_id: str
    aal: str = "aal1"
    factor_id: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    refreshed_at: datetime | None = None
    not_after: datetime | None = None
    user_agent: str = ""
    ip: str = ""
    tag: str | None = None
    oauth_client_id: str | None = None
    scopes: str = ""
    refresh_token_hmac_key: str = field(default="", repr=False)
    refresh_token_counter: int | None = None
    amr: tuple[AmrClaim, ...] = ()

    @classmethod
    def from_document(cls, row: Document) -> Session:
        claims = [
            AmrClaim(claim["authentication_method"], moment)
            for claim in row.get("amr") or ()
            if (moment := read_moment(claim["updated_at"])) is not None
        ]
        return cls(
            id=row["id"],
            user_id=row["user_id"],
            aal=row["aal"] or "aal1",
            factor_id=row["factor_id"],
            created_at=read_moment(row["created_at"]),
            updated_at=read_moment(row["updated_at"]),
            refreshed_at=read_moment(row["refreshed_at"]),
            not_after=read_moment(row["not_after"]),
            user_agent=row["user_agent"] or "",
            ip=row["ip"] or "",
            tag=row["tag"],
            oauth_client_id=row["oauth_client_id"],
            scopes=row["scopes"] or "",
            refresh_token_hmac_key=row["refresh_token_hmac_key"] or "",
            refresh_token_counter=row["refresh_token_counter"],
            amr=tuple(sorted(claims, key=lambda claim: claim.at, reverse=True)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshToken:
    """A row of `auth.refresh_tokens` (version 1 tokens)."""

    id: int
    token: str = field(repr=False)
    user_id: str
    session_id: str | None
    parent: str | None = field(repr=False)
    revoked: bool
    created_at: datetime | None
    updated_at: datetime | None

    @classmethod
    def from_document(cls, row: Document) -> RefreshToken:
        return cls(
            id=row["id"],
            token=row["token"],
            user_id=row["user_id"],
            session_id=row["session_id"],
            parent=row["parent"] or None,
            revoked=bool(row["revoked"]),
            created_at=read_moment(row["created_at"]),
            updated_at=read_moment(row["updated_at"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowState:
    """A row of `auth.flow_state`: a sign-in that continues in another request."""

    id: str
    user_id: str | None
    auth_code: str | None = field(repr=False)
    code_challenge: str | None
    code_challenge_method: str | None
    provider_type: str
    authentication_method: str
    provider_access_token: str | None = field(default=None, repr=False)
    provider_refresh_token: str | None = field(default=None, repr=False)
    invite_token: str | None = field(default=None, repr=False)
    referrer: str | None = None
    oauth_client_state_id: str | None = None
    linking_target_id: str | None = None
    email_optional: bool = False
    created_at: datetime | None = None
    auth_code_issued_at: datetime | None = None

    @property
    def is_pkce(self) -> bool:
        return bool(self.code_challenge)

    @classmethod
    def from_document(cls, row: Document) -> FlowState:
        names = [
            "id",
            "user_id",
            "auth_code",
            "code_challenge",
            "code_challenge_method",
            "provider_type",
            "authentication_method",
            "provider_access_token",
            "provider_refresh_token",
            "invite_token",
            "referrer",
            "oauth_client_state_id",
            "linking_target_id",
        ]
        return cls(
            **{name: row[name] for name in names},
            email_optional=bool(row["email_optional"]),
            created_at=read_moment(row["created_at"]),
            auth_code_issued_at=read_moment(row["auth_code_issued_at"]),
        )
