"""Who signed this request: the project's key pair, stored credentials, or a user's session.

Three modes (reference/storage.md section 3.1): the static pair acts as `service_role`; stored
credentials act with the role and subject kept with them; a session token acts as its user, with the
project's ref as access key and its anon key as secret.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from selfbase.http.values import Request
from selfbase.identity.caller import Caller, make_caller
from selfbase.identity.tokens import TokenInvalid
from selfbase.storage.context import Context
from selfbase.storage.s3.credentials import find_credential
from selfbase.storage.s3.errors import (
    AuthorizationMalformed,
    ExpiredToken,
    InvalidAccessKeyId,
    InvalidToken,
)
from selfbase.storage.s3.logic.signature import (
    Claim,
    Scope,
    SignedParts,
    check_signature,
    check_signed_headers,
    check_time,
    encode_path,
    parse_claim,
)

SERVICE_ROLE = "service_role"
ANON = "anon"


@dataclass(frozen=True, slots=True)
class Signer:
    """Whose secret a request must be signed with, and as whom it then acts."""

    secret: str
    caller: Caller


@dataclass(frozen=True, slots=True)
class Proof:
    """A request whose signature holds.  `key` signs what follows in its body."""

    caller: Caller
    claim: Claim
    key: bytes


async def authenticate(request: Request, context: Context) -> Proof:
    """Judges the signature in header or query.  Raises S3Error."""
    claim = parse_claim(list(request.headers), request.query_pairs())
    check_time(claim, context.clock.now())
    check_region(claim.scope, context)
    check_signed_headers(claim, request.headers)
    signer = await find_signer(claim.scope.access_key, claim.session_token, context)
    parts = SignedParts(
        method=request.method,
        paths=list(list_paths(request, context)),
        query=request.query,
        headers=list(request.headers),
        hosts=list(list_hosts(request, context)),
    )
    key = check_signature(claim, signer.secret, parts)
    return Proof(signer.caller, claim, key)


def check_region(scope: Scope, context: Context) -> None:
    """Any region will do unless the operator insists on the configured one."""
    settings = context.settings
    if settings.s3_protocol_enforce_region and scope.region != settings.s3_region:
        raise AuthorizationMalformed(
            f"The region '{scope.region}' is wrong; expecting '{settings.s3_region}'"
        )


async def find_signer(access_key: str, session_token: str | None, context: Context) -> Signer:
    """The secret behind an access key.  Raises InvalidAccessKeyId, InvalidToken, ExpiredToken."""
    if session_token is not None:
        return _find_session(access_key, session_token, context)
    if context.s3_access_key_id and _same(access_key, context.s3_access_key_id):
        caller = make_caller({"role": SERVICE_ROLE}, SERVICE_ROLE)
        return Signer(context.s3_access_key_secret, caller)
    stored = await find_credential(context, access_key)
    if stored is None:
        raise InvalidAccessKeyId
    return Signer(stored.secret, make_caller(stored.claims, stored.role))


def _find_session(access_key: str, token: str, context: Context) -> Signer:
    tenant = context.settings.tenant_id
    if not any(_same(access_key, name) for name in (context.project_ref, tenant) if name):
        raise InvalidAccessKeyId
    if not context.anon_key:
        raise InvalidAccessKeyId
    try:
        claims = context.tokens.verify(token, now_s=context.clock.now().timestamp())
    except TokenInvalid as invalid:
        raise ExpiredToken if invalid.reason == "expired" else InvalidToken from None
    role = claims.get("role")
    return Signer(
        context.anon_key,
        make_caller(claims, role if isinstance(role, str) and role else ANON, token),
    )


def _same(left: str, right: str) -> bool:
    return hmac.compare_digest(left.encode("utf-8", "replace"), right.encode("utf-8", "replace"))


def list_paths(request: Request, context: Context) -> Iterator[str]:
    """The paths a client may have signed: as it came to us, and as it was before proxies."""
    sent = request.full_path or request.path
    bases = [sent, request.path]
    if context.settings.s3_protocol_prefix:
        bases.append(context.settings.s3_protocol_prefix.rstrip("/") + request.path)
    forwarded = request.headers.get("x-forwarded-prefix").rstrip("/")
    if forwarded.startswith("/"):
        bases.append(forwarded + sent)
    if context.settings.public_url:
        bases.append(urlsplit(context.settings.public_url).path.rstrip("/") + request.path)
    for base in dict.fromkeys(bases):
        yield base
        yield encode_path(base)


def list_hosts(request: Request, context: Context) -> Iterator[str]:
    """The hosts a client may have signed, the one we were addressed by first."""
    if request.headers.find("host"):
        yield request.headers.get("host")
    if request.host:
        yield request.host
    if context.settings.public_url:
        yield urlsplit(context.settings.public_url).netloc
    forwarded = request.headers.get("x-forwarded-host").partition(",")[0].strip()
    if forwarded:
        yield forwarded
        port = request.headers.get("x-forwarded-port").partition(",")[0].strip()
        if port and ":" not in forwarded:
            yield f"{forwarded}:{port}"
    for part in request.headers.get("forwarded").partition(",")[0].split(";"):
        name, _, value = part.strip().partition("=")
        if name.lower() == "host" and value:
            yield value.strip('"')
