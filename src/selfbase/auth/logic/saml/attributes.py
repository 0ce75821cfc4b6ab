"""Who an assertion is about: the stable id, the e-mail address, and mapped attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfbase.auth.logic.idtokens import read_standard
from selfbase.auth.logic.providers.profile import Email, Profile
from selfbase.auth.logic.saml.metadata import EMAIL, TRANSIENT
from selfbase.auth.logic.saml.response import Assertion

SUBJECT_ID = "urn:oasis:names:tc:SAML:attribute:subject-id"
_EMAIL_NAMES = (
    "urn:oid:0.9.2342.19200300.100.1.3",
    "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress",
    "http://schemas.xmlsoap.org/claims/EmailAddress",
    "mail",
    "email",
)
KEYS_MAX = 200


class MappingInvalid(Exception):
    """An attribute mapping that makes no sense; the text is for the operator."""


def attribute_values(assertion: Assertion, name: str) -> list[str]:
    """All values of an attribute, found by name or friendly name in any case."""
    wanted = name.lower()
    return [
        value
        for attribute in assertion.attributes
        if wanted in (attribute.name.lower(), attribute.friendly_name.lower())
        for value in attribute.values
    ]


def find_user_id(assertion: Assertion) -> str:
    """The provider's lasting id of the person: the subject-id attribute, or else the NameID unless
    it changes with every sign-in.  "" when there is none."""
    subject_ids = attribute_values(assertion, SUBJECT_ID)
    if subject_ids:
        return subject_ids[0]
    if assertion.name_id_format == TRANSIENT:
        return ""
    if assertion.name_id_format == EMAIL:
        return assertion.name_id.lower()
    return assertion.name_id


def find_email(assertion: Assertion) -> str:
    for name in _EMAIL_NAMES:
        for value in attribute_values(assertion, name):
            if value:
                return value
    return assertion.name_id if assertion.name_id_format == EMAIL else ""


def require_mapping(value: Any) -> dict[str, Any]:
    """`{keys: {claim: {name, names, default, array}}}`, empty when absent.
    Raises MappingInvalid."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not isinstance(value.get("keys", {}), Mapping):
        raise MappingInvalid("attribute_mapping must be an object with keys")
    keys = value.get("keys", {})
    if len(keys) > KEYS_MAX:
        raise MappingInvalid(f"attribute_mapping may hold at most {KEYS_MAX} keys")
    for claim, rule in keys.items():
        if not isinstance(rule, Mapping):
            raise MappingInvalid(f"attribute_mapping.keys.{claim} must be an object")
        names = rule.get("names") or []
        if not isinstance(rule.get("name", ""), str) or not isinstance(names, list):
            raise MappingInvalid(f"attribute_mapping.keys.{claim} needs a name or a list of names")
        if not all(isinstance(name, str) for name in names):
            raise MappingInvalid(f"attribute_mapping.keys.{claim}.names must hold texts")
    return {"keys": {claim: dict(rule) for claim, rule in keys.items()}} if keys else {}


def map_attributes(assertion: Assertion, mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Claims by the operator's mapping: of each rule the first name with a non-empty value."""
    claims: dict[str, Any] = {}
    for claim, rule in (mapping.get("keys") or {}).items():
        names = [name for name in [rule.get("name"), *(rule.get("names") or [])] if name]
        for name in names:
            values = [value for value in attribute_values(assertion, name) if value]
            if values:
                claims[claim] = values if rule.get("array") else values[0]
                break
        else:
            if rule.get("default") is not None:
                claims[claim] = rule["default"]
    return claims


def read_assertion_profile(
    assertion: Assertion, *, user_id: str, email: str, claims: Mapping[str, Any]
) -> Profile:
    """The profile of an assertion; what is not a standard claim goes to `custom_claims`.

    Which identity it is follows from issuer and user id alone, whatever the mapping says.
    """
    standard = read_standard(claims).claims
    for name in ("iss", "sub", "aud", "iat", "exp", "email", "phone_verified", "provider_id"):
        standard.pop(name, None)
    known = {*standard, "email", "email_verified", "phone_verified", "iss", "sub"}
    custom = {name: value for name, value in claims.items() if name not in known}
    made = {
        **standard,
        "iss": assertion.issuer,
        "sub": user_id,
        "email_verified": True,
        "phone_verified": False,
    }
    if custom:
        made["custom_claims"] = custom
    return Profile(made, (Email(email, verified=True),))
