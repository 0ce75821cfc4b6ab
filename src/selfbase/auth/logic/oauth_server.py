"""Decisions of the OAuth 2.1 server: clients, redirect targets, scopes, PKCE, client proof.

Sources: OAuth 2.1 draft, RFC 6749, RFC 7591 (registration), RFC 7636 (PKCE), RFC 8252 (native
apps), RFC 8707 (resource indicators), OpenID Connect Core 1.0; reference/auth.md section 1.6.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit, urlunsplit

GRANT_TYPES: Final = ("authorization_code", "refresh_token")
AUTH_METHODS: Final = ("none", "client_secret_basic", "client_secret_post")
CLIENT_TYPES: Final = ("public", "confidential")
SCOPES: Final = ("openid", "profile", "email", "phone", "offline_access")
REDIRECT_URIS_MAX = 10
NAME_LENGTH_MAX, URI_LENGTH_MAX, NONCE_LENGTH_MAX, STATE_LENGTH_MAX = 1024, 2048, 255, 4096

# Schemes a browser would run or read locally instead of calling an application.
_DANGEROUS_SCHEMES = frozenset(
    ["javascript", "data", "file", "vbscript", "about", "blob", "filesystem", "view-source"]
)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_CHALLENGE = re.compile(r"[A-Za-z0-9._~-]{43,128}")


class ClientInvalid(Exception):
    """A client's registration makes no sense; the text is for the caller."""


class RequestInvalid(Exception):
    """A fault the client is told of at its redirect address."""


