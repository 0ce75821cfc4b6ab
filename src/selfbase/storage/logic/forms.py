"""A multipart form as it arrives: text fields first, then one file whose bytes are passed on.

Bytes go in, values come out; nothing is read here.  Limits hold while parsing: a form cannot make
us keep more than its few text fields.  Source: RFC 7578; parser: `python-multipart`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from selfbase.storage.errors import EntityTooLarge, InvalidRequest

FIELDS_MAX = 10
FIELD_BYTES_MAX = 1024 * 1024 + 1024
HEADER_BYTES_MAX = 16 * 1024
# What a form adds to its file: boundaries, headers and fields.
OVERHEAD_MAX = FIELDS_MAX * FIELD_BYTES_MAX + 64 * 1024


@dataclass(slots=True)
class FormState:
    """What has come out of a form so far.

    `file_type` is set once the file's headers are complete; `pieces` are bytes of the file that
    nobody took yet; `is_file_over` and `is_over` tell that the file, and the form, are complete.
    """

    fields: dict[str, str] = field(default_factory=dict)
    file_type: str | None = None
    pieces: list[bytes] = field(default_factory=list)
    is_file_over: bool = False
    is_over: bool = False


class Form:
    """Parses one form.  `feed` raises InvalidRequest and EntityTooLarge."""

    def __init__(self, content_type: str, *, fields_max: int = FIELDS_MAX) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if not boundary:
            raise InvalidRequest("Multipart: Boundary not found")
        self.state = FormState()
        self._fields_max = fields_max
        self._headers: dict[str, bytes] = {}
        self._header_bytes = 0
        self._name = bytearray()
        self._value = bytearray()
        self._field_name: str | None = None
        self._field = bytearray()
        self._in_file = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of the body."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise InvalidRequest("Malformed part header or boundary") from error

    def close(self) -> None:
        """Says that the body is over.  Raises InvalidRequest for a form that is not: a torn file
        is never stored."""
        if not self.state.is_over:
            raise InvalidRequest("Unexpected end of form")

    @property
    def waiting_bytes(self) -> int:
        """How much of the file nobody took yet."""
        return sum(map(len, self.state.pieces))

    def take(self) -> list[bytes]:
        """The bytes of the file since the last call."""
        pieces, self.state.pieces = self.state.pieces, []
        return pieces

    def _on_part_begin(self) -> None:
        self._headers = {}
        self._header_bytes = 0
        self._field_name = None
        self._field = bytearray()
        self._in_file = False

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += self._counted(data[start:end])

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += self._counted(data[start:end])

    def _counted(self, data: bytes) -> bytes:
        self._header_bytes += len(data)
        if self._header_bytes > HEADER_BYTES_MAX:
            raise InvalidRequest("Malformed part header")
        return data

    def _on_header_end(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = bytes(self._value)
        self._name = bytearray()
        self._value = bytearray()

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition", b""))
        declared = self._headers.get("content-type")
        is_file = b"filename" in options or b"filename*" in options
        if is_file or (declared or b"").startswith(b"application/octet-stream"):
            if self.state.file_type is None:
                text = (declared or b"application/octet-stream").decode("utf-8", "replace")
                self.state.file_type = text
                self._in_file = True
            return
        if len(self.state.fields) >= self._fields_max:
            raise InvalidRequest("reach fields limit")
        self._field_name = options.get(b"name", b"").decode("utf-8", "replace")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self.state.pieces.append(data[start:end])
        elif self._field_name is not None:
            self._field += data[start:end]
            if len(self._field) > FIELD_BYTES_MAX:
                raise EntityTooLarge("The user_metadata exceeded the maximum allowed size")

    def _on_part_end(self) -> None:
        if self._in_file:
            self.state.is_file_over = True
        elif self._field_name is not None:
            self.state.fields.setdefault(self._field_name, self._field.decode("utf-8", "replace"))

    def _on_end(self) -> None:
        self.state.is_over = True
