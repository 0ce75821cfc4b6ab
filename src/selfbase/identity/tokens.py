"""Verifying and signing JSON Web Tokens (RFC 7515, 7517, 7519).

The algorithm is pinned by the key, never by the token: a symmetric key verifies HS algorithms only,
a public key only its own family, and `none` nothing.  A token that names a `kid` is verified by
that key alone; one that names none is tried with every key that fits.  Claims are judged apart
from signatures, so that the bounded cache of verified tokens stays right as time passes.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt
import orjson
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.utils import base64url_decode, base64url_encode

SKEW_S = 30
TOKEN_BYTES_MAX = 64 * 1024

_FAMILY: dict[str, tuple[str, ...]] = {
    "oct": ("HS256", "HS384", "HS512"),
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "EC": ("ES256", "ES384", "ES512"),
    "OKP": ("EdDSA",),
}
_CURVE = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}


class TokenInvalid(Exception):
    """A token that must not be trusted.  `reason` is one of the `REASONS`; services choose words."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


REASONS = (
    "empty",  # no token at all
    "malformed",  # not three parts, or not JSON inside
    "algorithm",  # unknown, none, or not one this project verifies
    "no_key",  # no key of that id or kind
    "signature",  # the signature does not match
    "expired",
    "not_yet_valid",
    "issued_in_future",
    "claim_type",  # a registered claim of the wrong type; detail names it
    "audience",
    "too_large",
)


@dataclass(frozen=True, slots=True)
class Key:
    """One verification key.  `signing` is present when we may also sign with it."""

    kid: str | None
    kind: str
    algorithms: tuple[str, ...]
    verifying: Any
    signing: Any = None
    public_jwk: Mapping[str, Any] | None = None

    @property
    def algorithm(self) -> str:
        """The algorithm we sign with."""
        return self.algorithms[0]


def key_from_secret(secret: str | bytes, *, kid: str | None = None) -> Key:
    """A shared secret: HS256 only, as upstream treats plain-text secrets."""
    raw = secret.encode() if isinstance(secret, str) else secret
    return Key(kid, "oct", ("HS256",), raw, raw)


def key_from_jwk(jwk: Mapping[str, Any]) -> Key:
    """A key from its JWK form; private parts make it able to sign.  Raises ValueError."""
    kind = str(jwk.get("kty"))
    if kind not in _FAMILY:
        raise ValueError(f"unknown key type {kind}")
    algorithms = _FAMILY[kind]
    if kind == "EC":
        curve = str(jwk.get("crv"))
        if curve not in _CURVE:
            raise ValueError(f"unknown curve {curve}")
        algorithms = (_CURVE[curve],)
    declared = jwk.get("alg")
    if declared is not None:
        if declared not in algorithms:
            raise ValueError(f"algorithm {declared} does not fit a key of type {kind}")
        algorithms = (str(declared),)
    kid = jwk.get("kid")
    text = orjson.dumps(dict(jwk)).decode()
    try:
        if kind == "oct":
            raw = HMACAlgorithm.from_jwk(text)
            return Key(kid, kind, algorithms, raw, raw)
        loader: Any = {"RSA": RSAAlgorithm, "EC": ECAlgorithm, "OKP": OKPAlgorithm}[kind]
        loaded = loader.from_jwk(text)
    except jwt.InvalidKeyError as error:
        raise ValueError(f"not a usable key: {error}") from None
    private = "d" in jwk
    public = {name: jwk[name] for name in jwk if name not in _PRIVATE_PARTS}
    public["alg"] = algorithms[0]
    public.setdefault("use", "sig")
    public["key_ops"] = ["verify"]
    verifying = loaded.public_key() if private else loaded
    return Key(kid, kind, algorithms, verifying, loaded if private else None, public)


_PRIVATE_PARTS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "key_ops"})


def keys_from_text(text: str) -> tuple[Key, ...]:
    """Keys from what `jwt-secret` settings hold: a plain secret, one JWK, a list, or a JWK set."""
    stripped = text.strip()
    if stripped.startswith(("{", "[")):
        try:
            parsed = orjson.loads(stripped)
        except orjson.JSONDecodeError:
            return (key_from_secret(text),)
        if isinstance(parsed, list):
            return tuple(key_from_jwk(item) for item in parsed)
        if "keys" in parsed:
            return tuple(key_from_jwk(item) for item in parsed["keys"])
        return (key_from_jwk(parsed),)
    return (key_from_secret(text),)


