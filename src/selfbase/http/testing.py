"""A client that talks to a handler in process, for tests: no socket, no server.

It follows what the shells promise: a stream is read to its end, a file body is read and closed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from selfbase.http.headers import Headers
from selfbase.http.values import BytesBody, FileBody, Handler, Request, Response


@dataclass
class Answer:
    """A finished response."""

    status: int
    headers: Headers
    body: bytes = b""

    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Client:
    """Sends requests to `handler` with `headers` on each of them."""

    handler: Handler
    headers: dict[str, str] = field(default_factory=dict)
    client: str = "127.0.0.1"

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        content: bytes = b"",
    ) -> Answer:
        """`path` may hold a query; text outside ASCII is percent-encoded."""
        sent = {**self.headers, **(headers or {})}
        if json is not None:
            content = orjson.dumps(json)
            sent.setdefault("content-type", "application/json")
        raw_path, _, query = path.partition("?")
        if params:
            query = urlencode(params)
        quoted = quote(raw_path, safe="/%:@!$&'()*+,;=-._~")
        request = Request(
            method=method,
            path=quoted,
            query=query,
            headers=Headers(sent.items()),
            body=BytesBody(content),
            client=self.client,
            host=sent.get("host", "localhost"),
            full_path=quoted,
            id="test",
        )
        return await read_response(await self.handler.answer(request))

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Any) -> Answer:
        return await self.request("POST", path, **options)

    async def put(self, path: str, **options: Any) -> Answer:
        return await self.request("PUT", path, **options)

    async def patch(self, path: str, **options: Any) -> Answer:
        return await self.request("PATCH", path, **options)

    async def delete(self, path: str, **options: Any) -> Answer:
        return await self.request("DELETE", path, **options)


async def read_response(response: Response) -> Answer:
    """Reads the body whatever its kind."""
    body = response.body
    if isinstance(body, bytes):
        data = body
    elif isinstance(body, FileBody):
        try:
            data = os.pread(body.descriptor, body.length, body.offset)
        finally:
            os.close(body.descriptor)
    else:
        data = b"".join([piece async for piece in body])
    return Answer(response.status, Headers(response.headers), data)
