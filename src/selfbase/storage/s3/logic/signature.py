"""Signature version 4: what a request claims, what was signed, and whether the two agree.

Time, keys and the parts of the request come in as arguments.  A proxy may have changed host or path
on the way, so a signature is compared with a few candidates; all of them need the secret.
Source: Amazon S3 API reference, "Authenticating Requests (AWS Signature Version 4)".
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote_to_bytes

from selfbase.storage.s3.errors import (
    AuthorizationMalformed,
    AuthorizationQueryInvalid,
    InvalidArgument,
    RequestTimeTooSkewed,
    S3Error,
    SignatureDoesNotMatch,
    SignatureMissing,
    SignatureRefused,
)

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
SKEW = timedelta(minutes=15)
EXPIRES_S_MAX = 7 * 24 * 3600

_DATE = re.compile(r"\d{8}T\d{6}Z")
_SIGNATURE = re.compile(r"[0-9a-f]{64}")
# Headers that carry no instruction to us, or that proxies add.
_MAY_BE_UNSIGNED = frozenset({"x-amz-content-sha256", "x-amz-user-agent", "x-amz-cf-id"})


@dataclass(frozen=True, slots=True)
class Scope:
    """Whom and what a signature is for."""

    access_key: str
    date: str
    region: str
    service: str

    @property
    def text(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a signed request says of its signature.  `expires_s` only in presigned URLs."""

    scope: Scope
    amz_date: str
    signature: str
    signed_headers: tuple[str, ...]
    payload: str | None = None
    session_token: str | None = None
    expires_s: int | None = None

    @property
    def moment(self) -> datetime:
        return datetime.strptime(self.amz_date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SignedParts:
    """The parts of a request that its signature covers, in every form a proxy may have left."""

    method: str
    paths: Sequence[str]
    query: str
    headers: Sequence[tuple[str, str]]
    hosts: Sequence[str]


def parse_claim(headers: Sequence[tuple[str, str]], query: Sequence[tuple[str, str]]) -> Claim:
    """The claim in the Authorization header or the query.  Raises S3Error."""
    authorization = _one(headers, "authorization", AuthorizationMalformed)
    names = {name for name, _ in query}
    if authorization is not None and authorization.startswith(ALGORITHM):
        if "X-Amz-Signature" in names:
            raise InvalidArgument("Only one auth mechanism allowed")
        return _parse_header(authorization, headers)
    # An unrelated Authorization header beside a presigned URL is the work of a proxy.
    if "X-Amz-Signature" in names:
        return _parse_query(query)
    raise SignatureMissing


def _parse_header(authorization: str, headers: Sequence[tuple[str, str]]) -> Claim:
    fields: dict[str, str] = {}
    for part in authorization.removeprefix(ALGORITHM).split(","):
        name, equals, value = part.strip().partition("=")
        if not equals or name in fields:
            raise AuthorizationMalformed
        fields[name] = value.strip()
    if fields.keys() != {"Credential", "SignedHeaders", "Signature"}:
        raise AuthorizationMalformed
    claim = Claim(
        scope=parse_scope(fields["Credential"], AuthorizationMalformed),
        amz_date=_one(headers, "x-amz-date", AuthorizationMalformed) or "",
        signature=fields["Signature"],
        signed_headers=tuple(fields["SignedHeaders"].split(";")),
        payload=_one(headers, "x-amz-content-sha256", AuthorizationMalformed),
        session_token=_one(headers, "x-amz-security-token", AuthorizationMalformed),
    )
    return _check_form(claim, AuthorizationMalformed)


def _parse_query(query: Sequence[tuple[str, str]]) -> Claim:
    fields: dict[str, str] = {}
    for name, value in query:
        if not name.startswith("X-Amz-"):
            continue
        if name in fields:
            raise AuthorizationQueryInvalid(f"The parameter {name} is given twice.")
        fields[name] = value
    if fields.get("X-Amz-Algorithm") != ALGORITHM:
        raise AuthorizationQueryInvalid(f'X-Amz-Algorithm only supports "{ALGORITHM}"')
    try:
        expires_s = int(fields["X-Amz-Expires"])
        claim = Claim(
            scope=parse_scope(fields["X-Amz-Credential"], AuthorizationQueryInvalid),
            amz_date=fields["X-Amz-Date"],
            signature=fields["X-Amz-Signature"],
            signed_headers=tuple(fields["X-Amz-SignedHeaders"].split(";")),
            payload=fields.get("X-Amz-Content-Sha256", UNSIGNED),
            session_token=fields.get("X-Amz-Security-Token"),
            expires_s=expires_s,
        )
    except KeyError as missing:
        name = str(missing.args[0])
        raise AuthorizationQueryInvalid(f"The parameter {name} is missing.") from None
    except ValueError:
        raise AuthorizationQueryInvalid("X-Amz-Expires should be a number") from None
    if not 0 < expires_s <= EXPIRES_S_MAX:
        raise AuthorizationQueryInvalid("X-Amz-Expires must be between 1 second and 7 days")
    return _check_form(claim, AuthorizationQueryInvalid)


def parse_scope(credential: str, failure: type[S3Error]) -> Scope:
    """`key/date/region/service/aws4_request`; the access key may hold slashes."""
    parts = credential.rsplit("/", 4)
    if len(parts) != 5 or parts[4] != "aws4_request" or parts[3] != "s3" or not parts[0]:
        raise failure(message="The credential is not of the form key/date/region/s3/aws4_request")
    return Scope(parts[0], parts[1], parts[2], parts[3])


def _check_form(claim: Claim, failure: type[S3Error]) -> Claim:
    if _DATE.fullmatch(claim.amz_date) is None or claim.amz_date[:8] != claim.scope.date:
        raise failure(message="The date is missing, malformed or not that of the credential")
    try:
        _ = claim.moment
    except ValueError:
        raise failure(message="The date is malformed") from None
    if _SIGNATURE.fullmatch(claim.signature) is None:
        raise SignatureDoesNotMatch
    if "host" not in claim.signed_headers:
        raise failure(message="The host header must be signed")
    return claim


def _one(headers: Sequence[tuple[str, str]], name: str, failure: type[S3Error]) -> str | None:
    values = [value for key, value in headers if key == name]
    if len(values) > 1:
        raise failure(message=f"The header {name} is given twice")
    return values[0].strip() if values else None


def check_time(claim: Claim, now: datetime) -> None:
    """Raises RequestTimeTooSkewed, or SignatureRefused for a presigned URL out of its time."""
    if claim.expires_s is None:
        if abs(now - claim.moment) > SKEW:
            raise RequestTimeTooSkewed
        return
    if now < claim.moment - SKEW:
        raise SignatureRefused("Request is not valid yet")
    if now > claim.moment + timedelta(seconds=claim.expires_s):
        raise SignatureRefused("Request has expired")


def check_signed_headers(claim: Claim, headers: Iterable[tuple[str, str]]) -> None:
    """Every instruction to us must be covered by the signature.  Raises SignatureRefused."""
    signed = set(claim.signed_headers)
    for name, _ in headers:
        instructs = name.startswith("x-amz-") or name == "content-md5"
        if instructs and name not in signed and name not in _MAY_BE_UNSIGNED:
            if claim.expires_s is not None and name == "content-md5":
                continue
            raise SignatureRefused(
                "There were headers present in the request which were not signed"
            )


def check_signature(claim: Claim, secret: str, parts: SignedParts) -> bytes:
    """The signing key, when the signature is the one this secret gives for the request.

    Raises SignatureDoesNotMatch.
    """
    key = derive_key(secret, claim.scope)
    given = claim.signature.encode()
    matched = False
    for canonical in render_candidates(claim, parts):
        digest = hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()
        text = "\n".join((ALGORITHM, claim.amz_date, claim.scope.text, digest))
        matched = hmac.compare_digest(given, sign(key, text).encode()) or matched
    if not matched:
        raise SignatureDoesNotMatch
    return key


def derive_key(secret: str, scope: Scope) -> bytes:
    """The key that signs everything of one day, region and service."""
    key = f"AWS4{secret}".encode()
    for part in (scope.date, scope.region, scope.service, "aws4_request"):
        key = hmac.digest(key, part.encode(), hashlib.sha256)
    return key


def sign(key: bytes, text: str) -> str:
    """The signature of a string to sign, in lower-case hexadecimal."""
    return hmac.digest(key, text.encode("utf-8", "surrogateescape"), hashlib.sha256).hex()


def render_candidates(claim: Claim, parts: SignedParts) -> Iterator[str]:
    """The canonical requests the client may have signed."""
    for path in dict.fromkeys(parts.paths):
        for query in dict.fromkeys(
            (render_query(parts.query), render_query(parts.query.replace("+", "%20")))
        ):
            for host in dict.fromkeys(parts.hosts):
                lines = [parts.method, path, query]
                lines += _render_headers(claim.signed_headers, parts.headers, host)
                lines += ["", ";".join(claim.signed_headers), claim.payload or EMPTY_SHA256]
                yield "\n".join(lines)


def _render_headers(
    signed: Sequence[str], headers: Sequence[tuple[str, str]], host: str
) -> Iterator[str]:
    for name in signed:
        if name == "host":
            yield f"host:{host}"
            continue
        if name == "accept-encoding":
            # Proxies rewrite it and keep what the client sent beside it.
            original = [value for key, value in headers if key == "x-original-accept-encoding"]
            if original:
                yield f"{name}:{_squeeze(original[0])}"
                continue
        yield f"{name}:" + ",".join(_squeeze(value) for key, value in headers if key == name)


def _squeeze(value: str) -> str:
    return " ".join(value.split())


def render_query(raw: str) -> str:
    """The query in canonical form: each part encoded anew, sorted, without the signature."""
    pairs = []
    for part in filter(None, raw.split("&")):
        name, _, value = part.partition("=")
        encoded = encode(unquote_to_bytes(name))
        if encoded != "X-Amz-Signature":
            pairs.append((encoded, encode(unquote_to_bytes(value))))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def encode_path(path: str) -> str:
    """A path encoded as clients do that do not send it as they sign it."""
    return quote(unquote_to_bytes(path), safe="/-_.~")


def encode(value: bytes | str) -> str:
    """Percent-encoding of all but the unreserved characters of RFC 3986."""
    return quote(value, safe="-_.~")


ChunkSigner = Callable[[str, str], str]


def make_chunk_signer(key: bytes, claim: Claim) -> ChunkSigner:
    """Signs a chunk by the signature before it and the SHA-256 of its data."""

    def sign_chunk(previous: str, data_sha256: str) -> str:
        lines = (
            "AWS4-HMAC-SHA256-PAYLOAD",
            claim.amz_date,
            claim.scope.text,
            previous,
            EMPTY_SHA256,
            data_sha256,
        )
        return sign(key, "\n".join(lines))

    return sign_chunk


def make_trailer_signer(key: bytes, claim: Claim) -> ChunkSigner:
    """Signs the trailing headers by the last chunk's signature and the SHA-256 of their lines."""

    def sign_trailer(previous: str, lines_sha256: str) -> str:
        lines = (
            "AWS4-HMAC-SHA256-TRAILER",
            claim.amz_date,
            claim.scope.text,
            previous,
            lines_sha256,
        )
        return sign(key, "\n".join(lines))

    return sign_trailer
