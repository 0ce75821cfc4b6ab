"""The sign-in request we send the browser away with (SAML bindings 3.4, HTTP-Redirect)."""

from __future__ import annotations

import zlib
from base64 import b64encode
from datetime import datetime
from urllib.parse import urlencode

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from lxml import etree

from selfbase.auth.logic.saml.metadata import (
    POST_BINDING,
    IdentityProvider,
    acs_url_of,
    entity_id_of,
    render_instant,
)
from selfbase.auth.logic.saml.xml import SAML, SAMLP, tag

RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"


def render_request(
    request_id: str,
    provider: IdentityProvider,
    *,
    base_url: str,
    name_id_format: str,
    now: datetime,
) -> bytes:
    """An AuthnRequest.  `request_id` must begin with a letter or underscore."""
    root = etree.Element(
        tag(SAMLP, "AuthnRequest"),
        {
            "ID": request_id,
            "Version": "2.0",
            "IssueInstant": render_instant(now),
            "Destination": provider.sso_redirect_url,
            "AssertionConsumerServiceURL": acs_url_of(base_url),
            "ProtocolBinding": POST_BINDING,
        },
        {"saml": SAML, "samlp": SAMLP},
    )
    etree.SubElement(root, tag(SAML, "Issuer")).text = entity_id_of(base_url)
    etree.SubElement(
        root, tag(SAMLP, "NameIDPolicy"), {"Format": name_id_format, "AllowCreate": "true"}
    )
    return bytes(etree.tostring(root))


def render_redirect(
    request_xml: bytes, provider: IdentityProvider, *, relay_state: str, key: rsa.RSAPrivateKey
) -> str:
    """The signed address of the identity provider."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = compressor.compress(request_xml) + compressor.flush()
    signed = urlencode(
        [
            ("SAMLRequest", b64encode(deflated).decode()),
            ("RelayState", relay_state),
            ("SigAlg", RSA_SHA256),
        ]
    )
    signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    query = f"{signed}&{urlencode({'Signature': b64encode(signature).decode()})}"
    separator = "&" if "?" in provider.sso_redirect_url else "?"
    return f"{provider.sso_redirect_url}{separator}{query}"
