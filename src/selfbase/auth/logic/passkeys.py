"""WebAuthn: options for the browser, and judging what its authenticator answered.

The same ceremonies serve second factors and passkeys; they differ in where credentials are stored
and in what the authenticator is asked for.  Stored shapes are those of existing databases
(`SessionData` and `Credential` in JSON, byte strings in standard base64).  Source: W3C Web
Authentication Level 3, by way of the `webauthn` library, which is loaded with the first ceremony:
with all formats of attestation it is large.
"""

from __future__ import annotations

from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from webauthn.helpers.structs import PublicKeyCredentialDescriptor

CHALLENGE_BYTES = 32
TIMEOUT_MS = 300_000
CREDENTIAL_BYTES_MAX = 64 * 1024
_ZERO_AAGUID = "00000000-0000-0000-0000-000000000000"


class CeremonyInvalid(Exception):
    """The authenticator's answer does not hold; the text is for the log."""


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """Who we are to an authenticator.  `id` is a domain; `origins` are exact."""

    id: str
    name: str
    origins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Credential:
    """A registered public key."""

    id: bytes
    public_key: bytes
    sign_count: int = 0
    aaguid: str = _ZERO_AAGUID
    attestation_type: str = "none"
    transports: tuple[str, ...] = ()
    backup_eligible: bool = False
    backed_up: bool = False
    user_verified: bool = False


@dataclass(frozen=True, slots=True)
class Person:
    """The account as an authenticator shows it.  The handle is the user's id as text."""

    handle: str
    name: str
    display_name: str


def _descriptor(credential: Credential) -> PublicKeyCredentialDescriptor:
    from webauthn.helpers.structs import AuthenticatorTransport, PublicKeyCredentialDescriptor

    known = {transport.value for transport in AuthenticatorTransport}
    transports = [AuthenticatorTransport(t) for t in credential.transports if t in known]
    return PublicKeyCredentialDescriptor(id=credential.id, transports=transports or None)


def render_registration_options(
    party: RelyingParty,
    person: Person,
    challenge: bytes,
    existing: Sequence[Credential],
    *,
    discoverable: bool,
) -> dict[str, Any]:
    """PublicKeyCredentialCreationOptions in JSON; `discoverable` asks for a passkey."""
    from webauthn import generate_registration_options
    from webauthn.helpers import options_to_json_dict
    from webauthn.helpers.structs import (
        AttestationConveyancePreference,
        AuthenticatorSelectionCriteria,
        ResidentKeyRequirement,
        UserVerificationRequirement,
    )

    selection = (
        AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.PREFERRED,
        )
        if discoverable
        else AuthenticatorSelectionCriteria(user_verification=UserVerificationRequirement.PREFERRED)
    )
    options = generate_registration_options(
        rp_id=party.id,
        rp_name=party.name,
        user_name=person.name or person.handle,
        user_id=person.handle.encode(),
        user_display_name=person.display_name or person.name or person.handle,
        challenge=challenge,
        timeout=TIMEOUT_MS,
        attestation=AttestationConveyancePreference.NONE,
        authenticator_selection=selection,
        exclude_credentials=[_descriptor(credential) for credential in existing],
    )
    return options_to_json_dict(options)


def render_request_options(
    party: RelyingParty, challenge: bytes, allowed: Sequence[Credential]
) -> dict[str, Any]:
    """PublicKeyCredentialRequestOptions in JSON; nothing allowed by name means any passkey."""
    from webauthn import generate_authentication_options
    from webauthn.helpers import options_to_json_dict
    from webauthn.helpers.structs import UserVerificationRequirement

    options = generate_authentication_options(
        rp_id=party.id,
        challenge=challenge,
        timeout=TIMEOUT_MS,
        allow_credentials=[_descriptor(credential) for credential in allowed],
        user_verification=UserVerificationRequirement.PREFERRED,
    )
    return options_to_json_dict(options)


def verify_registration(
    party: RelyingParty, answer: Mapping[str, Any], challenge: bytes
) -> Credential:
    """The new credential.  Raises CeremonyInvalid."""
    from webauthn import verify_registration_response
    from webauthn.helpers.structs import AttestationFormat, CredentialDeviceType

    try:
        verified = verify_registration_response(
            credential=dict(answer),
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=list(party.origins),
        )
    except Exception as error:  # malformed CBOR raises many kinds; all mean no
        raise CeremonyInvalid(f"{type(error).__name__}: {error}") from None
    return Credential(
        id=verified.credential_id,
        public_key=verified.credential_public_key,
        sign_count=verified.sign_count,
        aaguid=verified.aaguid,
        attestation_type=AttestationFormat(verified.fmt).value,
        transports=_answered_transports(answer),
        backup_eligible=verified.credential_device_type == CredentialDeviceType.MULTI_DEVICE,
        backed_up=verified.credential_backed_up,
        user_verified=verified.user_verified,
    )


def _answered_transports(answer: Mapping[str, Any]) -> tuple[str, ...]:
    response = answer.get("response")
    listed = response.get("transports") if isinstance(response, Mapping) else None
    if not isinstance(listed, list):
        return ()
    return tuple(item for item in listed[:10] if isinstance(item, str) and len(item) <= 32)


def answered_credential_id(answer: Mapping[str, Any]) -> bytes | None:
    """The id of the credential an assertion says it used, unverified."""
    return _decode(answer.get("rawId")) or _decode(answer.get("id"))