def sign_token(
    key: Key, claims: Mapping[str, Any], *, headers: Mapping[str, Any] | None = None
) -> str:
    """A compact JWT signed with `key`, naming its `kid` when it has one."""
    named = {**(headers or {}), **({"kid": key.kid} if key.kid else {})}
    return jwt.encode(dict(claims), key.signing, algorithm=key.algorithm, headers=named)


class TokenVerifier:
    """Verifies signatures with a fixed set of keys and remembers what it has verified.

    The cache maps the whole token to its claims, is bounded, never holds a failure, and is forgotten
    when the keys change.
    """

    def __init__(self, keys: Sequence[Key], *, cache_entries_max: int = 1000) -> None:
        self.keys = tuple(keys)
        self._cache: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._entries_max = cache_entries_max
        self.hits = 0
        self.misses = 0

    def replace(self, keys: Sequence[Key]) -> None:
        """Takes over other keys and forgets what the old ones proved: for a rotation that every
        holder of this verifier follows at once."""
        self.keys = tuple(keys)
        self._cache.clear()

    def verify(
        self, token: str, *, now_s: float | None = None, audience: str | None = None
    ) -> Mapping[str, Any]:
        """The claims of a token that is genuine and in time.  Raises TokenInvalid."""
        claims = self._cache.get(token)
        if claims is None:
            self.misses += 1
            claims = self._verify_signature(token)
            if self._entries_max > 0:
                self._cache[token] = claims
                if len(self._cache) > self._entries_max:
                    self._cache.popitem(last=False)
        else:
            self.hits += 1
            self._cache.move_to_end(token)
        check_claims(claims, time.time() if now_s is None else now_s, audience)
        return claims

    def _verify_signature(self, token: str) -> dict[str, Any]:
        header, signing_input, payload, signature = _split(token)
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or not any(
            algorithm in names for names in _FAMILY.values()
        ):
            raise TokenInvalid("algorithm", "none" if algorithm == "none" else "unsupported")
        kid = header.get("kid")
        candidates = [key for key in self.keys if kid is None or key.kid == kid]
        fitting = [key for key in candidates if algorithm in key.algorithms]
        if not fitting:
            raise TokenInvalid("no_key", "no key of that id" if kid else "no key of that kind")
        for key in fitting:
            checker = jwt.get_algorithm_by_name(algorithm)
            if checker.verify(signing_input, key.verifying, signature):
                return payload
        raise TokenInvalid("signature")


def _split(token: str) -> tuple[dict[str, Any], bytes, dict[str, Any], bytes]:
    if not token:
        raise TokenInvalid("empty")
    if len(token) > TOKEN_BYTES_MAX:
        raise TokenInvalid("too_large")
    parts = token.split(".")
    if len(parts) != 3:
        raise TokenInvalid("malformed", f"{len(parts)} parts")
    try:
        raw = [part.encode("ascii") for part in parts]
        header = orjson.loads(base64url_decode(raw[0]))
        payload = orjson.loads(base64url_decode(raw[1]))
        signature = base64url_decode(raw[2])
    except ValueError:
        raise TokenInvalid("malformed", "not base64url JSON") from None
    if not isinstance(header, dict) or not isinstance(payload, dict) or "crit" in header:
        raise TokenInvalid("malformed", "unexpected content")
    # One token has one spelling: without this, stray bits in the last character would let the same
    # signature appear under several cache keys.
    if base64url_encode(signature) != raw[2].rstrip(b"="):
        raise TokenInvalid("malformed", "signature is not canonical base64url")
    return header, raw[0] + b"." + raw[1], payload, signature


def check_claims(claims: Mapping[str, Any], now_s: float, audience: str | None = None) -> None:
    """Judges `exp`, `nbf`, `iat` with a skew of 30 s, and `aud` when one is wanted."""
    expires = _moment(claims, "exp")
    if expires is not None and expires < now_s - SKEW_S:
        raise TokenInvalid("expired")
    starts = _moment(claims, "nbf")
    if starts is not None and starts > now_s + SKEW_S:
        raise TokenInvalid("not_yet_valid")
    issued = _moment(claims, "iat")
    if issued is not None and issued > now_s + SKEW_S:
        raise TokenInvalid("issued_in_future")
    _check_audience(claims.get("aud"), audience)


def _moment(claims: Mapping[str, Any], name: str) -> int | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TokenInvalid("claim_type", name)
    return int(value)


def _check_audience(claimed: Any, wanted: str | None) -> None:
    if claimed is None:
        return
    several = [claimed] if isinstance(claimed, str) else claimed
    if not isinstance(several, list) or not all(isinstance(item, str) for item in several):
        raise TokenInvalid("claim_type", "aud")
    if wanted is not None and several and wanted not in several:
        raise TokenInvalid("audience")
