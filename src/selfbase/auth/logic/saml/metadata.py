"""Identity provider metadata read, service provider metadata written (SAML 2.0 metadata)."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from selfbase.auth.logic.saml.xml import (
    DS,
    MD,
    Element,
    XmlInvalid,
    children,
    parse_xml,
    tag,
    text_of,
)

REDIRECT_BINDING = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
POST_BINDING = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
PERSISTENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
EMAIL = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
TRANSIENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
UNSPECIFIED = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"
NAME_ID_FORMATS = (PERSISTENT, EMAIL, TRANSIENT, UNSPECIFIED)

CERTIFICATES_MAX = 16
REFRESH_AFTER = timedelta(hours=24)


class MetadataInvalid(Exception):
    """Metadata we cannot work with; the text is for the operator."""


@dataclass(frozen=True, slots=True)
class IdentityProvider:
    """What we need of an identity provider.  `sso_redirect_url` is empty when it offers none."""

    entity_id: str
    sso_redirect_url: str
    certificates: tuple[x509.Certificate, ...]
    valid_until: datetime | None = None
    cache_duration: timedelta | None = None
    want_signed_requests: bool = False

    def is_stale(self, updated_at: datetime, now: datetime) -> bool:
        """Whether metadata fetched from a URL should be fetched anew."""
        if self.valid_until is not None and now > self.valid_until:
            return True
        if self.cache_duration is not None:
            return now > updated_at + self.cache_duration
        return self.valid_until is None and now > updated_at + REFRESH_AFTER


def parse_identity_provider(raw: str | bytes) -> IdentityProvider:
    """From an EntityDescriptor, or an EntitiesDescriptor holding one.  Raises MetadataInvalid."""
    if isinstance(raw, bytes):
        try:
            raw = raw.decode()
        except UnicodeDecodeError:
            raise MetadataInvalid(
                "SAML Metadata XML contains invalid UTF-8 characters, which are not supported at"
                " this time"
            ) from None
    try:
        root = parse_xml(raw.encode())
        return _read_entity(_find_entity(root))
    except XmlInvalid as error:
        raise MetadataInvalid(f"SAML Metadata is not valid: {error}") from None


def _find_entity(root: Element) -> Element:
    if root.tag == tag(MD, "EntityDescriptor"):
        return root
    if root.tag == tag(MD, "EntitiesDescriptor"):
        with_idp = [
            entity
            for entity in children(root, "md:EntityDescriptor")
            if children(entity, "md:IDPSSODescriptor")
        ]
        if len(with_idp) == 1:
            return with_idp[0]
    raise MetadataInvalid("SAML Metadata does not describe one identity provider")


def _read_entity(entity: Element) -> IdentityProvider:
    entity_id = entity.get("entityID") or ""
    if not entity_id:
        raise MetadataInvalid("SAML Metadata does not contain an EntityID")
    descriptors = children(entity, "md:IDPSSODescriptor")
    if not descriptors:
        raise MetadataInvalid("SAML Metadata does not contain any IDPSSODescriptor")
    if len(descriptors) > 1:
        raise MetadataInvalid("SAML Metadata contains multiple IDPSSODescriptors")
    idp = descriptors[0]
    certificates = _read_certificates(idp)
    if not certificates:
        raise MetadataInvalid("SAML Metadata does not contain a certificate for signatures")
    locations = {
        service.get("Binding"): service.get("Location") or ""
        for service in reversed(children(idp, "md:SingleSignOnService"))
    }
    location = locations.get(REDIRECT_BINDING, "")
    if location and not location.startswith(("https://", "http://")):
        raise MetadataInvalid("SAML Metadata has a SingleSignOnService that is not an http address")
    return IdentityProvider(
        entity_id=entity_id,
        sso_redirect_url=location,
        certificates=certificates,
        valid_until=parse_instant(entity.get("validUntil") or ""),
        cache_duration=parse_duration(entity.get("cacheDuration") or ""),
        want_signed_requests=idp.get("WantAuthnRequestsSigned") in ("true", "1"),
    )


def _read_certificates(idp: Element) -> tuple[x509.Certificate, ...]:
    found: list[x509.Certificate] = []
    for descriptor in children(idp, "md:KeyDescriptor"):
        if descriptor.get("use") not in (None, "signing"):
            continue
        for element in descriptor.iter(tag(DS, "X509Certificate")):
            try:
                der = b64decode("".join(text_of(element).split()), validate=True)
                certificate = x509.load_der_x509_certificate(der)
                certificate.public_key()
            except ValueError:
                raise MetadataInvalid("SAML Metadata contains an unreadable certificate") from None
            found.append(certificate)
    return tuple(found[:CERTIFICATES_MAX])


_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})?")


def parse_instant(text: str) -> datetime | None:
    """An xs:dateTime as UTC (SAML times without a zone are UTC); None when unreadable or empty."""
    if not _INSTANT.fullmatch(text.strip()):
        return None
    try:
        moment = datetime.fromisoformat(re.sub(r"(\.\d{1,6})\d*", r"\1", text.strip()))
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


_DURATION = re.compile(
    r"P(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)(?:\.\d+)?S)?)?"
)


def parse_duration(text: str) -> timedelta | None:
    """An xs:duration, a year counting 365 and a month 30 days; None when unreadable or zero."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or len(text) > 60:
        return None
    part = {name: min(int(value or 0), 10_000_000) for name, value in match.groupdict().items()}
    length = timedelta(
        days=part["years"] * 365 + part["months"] * 30 + part["days"],
        hours=part["hours"],
        minutes=part["minutes"],
        seconds=part["seconds"],
    )
    return length or None


def entity_id_of(base_url: str) -> str:
    """Our entity id is the address of our metadata."""
    return f"{base_url.rstrip('/')}/sso/saml/metadata"


def acs_url_of(base_url: str) -> str:
    return f"{base_url.rstrip('/')}/sso/saml/acs"


def render_instant(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def render_service_provider(
    base_url: str,
    certificates: Sequence[x509.Certificate],
    *,
    encryption: bool,
    valid_until: datetime | None = None,
) -> bytes:
    """Our metadata: the key in use first, the next one beside it during a rotation."""
    root = etree.Element(
        tag(MD, "EntityDescriptor"), {"entityID": entity_id_of(base_url)}, {None: MD, "ds": DS}
    )
    if valid_until is not None:
        root.set("validUntil", render_instant(valid_until))
    if len(certificates) > 1:
        root.set("cacheDuration", "PT1H")
    sp = etree.SubElement(
        root,
        tag(MD, "SPSSODescriptor"),
        {
            "WantAssertionsSigned": "true",
            "protocolSupportEnumeration": "urn:oasis:names:tc:SAML:2.0:protocol",
        },
    )
    for certificate in certificates:
        for use in ("signing", "encryption") if encryption else ("signing",):
            key = etree.SubElement(sp, tag(MD, "KeyDescriptor"), {"use": use})
            data = etree.SubElement(etree.SubElement(key, tag(DS, "KeyInfo")), tag(DS, "X509Data"))
            der = certificate.public_bytes(Encoding.DER)
            etree.SubElement(data, tag(DS, "X509Certificate")).text = b64encode(der).decode()
    for name_format in (EMAIL, PERSISTENT):
        etree.SubElement(sp, tag(MD, "NameIDFormat")).text = name_format
    etree.SubElement(
        sp,
        tag(MD, "AssertionConsumerService"),
        {
            "Binding": POST_BINDING,
            "Location": acs_url_of(base_url),
            "index": "1",
            "isDefault": "true",
        },
    )
    return bytes(etree.tostring(root, xml_declaration=True, encoding="UTF-8"))
