"""SQLSTATE becomes a typed failure once, here; services only choose the wire answer.

Source: PostgreSQL documentation, appendix A (error codes).
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from selfbase.kit.failures import Failure


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What PostgreSQL said of an error.  All text as sent by the server."""

    sqlstate: str
    message: str
    detail: str | None = None
    hint: str | None = None
    position: str | None = None
    schema: str | None = None
    table: str | None = None
    column: str | None = None
    constraint: str | None = None
    context: str | None = None
    severity: str | None = None


class DatabaseFailure(Failure):
    """PostgreSQL refused a statement.  `sqlstate` and `diagnosis` say why."""

    code = "database"
    status = 500

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(
            diagnosis.message,
            code=diagnosis.sqlstate,
            details=diagnosis.detail,
            hint=diagnosis.hint,
        )
        self.diagnosis = diagnosis

    @property
    def sqlstate(self) -> str:
        return self.diagnosis.sqlstate


class UniqueViolation(DatabaseFailure):
    status = 409


class ForeignKeyViolation(DatabaseFailure):
    status = 409


class ConstraintViolation(DatabaseFailure):
    """Any other integrity constraint (class 23)."""

    status = 400


class InsufficientPrivilege(DatabaseFailure):
    """No right on the object, or a row level security policy said no (42501)."""

    status = 403


class ReadOnlyTransaction(DatabaseFailure):
    status = 405


class QueryCanceled(DatabaseFailure):
    """Cancelled by a timeout, by us because the client left, or by an administrator (57014)."""

    status = 500


class SerializationFailure(DatabaseFailure):
    """40001 or 40P01: the same transaction may succeed when tried again."""

    status = 500


class UndefinedObject(DatabaseFailure):
    """A table, function or column that is not there (42P01, 42883, 42703)."""

    status = 404


class LockNotAvailable(DatabaseFailure):
    status = 409


class ConnectionLost(DatabaseFailure):
    """The connection broke.  `sent` tells whether the statement may have reached the server."""

    status = 503

    def __init__(self, message: str, *, sent: bool, sqlstate: str = "08006") -> None:
        super().__init__(Diagnosis(sqlstate, message))
        self.sent = sent


class DatabaseUnavailable(DatabaseFailure):
    """No connection could be opened: the server is down, starting, stopping, or full."""

    status = 503

    def __init__(self, message: str, sqlstate: str = "08001") -> None:
        super().__init__(Diagnosis(sqlstate, message))


class PoolTimeout(DatabaseFailure):
    """All connections stayed busy for longer than a request may wait."""

    status = 504

    def __init__(self, waited_s: float) -> None:
        super().__init__(
            Diagnosis("53300", f"No database connection became free within {waited_s:g} seconds")
        )


_BY_STATE: dict[str, type[DatabaseFailure]] = {
    "23505": UniqueViolation,
    "23P01": UniqueViolation,
    "23503": ForeignKeyViolation,
    "42501": InsufficientPrivilege,
    "25006": ReadOnlyTransaction,
    "57014": QueryCanceled,
    "40001": SerializationFailure,
    "40P01": SerializationFailure,
    "42P01": UndefinedObject,
    "42883": UndefinedObject,
    "42703": UndefinedObject,
    "55P03": LockNotAvailable,
}
# The server is going away or full: nothing wrong with the statement.
_DOWN = frozenset({"57P01", "57P02", "57P03", "53300"})


def failure_from_diagnosis(diagnosis: Diagnosis) -> DatabaseFailure:
    """The typed failure of one server error."""
    state = diagnosis.sqlstate
    if state in _BY_STATE:
        return _BY_STATE[state](diagnosis)
    if state in _DOWN:
        return DatabaseUnavailable(diagnosis.message, state)
    if state.startswith("08"):
        return ConnectionLost(diagnosis.message, sent=True, sqlstate=state)
    if state.startswith("23"):
        return ConstraintViolation(diagnosis)
    return DatabaseFailure(diagnosis)


def failure_from_psycopg(error: psycopg.Error) -> DatabaseFailure:
    """The typed failure of an error raised by psycopg."""
    diag = error.diag
    if diag.sqlstate is None:
        return ConnectionLost(str(error).strip() or "connection lost", sent=True)
    return failure_from_diagnosis(
        Diagnosis(
            sqlstate=diag.sqlstate,
            message=diag.message_primary or "",
            detail=diag.message_detail,
            hint=diag.message_hint,
            position=diag.statement_position,
            schema=diag.schema_name,
            table=diag.table_name,
            column=diag.column_name,
            constraint=diag.constraint_name,
            context=diag.context,
            severity=diag.severity_nonlocalized,
        )
    )
