"""Stored S3 credentials: key pairs that act as a role and subject of the owner's choice.

The secret is needed to verify signatures, so it is kept sealed (AES-256-GCM) under a key derived
from the project's secret, and shown once, when it is made.
"""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from selfbase.http.values import Response, json_response
from selfbase.kit.routes import Access, Route
from selfbase.storage.access import REST
from selfbase.storage.call import Call, Handler
from selfbase.storage.context import Context
from selfbase.storage.errors import InvalidRequest, NoSuchKey, SchemaInvalid
from selfbase.storage.rows import by_service, service_actor
from selfbase.storage.s3.sqlfile import S3_SQL

CREDENTIALS_MAX = 50
_BODY_BYTES_MAX = 16 * 1024
_PURPOSE = b"selfbase storage: S3 credentials"
_NONCE_BYTES = 12
_ROLES = frozenset({"anon", "authenticated", "service_role"})


@dataclass(frozen=True, slots=True)
class Credential:
    """A stored key pair, found by its access key."""

    role: str
    subject: str | None
    secret: str = field(repr=False)

    @property
    def claims(self) -> dict[str, Any]:
        return {"role": self.role, **({"sub": self.subject} if self.subject else {})}


async def find_credential(context: Context, access_key: str) -> Credential | None:
    """The credential of this access key, or None."""
    if not access_key.isascii() or not access_key.isalnum():
        return None
    step = by_service(S3_SQL["find_credential"], access_key)
    (rows,) = await context.rows.run(service_actor("storage.s3"), step, read_only=True)
    if not rows:
        return None
    try:
        secret = _unseal(context, access_key, rows[0]["sealed_secret"])
    except InvalidTag:
        # Sealed under another project's secret, or moved to another access key by hand.
        return None
    return Credential(rows[0]["role"], rows[0]["subject"], secret)


async def create_credential(call: Call) -> Response:
    """POST `{description, claims: {role, sub}}`: 201 with the pair.  The secret is not shown again."""
    body = await call.request.json(_BODY_BYTES_MAX)
    role, subject, description = _parse(body)
    access_key, secret = secrets.token_hex(16), secrets.token_hex(32)
    sealed = _seal(call.context, access_key, secret)
    rows = call.context.rows
    (counted,) = await rows.run(call.actor, by_service(S3_SQL["count_credentials"]))
    if counted[0] >= CREDENTIALS_MAX:
        raise InvalidRequest(f"At most {CREDENTIALS_MAX} credentials can be kept")
    step = by_service(S3_SQL["insert_credential"], access_key, sealed, description, role, subject)
    (made,) = await rows.run(call.actor, step)
    shown = {"access_key": access_key, "secret_key": secret, "description": description}
    return json_response({"id": made[0]["id"], **shown}, 201)


async def list_credentials(call: Call) -> Response:
    (rows,) = await call.context.rows.run(
        call.actor, by_service(S3_SQL["list_credentials"]), read_only=True
    )
    return json_response(rows)


async def delete_credential(call: Call) -> Response:
    (rows,) = await call.context.rows.run(
        call.actor, by_service(S3_SQL["delete_credential"], call.params["id"])
    )
    if not rows:
        raise NoSuchKey("Credential not found")
    return Response(204)


def _parse(body: Any) -> tuple[str, str | None, str]:
    if not isinstance(body, dict) or not isinstance(body.get("description"), str):
        raise SchemaInvalid("body must have required property 'description'")
    claims = body.get("claims") or {}
    if not isinstance(claims, dict):
        raise SchemaInvalid("body/claims must be object")
    role, subject = claims.get("role", "service_role"), claims.get("sub")
    if role not in _ROLES:
        raise SchemaInvalid("body/claims/role must be equal to one of the allowed values")
    if subject is not None and (not isinstance(subject, str) or "\0" in subject):
        raise SchemaInvalid("body/claims/sub must be string")
    return role, subject, body["description"].replace("\0", "")[:1000]


def _sealer(context: Context) -> AESGCM:
    material = context.signing_key.signing
    key = HKDF(hashes.SHA256(), 32, None, _PURPOSE).derive(material)
    return AESGCM(key)


def _seal(context: Context, access_key: str, secret: str) -> str:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    sealed = _sealer(context).encrypt(nonce, secret.encode(), access_key.encode())
    return b64encode(nonce + sealed).decode()


def _unseal(context: Context, access_key: str, text: str) -> str:
    raw = b64decode(text)
    nonce, sealed = raw[:_NONCE_BYTES], raw[_NONCE_BYTES:]
    return _sealer(context).decrypt(nonce, sealed, access_key.encode()).decode()


ROUTES: tuple[Route[Handler], ...] = (
    Route(
        "POST",
        "/admin/s3/credentials",
        create_credential,
        "storage.s3.credentials.create",
        Access.SERVICE,
        extra=REST,
    ),
    Route(
        "GET",
        "/admin/s3/credentials",
        list_credentials,
        "storage.s3.credentials.list",
        Access.SERVICE,
        extra=REST,
    ),
    Route(
        "DELETE",
        "/admin/s3/credentials/{id}",
        delete_credential,
        "storage.s3.credentials.delete",
        Access.SERVICE,
        extra=REST,
    ),
)
