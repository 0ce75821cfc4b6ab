"""SAML: what a genuine response gives, and the ways to forge one."""

from __future__ import annotations

from base64 import b64decode, b64encode
from copy import deepcopy
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit
from zlib import decompress

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from lxml import etree
from tests.auth.logic.saml_idp import (
    ACS,
    AUDIENCE,
    BASE,
    ENTITY,
    NOW,
    Answer,
    metadata,
    rsa_key,
    signed,
)

from selfbase.auth.logic.saml.attributes import (
    find_email,
    find_user_id,
    map_attributes,
    read_assertion_profile,
    require_mapping,
)
from selfbase.auth.logic.saml.encryption import decrypt_assertion
from selfbase.auth.logic.saml.keys import SamlKeyInvalid, make_certificate, parse_private_key
from selfbase.auth.logic.saml.metadata import (
    MetadataInvalid,
    parse_duration,
    parse_identity_provider,
    render_service_provider,
)
from selfbase.auth.logic.saml.request import render_redirect, render_request
from selfbase.auth.logic.saml.response import (
    Assertion,
    Expected,
    ResponseInvalid,
    _verify_if_signed,
    decode_response,
    peek_issuer,
    verify_response,
)
from selfbase.auth.logic.saml.xml import SAML, XmlInvalid, parse_xml

PROVIDER = parse_identity_provider(metadata())
EXPECTED = Expected(PROVIDER, AUDIENCE, ACS, ("id-request",))
UNSOLICITED = Expected(PROVIDER, AUDIENCE, ACS, ())


