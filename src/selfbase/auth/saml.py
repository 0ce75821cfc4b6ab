"""SAML of one request: our keys and addresses, and metadata fetched for a connection."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from selfbase.auth.context import Context
from selfbase.auth.errors import AuthFailure, UnexpectedFailure
from selfbase.auth.logic.saml.encryption import decrypt_assertion
from selfbase.auth.logic.saml.keys import SamlKeyInvalid, make_certificate
from selfbase.auth.logic.saml.response import Decrypt
from selfbase.auth.logic.saml.xml import Element
from selfbase.auth.outgoing import AddressRefused, FetchFailed

METADATA_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ServiceProvider:
    """Us, as identity providers know us.  `base_url` has no slash at its end."""

    base_url: str
    key: rsa.RSAPrivateKey = field(repr=False)
    next_key: rsa.RSAPrivateKey | None = field(repr=False)
    encryption: bool

    @property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        """The one in use, and during a rotation the next."""
        keys = [self.key] if self.next_key is None else [self.key, self.next_key]
        return tuple(make_certificate(key, self.base_url) for key in keys)

    @property
    def decrypt(self) -> Decrypt | None:
        """None where encrypted assertions are not allowed."""
        if not self.encryption:
            return None
        keys = [self.key] if self.next_key is None else [self.key, self.next_key]

        def decrypt(element: Element) -> Element:
            return decrypt_assertion(element, keys)

        return decrypt


def open_service_provider(ctx: Context) -> ServiceProvider:
    """Raises saml_provider_disabled, UnexpectedFailure when the key cannot be used."""
    settings = ctx.settings
    if not settings.saml_enabled:
        raise AuthFailure("SAML 2.0 is disabled", code="saml_provider_disabled", status=404)
    try:
        return ServiceProvider(
            (settings.saml_external_url or settings.external_url).rstrip("/"),
            ctx.core.saml_keys.read(settings.saml_private_key.reveal()),
            ctx.core.saml_keys.read(settings.saml_private_key_next.reveal())
            if settings.saml_private_key_next
            else None,
            settings.saml_allow_encrypted_assertions,
        )
    except SamlKeyInvalid as error:
        raise UnexpectedFailure("SAML is not set up", internal=str(error)) from None


async def fetch_metadata(ctx: Context, url: str) -> bytes:
    """An identity provider's metadata.  Raises saml_metadata_fetch_failed."""
    try:
        reply = await ctx.core.outgoing.fetch(
            "GET",
            url,
            headers={"accept": "application/samlmetadata+xml, application/xml;q=0.9, */*;q=0.1"},
            timeout_s=ctx.settings.external_timeout_s,
            reply_bytes_max=METADATA_BYTES_MAX,
            allow_private=ctx.settings.external_allow_private,
        )
    except (AddressRefused, FetchFailed, TimeoutError) as error:
        raise AuthFailure(
            "Error fetching SAML Metadata",
            code="saml_metadata_fetch_failed",
            status=400,
            internal=type(error).__name__,
        ) from None
    if reply.status != 200:
        raise AuthFailure(
            f"HTTP {reply.status} error fetching SAML Metadata from URL",
            code="saml_metadata_fetch_failed",
            status=400,
        )
    return reply.body
