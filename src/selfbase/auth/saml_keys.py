"""Our SAML keys, read once: checking an RSA key takes tens of milliseconds."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import rsa

from selfbase.auth.logic.saml.keys import parse_private_key

KEYS_MAX = 4


class SamlKeys:
    """Private keys by the text they were read from; a key and the next one are in use at most."""

    def __init__(self) -> None:
        self._keys: dict[str, rsa.RSAPrivateKey] = {}

    def read(self, text: str) -> rsa.RSAPrivateKey:
        """Raises SamlKeyInvalid."""
        key = self._keys.get(text)
        if key is None:
            key = parse_private_key(text)
            if len(self._keys) >= KEYS_MAX:
                self._keys.clear()
            self._keys[text] = key
        return key
