"""Our SAML key and the certificate that carries it.

The certificate follows from key and host alone: the same after every restart and on every machine,
because identity providers pin it.
"""

from __future__ import annotations

from base64 import b64decode
from datetime import UTC, datetime
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key
from cryptography.x509.oid import NameOID

KEY_BITS_MIN = 2048


class SamlKeyInvalid(Exception):
    """The configured private key cannot be used; the text is for the operator."""


def parse_private_key(text: str) -> rsa.RSAPrivateKey:
    """From base64 of PKCS#1 (or PKCS#8) DER.  Raises SamlKeyInvalid."""
    try:
        der = b64decode("".join(text.split()), validate=True)
    except ValueError:
        raise SamlKeyInvalid("SAML private key not in standard Base64 format") from None
    try:
        key = load_der_private_key(der, password=None)
    except (ValueError, TypeError):
        raise SamlKeyInvalid("SAML private key not in PKCS#1 format") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise SamlKeyInvalid("SAML private key is not an RSA key")
    if key.public_key().public_numbers().e != 0x10001:
        raise SamlKeyInvalid("SAML private key should use the 65537 (0x10001) RSA public exponent")
    if key.key_size < KEY_BITS_MIN:
        raise SamlKeyInvalid("SAML private key must be at least RSA 2048")
    return key


def make_certificate(key: rsa.RSAPrivateKey, external_url: str) -> x509.Certificate:
    """Self-signed, for the host of our address.  PKCS#1 v1.5 signatures are deterministic, so the
    same input gives the same bytes."""
    host = urlsplit(external_url).hostname or "localhost"
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, f"SAML 2.0 certificate for {host}"[:64])]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2200, 1, 1, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    return builder.sign(key, hashes.SHA256())