class ProofInvalid(Exception):
    """The client did not prove who it is, or the verifier does not match."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientForm:
    """A client as it is asked for.  None means "not given"."""

    redirect_uris: tuple[str, ...] | None = None
    client_type: str | None = None
    token_endpoint_auth_method: str | None = None
    grant_types: tuple[str, ...] | None = None
    client_name: str | None = None
    client_uri: str | None = None
    logo_uri: str | None = None

    @property
    def is_empty(self) -> bool:
        return all(getattr(self, name) is None for name in self.__slots__ if name != "client_type")


def read_client_form(body: Mapping[str, Any]) -> ClientForm:
    """Checks the types of the members.  Raises ClientInvalid."""

    def text(name: str) -> str | None:
        value = body.get(name)
        if value is not None and not isinstance(value, str):
            raise ClientInvalid(f"{name} must be a string")
        return value

    def texts(name: str) -> tuple[str, ...] | None:
        value = body.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ClientInvalid(f"{name} must be a list of strings")
        return tuple(value)

    return ClientForm(
        redirect_uris=texts("redirect_uris"),
        client_type=text("client_type") or None,
        token_endpoint_auth_method=text("token_endpoint_auth_method") or None,
        grant_types=texts("grant_types"),
        client_name=text("client_name"),
        client_uri=text("client_uri"),
        logo_uri=text("logo_uri"),
    )


def plan_registration(form: ClientForm) -> ClientForm:
    """A new client with its defaults filled in.  Raises ClientInvalid."""
    if form.redirect_uris is None:
        raise ClientInvalid("redirect_uris is required")
    if form.client_type is not None and form.client_type not in CLIENT_TYPES:
        raise ClientInvalid("client_type must be 'public' or 'confidential'")
    method = form.token_endpoint_auth_method
    _check_common(form)
    implied = None if method is None else ("public" if method == "none" else "confidential")
    if form.client_type is not None and implied is not None and form.client_type != implied:
        raise ClientInvalid(
            f"client_type '{form.client_type}' is inconsistent with token_endpoint_auth_method"
            f" '{method}' (expected client_type '{implied}')"
        )
    client_type = form.client_type or implied or "confidential"
    return ClientForm(
        redirect_uris=form.redirect_uris,
        client_type=client_type,
        token_endpoint_auth_method=method
        or ("none" if client_type == "public" else "client_secret_basic"),
        grant_types=form.grant_types or GRANT_TYPES,
        client_name=form.client_name,
        client_uri=form.client_uri,
        logo_uri=form.logo_uri,
    )


def plan_update(form: ClientForm, client_type: str) -> ClientForm:
    """The members to change; a client never changes its type.  Raises ClientInvalid."""
    if form.is_empty:
        raise ClientInvalid("No fields provided for update")
    _check_common(form)
    method = form.token_endpoint_auth_method
    if method is not None and (method == "none") != (client_type == "public"):
        raise ClientInvalid(
            f"token_endpoint_auth_method '{method}' is not valid for client_type '{client_type}'"
        )
    return form


def _check_common(form: ClientForm) -> None:
    if form.redirect_uris is not None:
        if not form.redirect_uris:
            raise ClientInvalid("redirect_uris cannot be empty")
        if len(form.redirect_uris) > REDIRECT_URIS_MAX:
            raise ClientInvalid(f"redirect_uris cannot exceed {REDIRECT_URIS_MAX} items")
        for uri in form.redirect_uris:
            check_redirect_uri(uri)
    if form.grant_types is not None and form.grant_types == ():
        raise ClientInvalid("grant_types cannot be empty")
    if any(grant not in GRANT_TYPES for grant in form.grant_types or ()):
        raise ClientInvalid(
            "grant_types must only contain 'authorization_code' and/or 'refresh_token'"
        )
    method = form.token_endpoint_auth_method
    if method is not None and method not in AUTH_METHODS:
        raise ClientInvalid(f"token_endpoint_auth_method must be one of: {', '.join(AUTH_METHODS)}")
    if len(form.client_name or "") > NAME_LENGTH_MAX:
        raise ClientInvalid(f"client_name cannot exceed {NAME_LENGTH_MAX} characters")
    for name in ("client_uri", "logo_uri"):
        value = getattr(form, name)
        if not value:
            continue
        if len(value) > URI_LENGTH_MAX:
            raise ClientInvalid(f"{name} cannot exceed {URI_LENGTH_MAX} characters")
        # These are shown to people on the consent page: a link that runs code has no place there.
        if not re.fullmatch(r"https?://[^\s/]+[^\s]*", value):
            raise ClientInvalid(f"{name} must be a valid URL")


def check_redirect_uri(uri: str) -> None:
    """An absolute address without fragment, http only to this machine.  Raises ClientInvalid.

    A comma would split the address in the column it is stored in, so it must be percent-encoded.
    """

    def invalid(reason: str) -> ClientInvalid:
        return ClientInvalid(f"invalid redirect_uri '{uri}': {reason}")

    if not uri:
        raise invalid("redirect URI cannot be empty")
    if len(uri) > URI_LENGTH_MAX:
        raise invalid("too long")
    if any(ord(char) <= 0x20 or ord(char) == 0x7F or char in '\\,"<>' for char in uri):
        raise invalid("invalid URL format")
    try:
        parts = urlsplit(uri)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        raise invalid("invalid URL format") from None
    if not parts.scheme or not host:
        raise invalid("must have scheme and host")
    if parts.scheme.lower() in _DANGEROUS_SCHEMES:
        raise invalid(f"scheme '{parts.scheme}' is not allowed for security reasons")
    if parts.scheme.lower() == "http" and host not in _LOOPBACK:
        raise invalid("HTTP scheme only allowed for localhost")
    if parts.username is not None or parts.password is not None:
        raise invalid("credentials not allowed in redirect URI")
    if "#" in uri:
        raise invalid("fragment not allowed in redirect URI")


def is_registered_redirect(uri: str, registered: Collection[str]) -> bool:
    """Exact comparison, as OAuth 2.1 demands: no prefixes, no normalizing."""
    return uri in registered


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationForm:
    """The members of an authorization request beside client and redirect address."""

    response_type: str
    scope: str
    state: str
    resource: str
    nonce: str
    code_challenge: str
    code_challenge_method: str


def plan_authorization(query: Mapping[str, str], *, default_scope: str) -> AuthorizationForm:
    """Raises RequestInvalid.  PKCE is never optional; its method is stored in lower case."""
    response_type = query.get("response_type") or "code"
    if response_type != "code":
        raise RequestInvalid("only response_type=code is supported")
    scope = query.get("scope") or default_scope
    _check_scope(scope)
    resource = query.get("resource", "")
    _check_resource(resource)
    challenge, method = query.get("code_challenge", ""), query.get("code_challenge_method", "")
    if not challenge or not method:
        raise RequestInvalid("PKCE flow requires both code_challenge and code_challenge_method")
    if method.lower() not in ("s256", "plain"):
        raise RequestInvalid("code_challenge_method must be 'S256' or 'plain'")
    if not 43 <= len(challenge) <= 128:
        raise RequestInvalid("code_challenge must be between 43 and 128 characters")
    if not _CHALLENGE.fullmatch(challenge):
        raise RequestInvalid("code_challenge holds characters that are not allowed")
    if len(query.get("nonce", "")) > NONCE_LENGTH_MAX:
        raise RequestInvalid(f"nonce cannot exceed {NONCE_LENGTH_MAX} characters")
    if len(query.get("state", "")) > STATE_LENGTH_MAX:
        raise RequestInvalid(f"state cannot exceed {STATE_LENGTH_MAX} characters")
    return AuthorizationForm(
        response_type=response_type,
        scope=" ".join(dict.fromkeys(split_scope(scope))),
        state=query.get("state", ""),
        resource=resource,
        nonce=query.get("nonce", ""),
        code_challenge=challenge,
        code_challenge_method=method.lower(),
    )


def split_scope(scope: str) -> list[str]:
    return [part for part in scope.split(" ") if part]


def _check_scope(scope: str) -> None:
    parts = split_scope(scope)
    if not parts:
        raise RequestInvalid("scope parameter cannot be empty")
    for part in parts:
        if part not in SCOPES:
            raise RequestInvalid(f"unsupported scope: {part}")


def _check_resource(resource: str) -> None:
    if not resource:
        return
    if len(resource) > URI_LENGTH_MAX:
        raise RequestInvalid(f"resource cannot exceed {URI_LENGTH_MAX} characters")
    try:
        parts = urlsplit(resource)
    except ValueError:
        raise RequestInvalid("resource must be a valid URI") from None
    if not parts.scheme:
        raise RequestInvalid("resource must be an absolute URI")
    if "#" in resource:
        raise RequestInvalid("resource must not include a fragment component")
    if parts.query:
        raise RequestInvalid("resource must not include a query component")


def covers_scopes(granted: str, requested: str) -> bool:
    return set(split_scope(requested)) <= set(split_scope(granted))


def add_to_query(uri: str, members: Mapping[str, str]) -> str:
    """The redirect address with members added to its query, replacing ones of the same name."""
    parts = urlsplit(uri)
    kept = [(k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if k not in members]
    query = urlencode([*kept, *members.items()])
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))


def render_success(uri: str, code: str, state: str) -> str:
    return add_to_query(uri, {"code": code, **({"state": state} if state else {})})


def render_error(uri: str, error: str, description: str, state: str) -> str:
    members = {"error": error, "error_description": description}
    return add_to_query(uri, {**members, **({"state": state} if state else {})})


def join_path(base: str, path: str) -> str:
    return f"{base.rstrip('/')}/{path.lstrip('/')}"


def verify_pkce(challenge: str, method: str, verifier: str) -> bool:
    """Constant-time comparison.  An unknown method or an empty challenge never matches, so that no
    code can be redeemed without its verifier."""
    if not challenge or not verifier or len(verifier) > 128:
        return False
    if method == "s256":
        digest = hashlib.sha256(verifier.encode()).digest()
        derived = urlsafe_b64encode(digest).rstrip(b"=")
    elif method == "plain":
        derived = verifier.encode()
    else:
        return False
    return hmac.compare_digest(derived, challenge.encode())


def s256_challenge(verifier: str) -> str:
    return urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def hash_client_secret(secret: str) -> str:
    """What is stored: secrets have 256 bits, so a plain hash is enough."""
    return urlsafe_b64encode(hashlib.sha256(secret.encode()).digest()).rstrip(b"=").decode()


def is_client_secret(secret: str, stored_hash: str) -> bool:
    try:
        stored = urlsafe_b64decode(stored_hash + "=" * (-len(stored_hash) % 4))
    except ValueError:
        return False
    return hmac.compare_digest(hashlib.sha256(secret.encode()).digest(), stored)


@dataclass(frozen=True, slots=True)
class ClientProof:
    """Who the caller of the token endpoint says it is, and by which method."""

    client_id: str
    method: str
    secret: str = field(default="", repr=False)


def read_client_proof(authorization: str, body: Mapping[str, Any]) -> ClientProof:
    """From the Basic header, or else the body.  Raises ProofInvalid.

    Two proofs in one request are refused (RFC 6749 section 2.3).
    """
    posted_id, posted_secret = body.get("client_id"), body.get("client_secret")
    if not isinstance(posted_id, str | None) or not isinstance(posted_secret, str | None):
        raise ProofInvalid("client_id and client_secret must be strings")
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() == "basic":
        try:
            decoded = b64decode(encoded.strip(), validate=True).decode()
        except ValueError:
            raise ProofInvalid("invalid basic auth encoding") from None
        client_id, separator, secret = decoded.partition(":")
        if not separator:
            raise ProofInvalid("invalid basic auth format")
        client_id, secret = unquote_plus(client_id), unquote_plus(secret)
        if posted_secret or (posted_id and posted_id != client_id):
            raise ProofInvalid("more than one client authentication")
        return ClientProof(client_id, "client_secret_basic", secret)
    if not posted_id:
        raise ProofInvalid("client_id is required")
    if posted_secret:
        return ClientProof(posted_id, "client_secret_post", posted_secret)
    return ClientProof(posted_id, "none")


def judge_client_proof(
    proof: ClientProof, *, client_type: str, method: str, secret_hash: str
) -> None:
    """Raises ProofInvalid unless the client used its registered method and its secret."""
    if proof.method != method:
        raise ProofInvalid(
            f"invalid authentication method: client is registered for '{method}' but"
            f" '{proof.method}' was used"
        )
    if client_type == "public":
        if proof.secret:
            raise ProofInvalid("public clients must not provide client_secret")
        return
    if not proof.secret or not secret_hash or not is_client_secret(proof.secret, secret_hash):
        raise ProofInvalid("invalid client credentials")


def select_userinfo(
    *,
    user_id: str,
    email: str,
    email_confirmed: bool,
    phone: str,
    phone_confirmed: bool,
    metadata: Mapping[str, Any],
    updated_at_s: int | None,
    scopes: Collection[str],
    id_token: bool = False,
) -> dict[str, Any]:
    """The claims a client may see by its scopes.  An ID token names the phone members as OpenID
    Connect does and leaves the raw metadata out."""
    info: dict[str, Any] = {"sub": user_id}
    if "email" in scopes and email:
        info |= {"email": email, "email_verified": email_confirmed}
    if "profile" in scopes:
        info |= _profile_claims(metadata, email)
        if updated_at_s is not None:
            info["updated_at"] = updated_at_s
        if not id_token:
            info["user_metadata"] = dict(metadata)
    if "phone" in scopes and phone:
        name = "phone_number" if id_token else "phone"
        info |= {name: phone, f"{name}_verified": phone_confirmed}
    return info


def _profile_claims(metadata: Mapping[str, Any], email: str) -> dict[str, str]:
    def first(*names: str) -> str:
        for name in names:
            value = metadata.get(name)
            if isinstance(value, str) and value:
                return value
        return ""

    claims = {
        "name": first("name") or email,
        "picture": first("picture", "avatar_url"),
        "preferred_username": first("preferred_username", "username"),
    }
    return {name: value for name, value in claims.items() if value}


def render_discovery(
    issuer: str,
    *,
    authorization: str,
    token: str,
    jwks: str,
    userinfo: str,
    registration: str | None,
) -> dict[str, Any]:
    """The OpenID Connect discovery document (also RFC 8414)."""
    document: dict[str, Any] = {
        "issuer": issuer,
        "authorization_endpoint": authorization,
        "token_endpoint": token,
        "jwks_uri": jwks,
        "userinfo_endpoint": userinfo,
    }
    if registration is not None:
        document["registration_endpoint"] = registration
    return document | {
        "scopes_supported": list(SCOPES),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": list(GRANT_TYPES),
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "HS256", "ES256"],
        "token_endpoint_auth_methods_supported": [
            "client_secret_basic",
            "client_secret_post",
            "none",
        ],
        "claims_supported": _CLAIMS,
        "code_challenge_methods_supported": ["S256", "plain"],
    }


_CLAIMS: Final[Sequence[str]] = [
    "sub",
    "aud",
    "iss",
    "exp",
    "iat",
    "auth_time",
    "nonce",
    "email",
    "email_verified",
    "phone_number",
    "phone_number_verified",
    "name",
    "picture",
    "preferred_username",
    "updated_at",
]
