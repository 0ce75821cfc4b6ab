"""One request on its way through the metadata API: what handlers may read and use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from selfbase.http.values import JSON_UTF8, InvalidJson, Request, Response
from selfbase.meta.catalog import SYSTEM_SCHEMAS, Page
from selfbase.meta.connection import MetaConnection
from selfbase.meta.errors import BadRequest, ReadOnly, UnsupportedBody
from selfbase.meta.parser import Parser
from selfbase.meta.settings import MetaSettings
from selfbase.meta.targets import Target

Connect = Callable[["Call", float | None], AbstractAsyncContextManager[MetaConnection]]
_PAGE_MAX = 2**53


@dataclass(slots=True)
class Call:
    """A request with its route's names, and the way to the database it is meant for."""

    request: Request
    settings: MetaSettings
    operation: str
    target: Target | None
    open_connection: Connect
    parser: Parser

    @property
    def read_only(self) -> bool:
        """Whether this request may only read: by setting, or by the login it came with."""
        return self.settings.read_only or (self.target is not None and self.target.read_only)

    @asynccontextmanager
    async def connect(self, query_timeout_s: float | None = -1.0) -> AsyncIterator[MetaConnection]:
        """A connection of this request's own.  Without an argument the configured timeout holds;
        None waits without end.  Raises Overloaded, ConnectTimeout, MetaFailure."""
        timeout_s = self.settings.query_timeout_s if query_timeout_s == -1.0 else query_timeout_s
        async with self.open_connection(self, timeout_s) as connection:
            yield connection

    @asynccontextmanager
    async def connect_to_write(self) -> AsyncIterator[MetaConnection]:
        """As `connect`, inside one transaction.  Raises ReadOnly when this request may only read."""
        if self.read_only:
            raise ReadOnly
        async with self.connect() as connection, connection.transaction():
            yield connection

    def find_text(self, name: str) -> str | None:
        return self.request.query_value(name)

    def is_true(self, name: str, default: bool = False) -> bool:
        """Whether a flag is the word `true`; anything else given is false."""
        value = self.request.query_value(name)
        return default if value is None else value == "true"

    def read_count(self, name: str) -> int | None:
        """A whole number of the query string; absent or zero is None, as upstream reads it."""
        value = self.request.query_value(name)
        if value is None or value == "":
            return None
        if not value.isascii() or not value.isdigit() or int(value) > _PAGE_MAX:
            raise BadRequest(f"querystring/{name} must be integer")
        return int(value) or None

    def read_page(self, *, system: bool | None = None, **params: Any) -> Page:
        """Schemas and slice from the query string.  `included_schemas` wins over the excluded;
        system schemas are left out unless asked for."""
        included = self._read_names("included_schemas")
        excluded = self._read_names("excluded_schemas") or []
        with_system = self.is_true("include_system_schemas") if system is None else system
        if not with_system:
            excluded = [*SYSTEM_SCHEMAS, *excluded]
        return Page(
            included=included,
            excluded=None if included else excluded or None,
            limit=self.read_count("limit"),
            offset=self.read_count("offset"),
            params=params,
        )

    def _read_names(self, name: str) -> list[str] | None:
        value = self.request.query_value(name)
        return [part.strip() for part in value.split(",")] if value else None

    async def read_body(self) -> Any:
        """The JSON body.  Only the JSON media type is taken: a page of another origin can send
        any other one without asking first."""
        media = self.request.headers.get("content-type").split(";")[0].strip().lower()
        if media != "application/json":
            raise UnsupportedBody
        try:
            return await self.request.json(self.settings.body_bytes_max)
        except InvalidJson:
            raise BadRequest(
                "Body is not valid JSON but content-type is set to 'application/json'"
            ) from None


def answer_raw(body: bytes, status: int = 200) -> Response:
    """JSON that is rendered already."""
    return Response(status, [("content-type", JSON_UTF8)], body)


def answer_json(value: Any, status: int = 200) -> Response:
    return answer_raw(orjson.dumps(value), status)


def answer_text(text: str) -> Response:
    return Response(200, [("content-type", "text/plain; charset=utf-8")], text.encode())
