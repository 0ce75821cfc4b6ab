"""What goes wrong in the metadata API, and the body its clients know: `{"error": message}`.

Source: reference/meta.md sections 4 and 5.
"""

from __future__ import annotations

from typing import Any

from selfbase.kit.failures import Failure


class MetaFailure(Failure):
    """Base of all.  `fields` are further members of the body."""

    code = "meta"
    status = 400

    def __init__(self, message: str | None = None, *, status: int | None = None, **fields: Any):
        super().__init__(message, status=status)
        self.fields = fields


class BadRequest(MetaFailure):
    """The request makes no sense; the message says why."""

    code = "bad_request"


class NotFound(MetaFailure):
    """No such object, or the login role may not see it."""

    code = "not_found"
    status = 404
    message = "Not found"


class Unauthorized(MetaFailure):
    code = "unauthorized"
    status = 401
    message = "Invalid authentication credentials"


class Forbidden(MetaFailure):
    code = "forbidden"
    status = 403
    message = "You cannot consume this service"


class ReadOnly(MetaFailure):
    """This request may only read."""

    code = "read_only"
    status = 403
    message = "This connection is read-only"


class UnsupportedBody(MetaFailure):
    code = "unsupported_media_type"
    status = 415
    message = "Unsupported Media Type: send the body as application/json"


class QueryMissing(MetaFailure):
    """Parity: 500, as upstream answers an empty query."""

    code = "query_missing"
    status = 500
    message = "query not found"


class ConnectionUnreadable(MetaFailure):
    """The connection header cannot be decrypted, or holds no URL."""

    code = "connection_unreadable"
    status = 500
    message = "failed to process upstream connection details"


class ConnectionMissing(MetaFailure):
    code = "connection_missing"
    status = 500
    message = "failed to get upstream connection details"


class DatabaseUnavailable(MetaFailure):
    """Base of what keeps a request from its database, or the database from answering."""


class ConnectTimeout(DatabaseUnavailable):
    code = "connect_timeout"
    status = 504
    message = "Connection terminated due to connection timeout"


class ConnectRefused(DatabaseUnavailable):
    """The server cannot be reached, or does not take us."""

    code = "connect_refused"


class QueryTimeout(DatabaseUnavailable):
    """Nobody waits for the answer any more; the statement may still be running."""

    code = "query_timeout"
    status = 408
    message = "Query read timeout"


class TooManyClients(DatabaseUnavailable):
    """PostgreSQL has no connection left."""

    code = "too_many_clients"
    status = 503
    message = "sorry, too many clients already"


class Overloaded(DatabaseUnavailable):
    """All of this service's connections stayed busy."""

    code = "overloaded"
    status = 503
    message = "Too many metadata requests are running; try again later"


class ResultTooLarge(MetaFailure):
    code = "result_too_large"
    status = 400

    def __init__(self, result_bytes: int, bytes_max: int) -> None:
        super().__init__(
            f"Query result size ({result_bytes} bytes) exceeded the configured limit"
            f" ({bytes_max} bytes)",
            code="RESULT_SIZE_EXCEEDED",
            resultSize=result_bytes,
            maxResultSize=bytes_max,
        )


class SqlRefused(MetaFailure):
    """PostgreSQL refused the SQL.  `fields` are what it said, by their names on the wire."""

    code = "sql"

    def __init__(self, fields: dict[str, Any], *, status: int = 400) -> None:
        super().__init__(str(fields.get("message", "")), status=status)
        self.fields = fields
