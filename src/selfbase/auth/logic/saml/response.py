"""A posted SAML response: is it genuine, for us, for now, and about whom.

Whatever is read about the person comes from the element that the signature covers, as signxml
returns it after canonicalization, never from the posted document.  Sources: SAML core 2.0 sections
2.5, 3.2; SAML profiles 4.1.4.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature as CryptoInvalidSignature
from lxml import etree
from signxml.algorithms import DigestAlgorithm, SignatureMethod
from signxml.exceptions import SignXMLException
from signxml.verifier import SignatureConfiguration, VerifyResult, XMLVerifier

from selfbase.auth.logic.saml.metadata import IdentityProvider, parse_instant
from selfbase.auth.logic.saml.xml import (
    SAML,
    SAMLP,
    Element,
    XmlInvalid,
    child,
    children,
    parse_xml,
    require_unique_ids,
    tag,
    text_of,
)

RESPONSE_BYTES_MAX = 512 * 1024
SKEW = timedelta(seconds=90)
LIFETIME_MAX = timedelta(hours=24)
_SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"
_BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"

# Asymmetric and collision-resistant only: no HMAC (the public key would be the secret), no SHA-1.
_SIGNATURE_METHODS: Final = frozenset(
    {
        SignatureMethod.RSA_SHA256,
        SignatureMethod.RSA_SHA384,
        SignatureMethod.RSA_SHA512,
        SignatureMethod.ECDSA_SHA256,
        SignatureMethod.ECDSA_SHA384,
        SignatureMethod.ECDSA_SHA512,
    }
)
_DIGESTS: Final = frozenset(
    {DigestAlgorithm.SHA256, DigestAlgorithm.SHA384, DigestAlgorithm.SHA512}
)

Decrypt = Callable[[Element], Element]


class ResponseInvalid(Exception):
    """A response that must not sign anybody in; the text is for the log."""


@dataclass(frozen=True, slots=True)
class Attribute:
    name: str
    friendly_name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Assertion:
    """A verified assertion.  `session_ends_at` is when the identity provider ends the session;
    `usable_until` the moment after which it cannot be accepted again anyway."""

    id: str
    issuer: str
    name_id: str
    name_id_format: str
    attributes: tuple[Attribute, ...]
    usable_until: datetime
    session_ends_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """What a response must say.  `request_ids` is empty for one the provider started by itself."""

    provider: IdentityProvider
    entity_id: str
    acs_url: str
    request_ids: Collection[str]


def decode_response(posted: str) -> bytes:
    """Raises ResponseInvalid."""
    if len(posted) > RESPONSE_BYTES_MAX * 4 // 3 + 4:
        raise ResponseInvalid("too large")
    try:
        return b64decode("".join(posted.split()), validate=True)
    except ValueError:
        raise ResponseInvalid("not base64") from None


def peek_issuer(raw: bytes) -> str:
    """The claimed issuer, unverified: only to choose whose keys to verify with."""
    try:
        root = parse_xml(raw)
        if root.tag != tag(SAMLP, "Response"):
            raise ResponseInvalid("not a SAML response")
        issuer = text_of(child(root, "saml:Issuer"))
        assertion = child(root, "saml:Assertion")
        if not issuer and assertion is not None:
            issuer = text_of(child(assertion, "saml:Issuer"))
        return issuer
    except XmlInvalid as error:
        raise ResponseInvalid(str(error)) from None


def verify_response(
    raw: bytes, expected: Expected, now: datetime, *, decrypt: Decrypt | None = None
) -> Assertion:
    """The one assertion in a genuine response.  Raises ResponseInvalid for everything else."""
    try:
        root = parse_xml(raw)
        require_unique_ids(root)
        if root.tag != tag(SAMLP, "Response"):
            raise ResponseInvalid("not a SAML response")
        signed_response = _verify_if_signed(root, expected.provider.certificates)
        response = root if signed_response is None else signed_response
        _check_response(response, expected, now)
        assertion = _find_assertion(response, decrypt)
        signed_assertion = _verify_if_signed(assertion, expected.provider.certificates)
        if signed_response is None and signed_assertion is None:
            raise ResponseInvalid("neither the response nor the assertion is signed")
        # A signature on the response covers the assertion in it, which was read from what it signed.
        return _read_assertion(
            assertion if signed_assertion is None else signed_assertion, expected, now
        )
    except XmlInvalid as error:
        raise ResponseInvalid(str(error)) from None


def _verify_if_signed(element: Element, certificates: Sequence[x509.Certificate]) -> Element | None:
    """What the element's own signature covers, which must be the element itself; None when it
    carries no signature.  Raises ResponseInvalid when it carries one that does not hold."""
    if child(element, "ds:Signature") is None:
        return None
    # Apart from its document, so that a reference can only find the element itself.
    alone = etree.tostring(element, with_tail=False)
    for certificate in certificates:
        configuration = SignatureConfiguration(
            location="./",
            expect_references=1,
            signature_methods=_SIGNATURE_METHODS,
            digest_algorithms=_DIGESTS,
            ignore_ambiguous_key_info=True,
            # Metadata is what we trust; the dates of the certificate in it say nothing more.
            verification_time=certificate.not_valid_before_utc,
        )
        try:
            result = XMLVerifier().verify(
                alone, x509_cert=certificate, expect_config=configuration, id_attribute="ID"
            )
        except (SignXMLException, CryptoInvalidSignature, ValueError, etree.LxmlError):
            continue
        signed = result.signed_xml if isinstance(result, VerifyResult) else None
        if signed is None or signed.tag != element.tag or signed.get("ID") != element.get("ID"):
            raise ResponseInvalid("the signature covers another element")
        if child(signed, "ds:Signature") is not None:
            raise ResponseInvalid("the element carries a second signature")
        return signed
    raise ResponseInvalid("the signature does not hold")


def _check_response(response: Element, expected: Expected, now: datetime) -> None:
    if response.get("Version") != "2.0":
        raise ResponseInvalid("not SAML 2.0")
    destination = response.get("Destination")
    if destination and destination != expected.acs_url:
        raise ResponseInvalid("sent to another address")
    issuer = child(response, "saml:Issuer")
    if issuer is not None and text_of(issuer) != expected.provider.entity_id:
        raise ResponseInvalid("another issuer")
    _check_in_response_to(response.get("InResponseTo"), expected)
    issued = parse_instant(response.get("IssueInstant") or "")
    if issued is None or abs(now - issued) > LIFETIME_MAX:
        raise ResponseInvalid("issued at another time")
    status = child(response, "samlp:Status/samlp:StatusCode")
    if status is None or status.get("Value") != _SUCCESS:
        raise ResponseInvalid("the identity provider did not sign the person in")


def _check_in_response_to(value: str | None, expected: Expected) -> None:
    if expected.request_ids:
        if value not in expected.request_ids:
            raise ResponseInvalid("an answer to another request")
    elif value:
        # An answer to somebody's request must not pass as one the provider started by itself.
        raise ResponseInvalid("an answer to a request, without its relay state")


def _find_assertion(response: Element, decrypt: Decrypt | None) -> Element:
    plain = children(response, "saml:Assertion")
    encrypted = children(response, "saml:EncryptedAssertion")
    if len(plain) + len(encrypted) != 1:
        raise ResponseInvalid("not exactly one assertion")
    if plain:
        found = plain[0]
    elif decrypt is None:
        raise ResponseInvalid("encrypted assertions are not allowed")
    else:
        found = decrypt(encrypted[0])
        require_unique_ids(found)
        if found.tag != tag(SAML, "Assertion"):
            raise ResponseInvalid("the encrypted part is not an assertion")
    return found


def _read_assertion(assertion: Element, expected: Expected, now: datetime) -> Assertion:
    if assertion.get("Version") != "2.0" or not assertion.get("ID"):
        raise ResponseInvalid("not a SAML 2.0 assertion")
    issuer = text_of(child(assertion, "saml:Issuer"))
    if issuer != expected.provider.entity_id:
        raise ResponseInvalid("another issuer")
    subject = child(assertion, "saml:Subject")
    if subject is None:
        raise ResponseInvalid("no subject")
    confirmed_until = _check_confirmation(subject, expected, now)
    conditions_until = _check_conditions(assertion, expected, now)
    name_id = child(subject, "saml:NameID")
    ends = [
        moment
        for statement in children(assertion, "saml:AuthnStatement")
        if (moment := parse_instant(statement.get("SessionNotOnOrAfter") or "")) is not None
    ]
    return Assertion(
        id=assertion.get("ID"),
        issuer=issuer,
        name_id=text_of(name_id),
        name_id_format=(name_id.get("Format") or "") if name_id is not None else "",
        attributes=_read_attributes(assertion),
        usable_until=min(confirmed_until, conditions_until or confirmed_until) + SKEW,
        session_ends_at=ends[0] if ends else None,
    )


def _check_confirmation(subject: Element, expected: Expected, now: datetime) -> datetime:
    """At least one bearer confirmation must be for us and for now (SAML profiles 4.1.4.2)."""
    for confirmation in children(subject, "saml:SubjectConfirmation"):
        data = child(confirmation, "saml:SubjectConfirmationData")
        if confirmation.get("Method") != _BEARER or data is None:
            continue
        until = parse_instant(data.get("NotOnOrAfter") or "")
        starts = parse_instant(data.get("NotBefore") or "")
        if until is None or until <= now - SKEW or until > now + LIFETIME_MAX:
            continue
        if starts is not None and starts > now + SKEW:
            continue
        if data.get("Recipient") != expected.acs_url:
            continue
        _check_in_response_to(data.get("InResponseTo"), expected)
        return until
    raise ResponseInvalid("no bearer confirmation for this address and time")


def _check_conditions(assertion: Element, expected: Expected, now: datetime) -> datetime | None:
    conditions = child(assertion, "saml:Conditions")
    if conditions is None:
        raise ResponseInvalid("no conditions")
    starts = parse_instant(conditions.get("NotBefore") or "")
    ends = parse_instant(conditions.get("NotOnOrAfter") or "")
    if starts is not None and starts > now + SKEW:
        raise ResponseInvalid("not valid yet")
    if ends is not None and ends <= now - SKEW:
        raise ResponseInvalid("no longer valid")
    restrictions = children(conditions, "saml:AudienceRestriction")
    if not restrictions:
        raise ResponseInvalid("no audience restriction")
    for restriction in restrictions:
        audiences = [text_of(item) for item in children(restriction, "saml:Audience")]
        if expected.entity_id not in audiences:
            raise ResponseInvalid("made for another service")
    return ends


def _read_attributes(assertion: Element) -> tuple[Attribute, ...]:
    return tuple(
        Attribute(
            item.get("Name") or "",
            item.get("FriendlyName") or "",
            tuple(text_of(value) for value in children(item, "saml:AttributeValue")),
        )
        for statement in children(assertion, "saml:AttributeStatement")
        for item in children(statement, "saml:Attribute")
    )