def verify(raw: bytes, expected: Expected = EXPECTED, **more: object) -> Assertion:
    return verify_response(raw, expected, NOW, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("sign", ["assertion", "response", "both"])
def test_a_signed_response_names_the_person(sign: str) -> None:
    assertion = verify(Answer(sign=sign, attributes={"groups": ["a", "b"]}).raw())
    assert find_user_id(assertion) == "person-1"
    assert find_email(assertion) == "person@example.com"
    mapping = require_mapping(
        {
            "keys": {
                "groups": {"name": "groups", "array": True},
                "team": {"names": ["x"], "default": 1},
            }
        }
    )
    claims = map_attributes(assertion, mapping)
    assert claims == {"groups": ["a", "b"], "team": 1}
    profile = read_assertion_profile(
        assertion, user_id="person-1", email="person@example.com", claims=claims
    )
    assert profile.subject == "person-1"
    assert profile.claims["iss"] == ENTITY
    assert profile.claims["custom_claims"] == {"groups": ["a", "b"], "team": 1}


def test_a_mapping_cannot_change_who_the_person_is() -> None:
    assertion = verify(Answer(attributes={"evil": ["other"]}).raw())
    mapping = require_mapping(
        {"keys": {n: {"name": "evil"} for n in ("sub", "iss", "email_verified")}}
    )
    claims = map_attributes(assertion, mapping)
    profile = read_assertion_profile(assertion, user_id="person-1", email="p@e.com", claims=claims)
    assert profile.subject == "person-1"
    assert profile.claims["iss"] == ENTITY
    assert profile.claims["email_verified"] is True


def test_a_provider_may_start_by_itself() -> None:
    raw = Answer(in_response_to=None).raw()
    assert verify(raw, UNSOLICITED).name_id == "person-1"
    assert peek_issuer(raw) == ENTITY


REFUSED = {
    "unsigned": Answer(sign="none"),
    "signed by a stranger": Answer(key="stranger"),
    "response signed by a stranger": Answer(key="stranger", sign="response"),
    "for another request": Answer(in_response_to="id-other"),
    "without a request": Answer(in_response_to=None),
    "sent to another address": Answer(destination="https://evil.example.com/acs"),
    "confirmed for another address": Answer(recipient="https://evil.example.com/acs"),
    "made for another service": Answer(audience="https://other.example.com/metadata"),
    "of another issuer": Answer(entity="https://other.example.com"),
    "expired": Answer(now=NOW - timedelta(minutes=10)),
    "not yet valid": Answer(now=NOW + timedelta(minutes=10)),
    "valid for years": Answer(lifetime=timedelta(days=400)),
    "of a refused sign-in": Answer(status="urn:oasis:names:tc:SAML:2.0:status:Responder"),
}


@pytest.mark.parametrize("answer", REFUSED.values(), ids=REFUSED.keys())
def test_a_response_is_refused(answer: Answer) -> None:
    with pytest.raises(ResponseInvalid):
        verify(answer.raw())


def test_an_answer_to_a_request_cannot_pass_as_unsolicited() -> None:
    with pytest.raises(ResponseInvalid):
        verify(Answer().raw(), UNSOLICITED)


def forge(answer: Answer | None = None) -> tuple[etree._Element, etree._Element, etree._Element]:
    """A genuine response, its signed assertion, and an unsigned one about somebody else."""
    response = (answer or Answer()).response()
    genuine = response.find(f"{{{SAML}}}Assertion")
    forged = Answer(name_id="victim", email="victim@example.com", assertion_id="evil").assertion()
    return response, genuine, forged


def refuse(response: etree._Element, *, still_signed: bool = False) -> None:
    """`still_signed`: the genuine assertion must have survived, or the attack proves nothing."""
    raw = etree.tostring(response)
    if still_signed:
        (genuine,) = etree.fromstring(raw).xpath("//*[@ID='a-1'][*[local-name()='Signature']]")
        assert _verify_if_signed(genuine, PROVIDER.certificates) is not None
    try:
        assertion = verify(raw)
    except ResponseInvalid:
        return
    assert assertion.name_id == "person-1", "the forged assertion was believed"


def test_wrapping_beside_the_genuine_assertion() -> None:
    for position in (0, -1):
        response, _, forged = forge()
        response.insert(position if position == 0 else len(response), forged)
        refuse(response, still_signed=True)


def test_wrapping_the_genuine_assertion_inside_the_forged_one() -> None:
    response, genuine, forged = forge()
    response.remove(genuine)
    forged.append(genuine)
    response.append(forged)
    refuse(response, still_signed=True)


def test_wrapping_with_the_signature_moved_to_the_forged_assertion() -> None:
    for keep in (True, False):
        response, genuine, forged = forge()
        signature = genuine.find("{http://www.w3.org/2000/09/xmldsig#}Signature")
        response.remove(genuine)
        moved = deepcopy(signature)
        if keep:
            obj = etree.SubElement(moved, "{http://www.w3.org/2000/09/xmldsig#}Object")
            obj.append(genuine)
        forged.insert(1, moved)
        response.append(forged)
        refuse(response)


def test_wrapping_with_the_same_id_twice() -> None:
    response, genuine, forged = forge()
    forged.set("ID", genuine.get("ID"))
    response.insert(0, forged)
    refuse(response)
    extension = etree.SubElement(response, "{urn:x}Extension")
    extension.append(genuine)
    refuse(response, still_signed=True)


def test_wrapping_a_signed_response_inside_a_forged_one() -> None:
    inner, _, forged = forge(Answer(sign="response"))
    outer = Answer(sign="none").response()
    outer.set("ID", "r-2")
    outer.remove(outer.find(f"{{{SAML}}}Assertion"))
    signature = inner.find("{http://www.w3.org/2000/09/xmldsig#}Signature")
    moved = deepcopy(signature)
    holder = etree.SubElement(moved, "{http://www.w3.org/2000/09/xmldsig#}Object")
    holder.append(inner)
    outer.insert(1, moved)
    outer.append(forged)
    with pytest.raises(ResponseInvalid):
        verify(etree.tostring(outer))


def test_a_changed_word_breaks_the_signature() -> None:
    for sign in ("assertion", "response"):
        raw = Answer(sign=sign).raw().replace(b"person-1", b"victim-1")
        with pytest.raises(ResponseInvalid):
            verify(raw)


def test_a_comment_cannot_cut_an_address() -> None:
    raw = Answer(email="victim@example.com.evil.example").raw()
    cut = raw.replace(b"victim@example.com.evil", b"victim@example.com<!-- -->.evil")
    assert find_email(verify(cut)) == "victim@example.com.evil.example"


def test_the_public_certificate_is_no_hmac_secret() -> None:
    raw = (
        Answer()
        .raw()
        .replace(
            b"http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
            b"http://www.w3.org/2001/04/xmldsig-more#hmac-sha256",
        )
    )
    with pytest.raises(ResponseInvalid):
        verify(raw)


def test_document_types_and_entities_are_refused() -> None:
    bomb = b'<!DOCTYPE r [<!ENTITY a "x">]><r>&a;</r>'
    with pytest.raises(XmlInvalid):
        parse_xml(bomb)
    raw = b'<!DOCTYPE Response [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + Answer().raw()
    with pytest.raises(ResponseInvalid):
        verify(raw)
    with pytest.raises(MetadataInvalid):
        parse_identity_provider(
            '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + metadata()
        )


@pytest.mark.parametrize("posted", ["", "%%%", "AAAA", b64encode(b"<a").decode(), "A" * 900_000])
def test_garbage_is_refused(posted: str) -> None:
    with pytest.raises(ResponseInvalid):
        verify(decode_response(posted))


def encrypted(key_name: str) -> bytes:
    answer = Answer(sign="none")
    plain = etree.tostring(signed(answer.assertion(), answer.assertion_id, "idp"))
    session_key, iv = b"k" * 32, b"i" * 12
    wrapped = (
        rsa_key(key_name)
        .public_key()
        .encrypt(session_key, padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None))
    )
    cipher = iv + AESGCM(session_key).encrypt(iv, plain, None)
    response = answer.response()
    response.remove(response.find(f"{{{SAML}}}Assertion"))
    response.append(
        etree.fromstring(
            f'<saml:EncryptedAssertion xmlns:saml="{SAML}">'
            '<xenc:EncryptedData xmlns:xenc="http://www.w3.org/2001/04/xmlenc#">'
            '<xenc:EncryptionMethod Algorithm="http://www.w3.org/2009/xmlenc11#aes256-gcm"/>'
            '<ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><xenc:EncryptedKey>'
            '<xenc:EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p"/>'
            f"<xenc:CipherData><xenc:CipherValue>{b64encode(wrapped).decode()}</xenc:CipherValue>"
            "</xenc:CipherData></xenc:EncryptedKey></ds:KeyInfo>"
            f"<xenc:CipherData><xenc:CipherValue>{b64encode(cipher).decode()}</xenc:CipherValue>"
            "</xenc:CipherData></xenc:EncryptedData></saml:EncryptedAssertion>"
        )
    )
    return bytes(etree.tostring(response))


