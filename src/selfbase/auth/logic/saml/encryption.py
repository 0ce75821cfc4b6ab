"""Decrypting an assertion that was encrypted for us (XML Encryption 1.1).

Every way to fail gives the same answer, so that a sender learns nothing about a ciphertext that is
not theirs; what comes out still needs a signature of its own or of the response.  RSA 1.5 key
transport is refused: it cannot be decrypted without telling (Bleichenbacher).
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from selfbase.auth.logic.saml.response import ResponseInvalid
from selfbase.auth.logic.saml.xml import DS, XENC, Element, child, parse_xml, tag, text_of

_OAEP = {XENC + "rsa-oaep-mgf1p", "http://www.w3.org/2009/xmlenc11#rsa-oaep"}
_HASHES: Final[dict[str, type[hashes.HashAlgorithm]]] = {
    DS + "sha1": hashes.SHA1,
    XENC + "sha256": hashes.SHA256,
    XENC + "sha512": hashes.SHA512,
}
_MGF: Final[dict[str, type[hashes.HashAlgorithm]]] = {
    "http://www.w3.org/2009/xmlenc11#mgf1sha1": hashes.SHA1,
    "http://www.w3.org/2009/xmlenc11#mgf1sha256": hashes.SHA256,
    "http://www.w3.org/2009/xmlenc11#mgf1sha512": hashes.SHA512,
}
_GCM: Final = {
    "http://www.w3.org/2009/xmlenc11#aes128-gcm": 16,
    "http://www.w3.org/2009/xmlenc11#aes192-gcm": 24,
    "http://www.w3.org/2009/xmlenc11#aes256-gcm": 32,
}
_CBC: Final = {XENC + "aes128-cbc": 16, XENC + "aes192-cbc": 24, XENC + "aes256-cbc": 32}


def decrypt_assertion(encrypted: Element, keys: Sequence[rsa.RSAPrivateKey]) -> Element:
    """The assertion inside an EncryptedAssertion, by the first key that fits.
    Raises ResponseInvalid."""
    for key in keys:
        try:
            return parse_xml(_decrypt(encrypted, key))
        except Exception:  # noqa: S112  # one answer for every failure, see above
            continue
    raise ResponseInvalid("the assertion cannot be decrypted")


def _decrypt(encrypted: Element, key: rsa.RSAPrivateKey) -> bytes:
    data = child(encrypted, "xenc:EncryptedData")
    if data is None:
        raise ResponseInvalid("no encrypted data")
    wrapped = data.find(f".//{tag(XENC, 'EncryptedKey')}")
    if wrapped is None:
        wrapped = child(encrypted, "xenc:EncryptedKey")
    session_key = _unwrap_key(wrapped, key)
    algorithm = _algorithm(data)
    cipher = b64decode(text_of(child(data, "xenc:CipherData/xenc:CipherValue")))
    if algorithm in _GCM and len(session_key) == _GCM[algorithm]:
        return AESGCM(session_key).decrypt(cipher[:12], cipher[12:], None)
    if algorithm in _CBC and len(session_key) == _CBC[algorithm]:
        decryptor = Cipher(algorithms.AES(session_key), modes.CBC(cipher[:16])).decryptor()
        padded = decryptor.update(cipher[16:]) + decryptor.finalize()
        size = padded[-1]
        if not 1 <= size <= 16:
            raise InvalidTag
        return padded[:-size]
    raise ResponseInvalid("unknown encryption")


def _algorithm(element: Element) -> str:
    method = child(element, "xenc:EncryptionMethod")
    return "" if method is None else method.get("Algorithm") or ""


def _unwrap_key(wrapped: Element, key: rsa.RSAPrivateKey) -> bytes:
    if _algorithm(wrapped) not in _OAEP:
        raise ResponseInvalid("unknown key transport")
    method = child(wrapped, "xenc:EncryptionMethod")
    assert method is not None
    digest_element = child(method, "ds:DigestMethod")
    digest = DS + "sha1" if digest_element is None else digest_element.get("Algorithm") or ""
    mgf_element = method.find("{http://www.w3.org/2009/xmlenc11#}MGF")
    mgf = hashes.SHA1 if mgf_element is None else _MGF[mgf_element.get("Algorithm") or ""]
    cipher = b64decode(text_of(child(wrapped, "xenc:CipherData/xenc:CipherValue")))
    return key.decrypt(
        cipher,
        padding.OAEP(padding.MGF1(mgf()), _HASHES[digest](), None),
    )
