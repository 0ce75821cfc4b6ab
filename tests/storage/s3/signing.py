"""A signer of our own making for requests that no client library would send."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

import httpx

EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass
class Forge:
    """Signs as told, including wrongly."""

    endpoint: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"
    service: str = "s3"
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def amz_date(self) -> str:
        return self.now.strftime("%Y%m%dT%H%M%SZ")

    @property
    def scope(self) -> str:
        return f"{self.amz_date[:8]}/{self.region}/{self.service}/aws4_request"

    def key(self) -> bytes:
        key = f"AWS4{self.secret_key}".encode()
        for part in self.scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return key

    def sign(self, text: str) -> str:
        return hmac.digest(self.key(), text.encode(), "sha256").hex()

    def headers(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        payload: str = EMPTY,
        signed: dict[str, str] | None = None,
        host: str | None = None,
        leave_out: tuple[str, ...] = (),
    ) -> dict[str, str]:
        """Headers of a signed request; those in `leave_out` are sent but not signed."""
        parts = urlsplit(self.endpoint)
        sent = {
            "host": host or parts.netloc,
            "x-amz-date": self.amz_date,
            "x-amz-content-sha256": payload,
            **(signed or {}),
        }
        names = sorted(name for name in sent if name not in leave_out)
        canonical = "\n".join(
            [
                method,
                quote(parts.path + path, safe="/-_.~%"),
                query,
                *(f"{name}:{' '.join(sent[name].split())}" for name in names),
                "",
                ";".join(names),
                payload,
            ]
        )
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        signature = self.sign(f"AWS4-HMAC-SHA256\n{self.amz_date}\n{self.scope}\n{digest}")
        credential = f"{self.access_key}/{self.scope}"
        sent["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={';'.join(names)},"
            f" Signature={signature}"
        )
        return sent

    def signature_of(self, headers: dict[str, str]) -> str:
        return headers["authorization"].rpartition("=")[2]

    async def send(
        self, method: str, path: str, headers: dict[str, str], *, query: str = "", body: bytes = b""
    ) -> httpx.Response:
        url = f"{self.endpoint}{path}" + (f"?{query}" if query else "")
        async with httpx.AsyncClient() as web:
            return await web.request(method, url, headers=headers, content=body)

    def chunk(self, previous: str, data: bytes, *, end: bytes = b"\r\n") -> tuple[bytes, str]:
        """A signed chunk and its signature."""
        digest = hashlib.sha256(data).hexdigest()
        text = ["AWS4-HMAC-SHA256-PAYLOAD", self.amz_date, self.scope, previous, EMPTY, digest]
        signature = self.sign("\n".join(text))
        return f"{len(data):x};chunk-signature={signature}\r\n".encode() + data + end, signature

    def trailer(self, previous: str, lines: bytes) -> str:
        digest = hashlib.sha256(lines).hexdigest()
        text = ["AWS4-HMAC-SHA256-TRAILER", self.amz_date, self.scope, previous, digest]
        return self.sign("\n".join(text))


def code_of(response: httpx.Response) -> str:
    return response.text.partition("<Code>")[2].partition("</Code>")[0]
