"""The head of a response as bytes.  Pure.  Sources: RFC 9112 sections 4 to 6, RFC 9110 section 6.4.1."""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from selfbase.http.values import FileBody, Request, Response


def has_no_body(request: Request, response: Response) -> bool:
    """Whether nothing may follow the head, whatever the response holds."""
    status = response.status
    return request.method == "HEAD" or status == 204 or status == 304 or status < 200


def render_head(response: Response, second: int, *, bodyless: bool, closing: bool) -> bytes:
    """Status line and fields up to the empty line; framing, date and the end of a connection that
    is `closing` are added.  A field that would split the response is left out."""
    status, body = response.status, response.body
    head = _status_line(status)
    lines = 1 + len(response.headers)
    measured = status == 204 or status == 304
    for name, value in response.headers:
        head += f"{name}: {value}\r\n"
        measured = measured or (len(name) == 14 and name.lower() == "content-length")
    # One look at the whole costs less than one at each value.
    if head.count("\n") != lines or head.count("\r") != lines or "\0" in head:
        texts = [f"{name}: {value}" for name, value in response.headers]
        kept = [f"{text}\r\n" for text in texts if _is_one_line(text)]
        head = _status_line(status) + "".join(kept)
    if not measured:
        if isinstance(body, bytes):
            # To a HEAD, no body is no news about the length of what a GET would bring.
            if body or not bodyless:
                head += f"content-length: {len(body)}\r\n"
        elif isinstance(body, FileBody):
            head += f"content-length: {body.length}\r\n"
        elif not bodyless:
            head += "transfer-encoding: chunked\r\n"
    if closing:
        head += "connection: close\r\n"
    return (head + _last_lines(second)).encode("latin-1", "replace")


def _is_one_line(line: str) -> bool:
    return "\r" not in line and "\n" not in line and "\0" not in line


@lru_cache(maxsize=256)
def _status_line(status: int) -> str:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    return f"HTTP/1.1 {status} {phrase}\r\n"


@lru_cache(maxsize=2)
def _last_lines(second: int) -> str:
    return f"date: {formatdate(second, usegmt=True)}\r\n\r\n"
