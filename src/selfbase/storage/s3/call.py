"""One S3 request on its way through its operation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from selfbase.http.values import Request
from selfbase.storage.call import Actor
from selfbase.storage.context import Context
from selfbase.storage.s3.authenticate import Proof
from selfbase.storage.s3.errors import InvalidArgument
from selfbase.storage.s3.payload import Payload, open_payload

META = "x-amz-meta-"


@dataclass(frozen=True, slots=True)
class S3Call:
    """`query` holds the first value of each parameter; `headers` the headers, and those that a
    presigned URL carries in its query, by lower-case name."""

    request: Request
    context: Context
    actor: Actor
    proof: Proof
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]

    def payload(self, *, of_object: bool = True) -> Payload:
        """The body, to be read once.  With `of_object` off, checksum headers speak of something
        else than the body.  Raises MissingContentLength."""
        return open_payload(self.request, self.proof, of_object=of_object)

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """A query parameter as a whole number.  Raises InvalidArgument."""
        text = self.query.get(name)
        if text is None or text == "":
            return default
        if not (text.isascii() and text.isdigit()) or not low <= int(text) <= high:
            raise InvalidArgument(f"{name} must be an integer between {low} and {high}")
        return int(text)

    def user_metadata(self) -> dict[str, str]:
        """What the `x-amz-meta-` headers say; text beyond ASCII is taken for UTF-8."""
        return read_metadata(self.headers)


def read_metadata(headers: Mapping[str, str]) -> dict[str, str]:
    """User metadata by name, from headers or form fields with lower-case names."""
    found = {}
    for name, value in headers.items():
        if name.startswith(META):
            try:
                text = value.encode("latin-1").decode()
            except (UnicodeEncodeError, UnicodeDecodeError):
                text = value
            found[name.removeprefix(META)] = text
    return found


def collect_headers(request: Request) -> dict[str, str]:
    """The first value of each header, and of headers in disguise in a presigned query."""
    headers: dict[str, str] = {}
    for name, value in request.headers:
        headers.setdefault(name, value)
    for name, value in request.query_pairs():
        lower = name.lower()
        if lower.startswith("x-amz-") and not name.startswith("X-Amz-"):
            headers.setdefault(lower, value)
    return headers
