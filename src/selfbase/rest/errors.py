"""The errors of the REST interface: codes, statuses and words are wire contract.

`RestFailure` is the only failure that leaves the stages.  What the database says becomes one in
`logic/database_errors`.  Source: reference/rest.md section 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from selfbase.kit.failures import Failure


class RestFailure(Failure):
    """An error in the envelope `code, details, hint, message`."""

    def __init__(
        self,
        code: str,
        status: int,
        message: str,
        details: Any = None,
        hint: Any = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message, code=code, status=status, details=details, headers=headers)
        self.hint = hint


def query_failure(message: str, details: str) -> RestFailure:
    return RestFailure("PGRST100", 400, message, details)


def invalid_body(message: str) -> RestFailure:
    return RestFailure("PGRST102", 400, message)


def range_failure(details: str) -> RestFailure:
    return RestFailure("PGRST103", 416, "Requested range not satisfiable", details)


def invalid_put_filters() -> RestFailure:
    return RestFailure(
        "PGRST105",
        405,
        "Filters must include all and only primary key columns with 'eq' operators",
    )


def unacceptable_schema(schema: str, exposed: Sequence[str]) -> RestFailure:
    return RestFailure(
        "PGRST106",
        406,
        f"Invalid schema: {schema}",
        None,
        "Only the following schemas are exposed: " + ", ".join(exposed),
    )


def unacceptable_media(accepted: Sequence[str]) -> RestFailure:
    return RestFailure(
        "PGRST107", 406, "None of these media types are available: " + ", ".join(accepted)
    )


def not_embedded(name: str) -> RestFailure:
    return RestFailure(
        "PGRST108",
        400,
        f"'{name}' is not an embedded resource in this request",
        None,
        f"Verify that '{name}' is included in the 'select' query parameter.",
    )


def not_singular(rows: int) -> RestFailure:
    return RestFailure(
        "PGRST116",
        406,
        "Cannot coerce the result to a single JSON object",
        f"The result contains {rows} rows",
    )


def put_mismatch() -> RestFailure:
    return RestFailure("PGRST115", 400, "Payload values do not match URL in primary key column(s)")


def too_many_affected(rows: int) -> RestFailure:
    return RestFailure(
        "PGRST124",
        400,
        "Query result exceeds max-affected preference constraint",
        f"The query affects {rows} rows",
    )


def not_implemented(feature: str) -> RestFailure:
    return RestFailure("PGRST127", 400, "Feature not implemented", feature)


def schema_cache_missing(retry_s: int = 1) -> RestFailure:
    return RestFailure(
        "PGRST002",
        503,
        "Could not query the database for the schema cache. Retrying.",
        headers=(("Retry-After", str(retry_s)),),
    )
