"""An identity provider for tests: keys, metadata, and responses signed the way real ones do."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from lxml import etree
from signxml.algorithms import CanonicalizationMethod, SignatureConstructionMethod
from signxml.signer import XMLSigner

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ENTITY = "https://idp.example.com/saml"
BASE = "https://project.example.com/auth/v1"
ACS = f"{BASE}/sso/saml/acs"
AUDIENCE = f"{BASE}/sso/saml/metadata"
_KEYS: dict[str, rsa.RSAPrivateKey] = {}


def rsa_key(name: str) -> rsa.RSAPrivateKey:
    if name not in _KEYS:
        _KEYS[name] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return _KEYS[name]


def certificate(key: rsa.RSAPrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "idp")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(datetime(2010, 1, 1, tzinfo=UTC))
        # Long expired: what counts is that metadata names it.
        .not_valid_after(datetime(2015, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )


def metadata(key_name: str = "idp", entity: str = ENTITY) -> str:
    der = b64encode(certificate(rsa_key(key_name)).public_bytes(Encoding.DER)).decode()
    return (
        f'<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{entity}">'
        '<IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">'
        '<KeyDescriptor use="signing"><KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#"><X509Data>'
        f"<X509Certificate>{der}</X509Certificate></X509Data></KeyInfo></KeyDescriptor>"
        '<SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"'
        ' Location="https://idp.example.com/sso?tenant=1"/>'
        "</IDPSSODescriptor></EntityDescriptor>"
    )


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Answer:
    """What a response says; each test changes one member."""

    now: datetime = NOW
    entity: str = ENTITY
    name_id: str = "person-1"
    name_id_format: str = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
    email: str = "person@example.com"
    in_response_to: str | None = "id-request"
    destination: str = ACS
    recipient: str = ACS
    audience: str = AUDIENCE
    lifetime: timedelta = timedelta(minutes=5)
    assertion_id: str = "a-1"
    attributes: dict[str, list[str]] = field(default_factory=dict)
    session_ends: datetime | None = None
    key: str = "idp"
    sign: str = "assertion"
    status: str = "urn:oasis:names:tc:SAML:2.0:status:Success"

    def assertion(self) -> etree._Element:
        reply = f'InResponseTo="{self.in_response_to}"' if self.in_response_to else ""
        until = stamp(self.now + self.lifetime)
        rows = {"email": [self.email], **self.attributes} if self.email else self.attributes
        attributes = "".join(
            f'<saml:Attribute Name="{name}">'
            + "".join(f"<saml:AttributeValue>{value}</saml:AttributeValue>" for value in values)
            + "</saml:Attribute>"
            for name, values in rows.items()
        )
        ends = f'SessionNotOnOrAfter="{stamp(self.session_ends)}"' if self.session_ends else ""
        return etree.fromstring(
            '<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" Version="2.0"'
            f' ID="{self.assertion_id}" IssueInstant="{stamp(self.now)}">'
            f"<saml:Issuer>{self.entity}</saml:Issuer>"
            f'<saml:Subject><saml:NameID Format="{self.name_id_format}">{self.name_id}</saml:NameID>'
            '<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">'
            f'<saml:SubjectConfirmationData {reply} Recipient="{self.recipient}"'
            f' NotOnOrAfter="{until}"/></saml:SubjectConfirmation></saml:Subject>'
            f'<saml:Conditions NotBefore="{stamp(self.now)}" NotOnOrAfter="{until}">'
            f"<saml:AudienceRestriction><saml:Audience>{self.audience}</saml:Audience>"
            "</saml:AudienceRestriction></saml:Conditions>"
            f'<saml:AuthnStatement AuthnInstant="{stamp(self.now)}" {ends}/>'
            f"<saml:AttributeStatement>{attributes}</saml:AttributeStatement></saml:Assertion>"
        )

    def response(self) -> etree._Element:
        assertion = self.assertion()
        if self.sign in ("assertion", "both"):
            assertion = signed(assertion, self.assertion_id, self.key)
        reply = f'InResponseTo="{self.in_response_to}"' if self.in_response_to else ""
        # As text: moving a signed element between trees would rename its prefixes.
        response = etree.fromstring(
            '<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol"'
            ' xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" Version="2.0" ID="r-1"'
            f' IssueInstant="{stamp(self.now)}" Destination="{self.destination}" {reply}>'
            f"<saml:Issuer>{self.entity}</saml:Issuer>"
            f'<samlp:Status><samlp:StatusCode Value="{self.status}"/></samlp:Status>'
            + etree.tostring(assertion).decode()
            + "</samlp:Response>"
        )
        if self.sign in ("response", "both"):
            response = signed(response, "r-1", self.key)
        return response

    def raw(self) -> bytes:
        return bytes(etree.tostring(self.response()))

    def posted(self) -> str:
        return b64encode(self.raw()).decode()


def signed(element: etree._Element, reference: str, key_name: str) -> etree._Element:
    """Enveloped, exclusive canonicalization, signature after the issuer, as the schema wants."""
    key = rsa_key(key_name)
    placeholder = etree.SubElement(
        element,
        "{http://www.w3.org/2000/09/xmldsig#}Signature",
        {"Id": "placeholder"},
        {"ds": "http://www.w3.org/2000/09/xmldsig#"},
    )
    element.remove(placeholder)
    element.insert(1, placeholder)
    signer = XMLSigner(
        method=SignatureConstructionMethod.enveloped,
        c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return signer.sign(
        element,
        key=pem,
        cert=[certificate(key)],
        reference_uri=f"#{reference}",
        id_attribute="ID",
    )
