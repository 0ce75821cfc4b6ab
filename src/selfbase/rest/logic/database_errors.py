"""What PostgreSQL refuses, in the words and statuses of the REST interface.

Source: reference/rest.md sections 5.3 and 5.4.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from selfbase.database.failures import (
    ConnectionLost,
    DatabaseFailure,
    DatabaseUnavailable,
    PoolTimeout,
)
from selfbase.rest.errors import (
    RestFailure,
    not_singular,
    put_mismatch,
    too_many_affected,
)

_EXACT = {
    "23503": 409,
    "23505": 409,
    "25006": 405,
    "53400": 500,
    "57P01": 503,
    "42P17": 500,
    "42883": 404,
    "42P01": 404,
    "P0001": 400,
}
_CLASS = {
    "08": 503,
    "09": 500,
    "0L": 403,
    "0P": 403,
    "25": 500,
    "2D": 500,
    "38": 500,
    "39": 500,
    "3B": 500,
    "28": 403,
    "40": 500,
    "53": 503,
    "54": 500,
    "55": 500,
    "57": 500,
    "58": 500,
    "F0": 500,
    "HV": 500,
    "P0": 500,
    "XX": 500,
}
_UNKNOWN_ROLE = re.compile(r'^role ".*" does not exist$', re.DOTALL)
_BEARER = (("WWW-Authenticate", "Bearer"),)
_RETRY = (("Retry-After", "1"),)


def render_database_failure(
    failure: DatabaseFailure, *, authenticated: bool, mark: str
) -> RestFailure:
    """`authenticated` tells whether the caller is more than the anonymous role; `mark` begins the
    verdicts of `render_request`."""
    if isinstance(failure, PoolTimeout):
        return RestFailure(
            "PGRST003",
            504,
            "Timed out acquiring connection from connection pool.",
        )
    if isinstance(failure, DatabaseUnavailable):
        return RestFailure(
            "PGRST000", 503, "Database connection error.", failure.message, headers=_RETRY
        )
    if isinstance(failure, ConnectionLost):
        return RestFailure(
            "PGRST001",
            503,
            "Database client error. Retrying the connection.",
            failure.message,
            headers=_RETRY,
        )
    state = failure.sqlstate
    if state == "22P02":
        verdict = _find_verdict(failure.message, mark)
        if verdict is not None:
            return verdict
    if state == "PGRST":
        return _read_raised(failure)
    status = _decide_status(state, failure.message, authenticated)
    headers = _BEARER if status == 401 else _RETRY if status == 503 else ()
    return RestFailure(state, status, failure.message, failure.details, failure.hint, headers)


def _decide_status(state: str, message: str, authenticated: bool) -> int:
    if state.startswith("PT"):
        digits = state[2:]
        return int(digits) if digits.isdecimal() and 100 <= int(digits) <= 599 else 500
    if state == "42501":
        return 403 if authenticated else 401
    if state == "21000":
        return 400 if message.endswith("requires a WHERE clause") else 500
    if state == "22023":
        return 401 if _UNKNOWN_ROLE.match(message) else 400
    if state == "42883" and message.startswith("function xmlagg("):
        return 406
    exact = _EXACT.get(state)
    return exact if exact is not None else _CLASS.get(state[:2], 400)


def _find_verdict(message: str, mark: str) -> RestFailure | None:
    found = re.search(rf'{re.escape(mark)} (PGRST\d+) (\d+)"?$', message)
    if found is None:
        return None
    rows = int(found[2])
    if found[1] == "PGRST116":
        return not_singular(rows)
    if found[1] == "PGRST115":
        return put_mismatch()
    return too_many_affected(rows)


def _read_raised(failure: DatabaseFailure) -> RestFailure:
    """`RAISE SQLSTATE 'PGRST'`: the message is the body, the detail is status and headers."""
    body = _read_object(failure.message)
    if body is None or not _is_text(body.get("code")) or not _is_text(body.get("message")):
        return _bad_raise(
            f"Invalid JSON value for MESSAGE: '{failure.message}'",
            "MESSAGE must be a JSON object with obligatory keys: 'code', 'message' and optional"
            " keys: 'details', 'hint'.",
        )
    advice = (
        "DETAIL must be a JSON object with obligatory keys: 'status', 'headers' and optional key:"
        " 'status_text'."
    )
    if failure.diagnosis.detail is None:
        return _bad_raise("DETAIL is missing in the RAISE statement", advice)
    detail = _read_object(failure.diagnosis.detail)
    status = detail.get("status") if detail else None
    headers = detail.get("headers") if detail else None
    if (
        not isinstance(status, int)
        or isinstance(status, bool)
        or not 100 <= status <= 599
        or not isinstance(headers, dict)
        or not all(_is_text(value) for value in headers.values())
    ):
        return _bad_raise(f"Invalid JSON value for DETAIL: '{failure.diagnosis.detail}'", advice)
    return RestFailure(
        body["code"],
        status,
        body["message"],
        body.get("details"),
        body.get("hint"),
        [(name, value) for name, value in headers.items() if is_header(name, value)],
    )


def _bad_raise(details: str, hint: str) -> RestFailure:
    return RestFailure(
        "PGRST121",
        500,
        "Could not parse JSON in the \"RAISE SQLSTATE 'PGRST'\" error",
        details,
        hint,
    )


def _read_object(text: str) -> dict[str, Any] | None:
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _is_text(value: object) -> bool:
    return isinstance(value, str)


_HEADER_NAME = re.compile(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
_HEADER_VALUE = re.compile(r"^[^\x00-\x08\x0a-\x1f\x7f]*$")


def is_header(name: str, value: str) -> bool:
    """Whether a header from the database may be sent: one line, a proper name (RFC 9110 5.5)."""
    return bool(_HEADER_NAME.match(name) and _HEADER_VALUE.match(value))