def answered_user_handle(answer: Mapping[str, Any]) -> str | None:
    """The user an assertion says it is for, unverified: the credential's owner decides."""
    response = answer.get("response")
    raw = _decode(response.get("userHandle")) if isinstance(response, Mapping) else None
    try:
        return raw.decode("ascii") if raw else None
    except UnicodeDecodeError:
        return None


def _decode(text: Any) -> bytes | None:
    if not isinstance(text, str) or not text or len(text) > 4096:
        return None
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return None


def verify_assertion(
    party: RelyingParty, answer: Mapping[str, Any], challenge: bytes, credential: Credential
) -> int:
    """The authenticator's new signature count.  A count that does not grow means a cloned or
    replayed authenticator and is refused.  Raises CeremonyInvalid."""
    if answered_credential_id(answer) != credential.id:
        raise CeremonyInvalid("another credential")
    from webauthn import verify_authentication_response

    try:
        verified = verify_authentication_response(
            credential=dict(answer),
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=list(party.origins),
            credential_public_key=credential.public_key,
            credential_current_sign_count=credential.sign_count,
        )
    except Exception as error:  # malformed CBOR raises many kinds; all mean no
        raise CeremonyInvalid(f"{type(error).__name__}: {error}") from None
    return verified.new_sign_count


def render_session_data(
    challenge: bytes, party: RelyingParty, person_handle: str | None, expires_at: datetime
) -> dict[str, Any]:
    """What is remembered of a ceremony under way."""
    data: dict[str, Any] = {
        "challenge": urlsafe_b64encode(challenge).decode().rstrip("="),
        "rpId": party.id,
        "expires": expires_at.isoformat(),
        "userVerification": "preferred",
    }
    if person_handle is not None:
        data["user_id"] = b64encode(person_handle.encode()).decode()
    return data


def read_challenge(session_data: Mapping[str, Any] | None) -> bytes | None:
    """The challenge of a remembered ceremony, or None when the row holds none."""
    return _decode((session_data or {}).get("challenge"))


def render_credential(credential: Credential) -> dict[str, Any]:
    """A credential as the factor's column holds it."""
    return {
        "id": b64encode(credential.id).decode(),
        "publicKey": b64encode(credential.public_key).decode(),
        "attestationType": credential.attestation_type,
        "transport": list(credential.transports),
        "flags": {
            "userPresent": True,
            "userVerified": credential.user_verified,
            "backupEligible": credential.backup_eligible,
            "backupState": credential.backed_up,
        },
        "authenticator": {
            "AAGUID": b64encode(bytes.fromhex(credential.aaguid.replace("-", ""))).decode(),
            "signCount": credential.sign_count,
            "cloneWarning": False,
            "attachment": "",
        },
    }


def read_credential(stored: Mapping[str, Any]) -> Credential | None:
    """The credential in a factor's column; None when it is unreadable."""
    flags, authenticator = stored.get("flags") or {}, stored.get("authenticator") or {}
    try:
        return Credential(
            id=b64decode(stored["id"]),
            public_key=b64decode(stored["publicKey"]),
            sign_count=int(authenticator.get("signCount") or 0),
            attestation_type=str(stored.get("attestationType") or "none"),
            transports=tuple(stored.get("transport") or ()),
            backup_eligible=bool(flags.get("backupEligible")),
            backed_up=bool(flags.get("backupState")),
            user_verified=bool(flags.get("userVerified")),
        )
    except (KeyError, TypeError, ValueError):
        return None


# Names of common authenticators by AAGUID, for a passkey's first name.  Source: the public list of
# passkeydeveloper/passkey-authenticator-aaguids.
_AUTHENTICATORS: Mapping[str, str] = {
    "ea9b8d66-4d01-1d21-3ce4-b6b48cb575d4": "Google Password Manager",
    "adce0002-35bc-c60a-648b-0b25f1f05503": "Chrome on Mac",
    "fbfc3007-154e-4ecc-8c0b-6e020557d7bd": "iCloud Keychain",
    "dd4ec289-e01d-41c9-bb89-70fa845d4bf2": "iCloud Keychain (Managed)",
    "08987058-cadc-4b81-b6e1-30de50dcbe96": "Windows Hello",
    "9ddd1817-af5a-4672-a2b9-3e3dd95000a9": "Windows Hello",
    "6028b017-b1d4-4c02-b4b3-afcdafc96bb2": "Windows Hello",
    "bada5566-a7aa-401f-bd96-45619a55120d": "1Password",
    "d548826e-79b4-db40-a3d8-11116f7e8349": "Bitwarden",
    "531126d6-e717-415c-9320-3d9aa6981239": "Dashlane",
    "53414d53-554e-4700-0000-000000000000": "Samsung Pass",
    "b84e4048-15dc-4dd0-8640-f4f60813c8af": "NordPass",
    "0ea242b4-43c4-4a1b-8b17-dd6d0b6baec6": "Keeper",
    "fdb141b2-5d84-443e-8a35-4698c205a502": "KeePassXC",
    "50726f74-6f6e-5061-7373-50726f746f6e": "Proton Pass",
}


def name_authenticator(aaguid: str) -> str:
    """A first name for a new passkey."""
    return _AUTHENTICATORS.get(aaguid.lower(), "Passkey")