def test_an_encrypted_assertion_needs_our_key_and_its_own_signature() -> None:
    def decrypt(element: etree._Element) -> etree._Element:
        return decrypt_assertion(element, [rsa_key("old"), rsa_key("sp")])

    assert verify(encrypted("sp"), decrypt=decrypt).name_id == "person-1"
    with pytest.raises(ResponseInvalid):
        verify(encrypted("sp"))
    with pytest.raises(ResponseInvalid):
        verify(encrypted("stranger"), decrypt=decrypt)


def test_our_request_is_signed_and_compressed() -> None:
    xml = render_request("id-1", PROVIDER, base_url=BASE, name_id_format="f", now=NOW)
    url = render_redirect(xml, PROVIDER, relay_state="state", key=rsa_key("sp"))
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    assert query["tenant"] == ["1"]
    assert query["RelayState"] == ["state"]
    root = etree.fromstring(decompress(b64decode(query["SAMLRequest"][0]), -15))
    assert root.get("AssertionConsumerServiceURL") == ACS
    text = parts.query.removeprefix("tenant=1&").rpartition("&Signature=")[0]
    rsa_key("sp").public_key().verify(
        b64decode(query["Signature"][0]), text.encode(), padding.PKCS1v15(), hashes.SHA256()
    )


def test_our_certificate_follows_from_key_and_host() -> None:
    key = rsa_key("sp")
    assert make_certificate(key, BASE) == make_certificate(key, BASE + "/")
    document = render_service_provider(BASE, [make_certificate(key, BASE)], encryption=False)
    root = etree.fromstring(document)
    assert root.get("entityID") == AUDIENCE
    assert b'use="signing"' in document
    assert b'use="encryption"' not in document


def test_private_keys_are_checked() -> None:
    der = rsa_key("sp").private_bytes(
        Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    )
    assert parse_private_key(b64encode(der).decode()).key_size == 2048
    for text in ("", "AAAA", "not base64!"):
        with pytest.raises(SamlKeyInvalid):
            parse_private_key(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<a/>",
        "<EntityDescriptor xmlns='urn:oasis:names:tc:SAML:2.0:metadata'/>",
        metadata()[:200],
    ],
)
def test_bad_metadata_is_refused(text: str) -> None:
    with pytest.raises(MetadataInvalid):
        parse_identity_provider(text)


def test_durations() -> None:
    assert parse_duration("PT6H") == timedelta(hours=6)
    assert parse_duration("P1DT1S") == timedelta(days=1, seconds=1)
    assert parse_duration("P") is None
    assert parse_duration("soon") is None
