"""The one base of every error a caller may see.

A failure is data: a public code, an HTTP status and words for the person who called.  It never
carries a stack trace, SQL or a secret.  Each service derives its own error table from `Failure`
and renders the body its clients expect; this module does not know any wire format.
"""

from __future__ import annotations

from collections.abc import Sequence


class Failure(Exception):
    """An expected failure with a public code and an HTTP status.

    `headers` are added to the answer (for example `Retry-After`).  `internal` goes to the log
    only and must still not hold secrets.
    """

    code: str = "internal"
    status: int = 500
    message: str = "Internal server error"

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        status: int | None = None,
        details: object = None,
        hint: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        internal: str | None = None,
    ) -> None:
        if message is not None:
            self.message = message
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status
        self.details = details
        self.hint = hint
        self.headers = tuple(headers)
        self.internal = internal
        super().__init__(self.message)


class ConfigurationError(Failure):
    """A setting is missing or makes no sense.  The message says which one and what to do."""

    code = "configuration"


class Unavailable(Failure):
    """Something we depend on is not there now; trying again later may help."""

    code = "unavailable"
    status = 503
    message = "Service temporarily unavailable"


def describe_origin(error: BaseException) -> str:
    """`file:line name > …`, innermost last: for the log, never for a caller."""
    trace = error.__traceback__
    places: list[str] = []
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return " > ".join(places[-6:])
