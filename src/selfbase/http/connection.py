"""One HTTP/1.1 connection: bytes to requests, responses to bytes, in order, within limits.

Parsing is `httptools` (llhttp, strict); fields that came before are recalled instead (`heads`).
Requests of one connection are answered in the order they came.  Knows nothing of routes.  Sources:
RFC 9112 (syntax, framing), RFC 9110 section 10.1.1 (100-continue), RFC 6455 section 4 (upgrade).
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING, cast

import httptools

from selfbase.http.headers import Headers
from selfbase.http.incoming import IncomingBody
from selfbase.http.render import has_no_body, render_head
from selfbase.http.sockets import NativeSocket
from selfbase.http.values import (
    BytesBody,
    FileBody,
    Request,
    Response,
    WebSocketClosed,
    json_response,
)
from selfbase.kit.failures import Failure

if TYPE_CHECKING:
    from selfbase.http.server import Server

_NO_BODY = BytesBody()
_FILE_PIECE = 512 * 1024


class Refused(Exception):
    """The bytes on this connection cannot be answered as a request; the connection ends."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Connection(asyncio.Protocol):
    """The protocol object of one accepted socket."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._limits = server.limits
        self._loop = server.loop
        self._parser = httptools.HttpRequestParser(self)
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._peer = ""
        self._queue: deque[tuple[Request, IncomingBody | None, bool]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._current: Request | None = None
        self._incoming: IncomingBody | None = None
        self._socket: NativeSocket | None = None
        self._url = b""
        self._fields: list[tuple[str, str]] = []
        self._field_bytes = 0
        self._head_bytes = 0
        self._in_head = True
        self._between = True
        self._goes_on = True
        self._messages = 0
        self._plain: Headers | None = None
        self._paused = False
        self._closing = False
        self._unread = False
        self._lingering = False
        self._writable = asyncio.Event()
        self._writable.set()
        self.deadline_s = math.inf

    # Transport events

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=self._limits.write_buffer_bytes)
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else ""
        if not self._server.admit(self):
            self._write_refusal(Refused(503, "Too many connections"))
            transport.close()
            return
        self._set_deadline(self._limits.idle_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.forget(self)
        self._clear_deadline()
        self._writable.set()
        if self._incoming is not None:
            self._incoming.lose()
        if self._socket is not None:
            self._socket.lose()
        if self._current is not None:
            self._current.gone.set()
        for request, _, _ in self._queue:
            request.gone.set()
        self._queue.clear()

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            return
        if self._socket is not None:
            self._socket.feed(data)
            return
        whole = self._between
        try:
            if whole and (known := self._server.heads.recall(data)) is not None:
                method, target, headers = known
                self._enqueue(self._make_request(method, target, headers), None, True)
                return
            if self._in_head:
                if self._head_bytes == 0:
                    self._set_deadline(self._limits.header_timeout_s)
                self._head_bytes += len(data)
            self._messages = 0
            self._plain = None
            self._parser.feed_data(data)
            if self._in_head and self._head_bytes > self._head_bytes_max:
                raise Refused(431, "Request header fields too large")
            if whole:
                self._keep_head(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._feed_socket(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(
                cause if isinstance(cause, Refused) else Refused(400, "Malformed HTTP request")
            )
        except Refused as refused:
            self._refuse(refused)

    def _keep_head(self, data: bytes) -> None:
        """Remembers the fields of the one plain request that `data` was, if that is what it was."""
        if self._between and self._messages == 1 and self._plain is not None:
            self._server.heads.keep(data, self._plain)

    def _feed_socket(self, data: bytes) -> None:
        if self._socket is not None and data:
            self._socket.feed(data)

    def eof_received(self) -> bool:
        # A client that closes its sending side may still wait for the answer; one that leaves for
        # good resets the connection on our next write.  Treat it as gone, as proxies do.
        return False

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def pause_reading(self) -> None:
        if not self._paused and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self._paused and not self.transport.is_closing():
            self._paused = False
            self.transport.resume_reading()

    # Parser events

    def on_message_begin(self) -> None:
        self._between = False
        self._url = b""
        self._fields = []
        self._field_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > self._limits.url_bytes_max:
            raise Refused(414, "Request URL too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name.decode("latin-1").lower(), value.decode("latin-1")))
        self._field_bytes += len(name) + len(value) + 4
        if len(self._fields) > self._limits.header_count_max:
            raise Refused(431, "Too many request header fields")

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._field_bytes > self._limits.header_bytes_max:
            raise Refused(431, "Request header fields too large")
        fields = Headers.from_lower(self._fields)
        headers = fields.share()
        method = self._parser.get_method().decode()
        target = self._url.decode("latin-1")
        if not target.startswith("/"):
            target = _origin_form(target)
        hosts = headers.get_all("host")
        if len(hosts) > 1 or (not hosts and self._parser.get_http_version() != "1.0"):
            raise Refused(400, "Exactly one Host header is required")
        request = self._make_request(method, target, headers)
        keep_alive = self._parser.should_keep_alive()
        if self._parser.should_upgrade():
            if headers.get("upgrade").lower() == "websocket":
                self._upgrade(request)
                return
            # An offer we do not take (h2c) is ignored, as RFC 9110 section 7.8 has it; the parser
            # stops here, so this request is the last one on its connection.
            keep_alive = False
        self._goes_on = keep_alive
        self._incoming = self._make_body(headers)
        if self._incoming is not None:
            request.body = self._incoming
            self._clear_deadline()
        elif keep_alive:
            self._plain = fields
        self._enqueue(request, self._incoming, keep_alive)

    def on_body(self, body: bytes) -> None:
        if self._incoming is not None:
            self._incoming.feed(body)

    def on_message_complete(self) -> None:
        if self._incoming is not None:
            self._incoming.finish()
            self._incoming = None
        self._in_head = True
        self._head_bytes = 0
        # What follows the last request is the parser's to refuse.
        self._between = self._goes_on
        self._messages += 1

    # Requests

    @property
    def _head_bytes_max(self) -> int:
        return self._limits.url_bytes_max + self._limits.header_bytes_max

    def _make_request(self, method: str, target: str, headers: Headers) -> Request:
        if len(target) > self._limits.url_bytes_max:
            raise Refused(414, "Request URL too long")
        path, _, query = target.partition("?")
        return Request(
            method=method,
            path=path,
            query=query.partition("#")[0] if "#" in query else query,
            headers=headers,
            body=_NO_BODY,
            client=self._peer,
            scheme=self._server.scheme,
            host=headers.get("host"),
            id=self._server.next_request_id(),
            full_path=path,
        )

    def _make_body(self, headers: Headers) -> IncomingBody | None:
        length = headers.find("content-length")
        chunked = "transfer-encoding" in headers
        expects = headers.get("expect").lower() == "100-continue"
        if not chunked and (length is None or (length.strip() == "0" and not expects)):
            return None
        return IncomingBody(
            declared=int(length) if length is not None and not chunked else None,
            buffer_bytes=self._limits.body_buffer_bytes,
            timeout_s=self._limits.body_timeout_s,
            pause=self.pause_reading,
            resume=self.resume_reading,
            on_first_read=self._send_continue if expects else None,
        )

    def _send_continue(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _upgrade(self, request: Request) -> None:
        if (
            request.method != "GET"
            or not request.headers.get("sec-websocket-key")
            or request.headers.get("sec-websocket-version") != "13"
        ):
            raise Refused(400, "This upgrade is not supported")
        if self._is_busy or self._queue:
            raise Refused(400, "An upgrade cannot follow pipelined requests")
        self._clear_deadline()
        self._socket = NativeSocket(request, self, self._limits.message_bytes_max)
        self._task = self._loop.create_task(self._serve_socket(self._socket))

    @property
    def _is_busy(self) -> bool:
        """Whether a request is being answered, or a socket served."""
        return self._current is not None or self._task is not None

    def _enqueue(self, request: Request, body: IncomingBody | None, keep_alive: bool) -> None:
        if body is None and keep_alive and not self._is_busy and self._server.begin is not None:
            self._begin(request)
            return
        self._queue.append((request, body, keep_alive))
        if len(self._queue) > self._limits.pipelined_max:
            self.pause_reading()
        if not self._is_busy:
            self._task = self._loop.create_task(self._serve_queue())

    def _begin(self, request: Request) -> None:
        """Lets the handler answer without a task; most have to wait for something and get one."""
        assert self._server.begin is not None
        self._current = request
        self._clear_deadline()
        try:
            answer = self._server.begin(request, self._finish)
        except Exception as error:
            self._finish(error)
            return
        if answer is not None:
            self._task = self._loop.create_task(self._serve_queue(answer))

    def _finish(self, response: Response | Exception) -> None:
        """The answer of a request that has no task; its body is bytes.  An exception is a bug of the
        handler."""
        request, self._current = self._current, None
        if request is None or self.transport.is_closing():
            return
        if not isinstance(response, Response):
            self._server.report(request, response)
            response = json_response({"message": "Internal server error"}, 500)
        if self._server.draining:
            self._closing = True
        self._write_bytes(request, response, cast("bytes", response.body))
        if self._closing:
            self.transport.close()
        elif self._queue or not self._writable.is_set():
            self._task = self._loop.create_task(self._serve_queue())
        else:
            self._set_deadline(self._limits.idle_timeout_s)

    async def _serve_queue(self, begun: Awaitable[Response] | None = None) -> None:
        """Answers what waits, in order; first `begun`, the rest of the answer to the current one."""
        try:
            if begun is not None and self._current is not None:
                await self._serve(self._current, begun, None, True)
            await self._drained()
            while self._queue and not self.transport.is_closing():
                request, body, keep_alive = self._queue.popleft()
                self._current = request
                self._clear_deadline()
                await self._serve(request, self._server.handler.answer(request), body, keep_alive)
                self._current = None
                if body is None or body.is_finished:
                    self.resume_reading()
        finally:
            self._current = None
            self._task = None
            if self._closing or self._server.draining:
                self._end()
            elif not self.transport.is_closing():
                self._set_deadline(self._limits.idle_timeout_s)

    async def _serve(
        self,
        request: Request,
        answer: Awaitable[Response],
        body: IncomingBody | None,
        keep_alive: bool,
    ) -> None:
        try:
            response = await answer
        except Failure as failure:
            response = _render_failure(failure)
        except Exception as error:
            self._server.report(request, error)
            response = json_response({"message": "Internal server error"}, 500)
        if body is not None and not body.is_finished:
            # The rest of the body is unwanted, and reading past it could take for ever.
            keep_alive = False
            self._unread = True
            body.discard()
        if self.transport.is_closing():
            await _discard(response)
            return
        if not keep_alive or self._server.draining:
            self._closing = True
        await self._write(request, response)

    async def _serve_socket(self, socket: NativeSocket) -> None:
        response: Response | None = None
        try:
            await self._server.handler.connect(socket)
            response = socket.rejection
        except WebSocketClosed:
            pass  # the peer left: the ordinary end of a socket
        except Failure as failure:
            response = _render_failure(failure)
        except Exception as error:
            self._server.report(socket.request, error)
            response = json_response({"message": "Internal server error"}, 500)
        if not socket.accepted and not self.transport.is_closing():
            self._closing = True
            await self._write(socket.request, response or Response(403))
        elif response is not None:
            await socket.close(1011, "internal error")
        self.transport.close()

    # Responses

    async def _write(self, request: Request, response: Response) -> None:
        body = response.body
        if isinstance(body, bytes):
            self._write_bytes(request, response, body)
            await self._drained()
            return
        bodyless = has_no_body(request, response)
        head = self._render_head(response, bodyless)
        if bodyless:
            self.transport.write(head)
            await _discard(response)
        elif isinstance(body, FileBody):
            await self._write_file(head, body)
        else:
            self.transport.write(head)
            await self._write_stream(request, body, response.header("content-length") is None)

    def _write_bytes(self, request: Request, response: Response, body: bytes) -> None:
        bodyless = has_no_body(request, response)
        head = self._render_head(response, bodyless)
        self.transport.write(head if bodyless or not body else head + body)

    def _render_head(self, response: Response, bodyless: bool) -> bytes:
        return render_head(response, int(time.time()), bodyless=bodyless, closing=self._closing)

    async def _write_stream(
        self, request: Request, body: AsyncIterator[bytes], chunked: bool
    ) -> None:
        try:
            async for piece in body:
                if self.transport.is_closing():
                    return
                if piece:
                    framed = b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece
                    self.transport.write(framed)
                    await self._drained()
        except Exception as error:
            self._server.report(request, error)
            # The status is out already: cutting the connection is the only honest sign.
            self.transport.abort()
            return
        finally:
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()
        if chunked:
            self.transport.write(b"0\r\n\r\n")

    async def _write_file(self, head: bytes, body: FileBody) -> None:
        offset, left = body.offset, body.length
        try:
            if not 0 < left <= 64 * 1024:
                self.transport.write(head)
                head = b""
            while left > 0 and not self.transport.is_closing():
                size = min(left, _FILE_PIECE)
                if left <= 64 * 1024:
                    piece = os.pread(body.descriptor, size, offset)
                else:
                    piece = await asyncio.to_thread(os.pread, body.descriptor, size, offset)
                if not piece:
                    self.transport.abort()  # shorter than promised
                    return
                # A small file leaves together with its head: one write, one packet.
                self.transport.write(head + piece if head else piece)
                head = b""
                offset += len(piece)
                left -= len(piece)
                await self._drained()
        finally:
            os.close(body.descriptor)

    async def _drained(self) -> None:
        """Waits until the client has taken what was written; cuts one that takes too long."""
        if self._writable.is_set():
            return
        try:
            async with asyncio.timeout(self._limits.write_timeout_s):
                await self._writable.wait()
        except TimeoutError:
            self.transport.abort()

    # Ends

    def _refuse(self, refused: Refused) -> None:
        if self.transport.is_closing():
            return
        self._closing = True
        if self._is_busy:
            # The request before is still being answered; its answer is the last one here.
            self.pause_reading()
            if self._incoming is not None:
                self._incoming.lose()
            return
        self._unread = True
        self._write_refusal(refused)
        self._end()

    def _write_refusal(self, refused: Refused) -> None:
        self._closing = True
        response = json_response({"message": refused.message}, refused.status)
        body = response.body if isinstance(response.body, bytes) else b""
        self.transport.write(self._render_head(response, False) + body)

    def _end(self) -> None:
        """Closes the connection after what was written.

        While its client still sends, closing would make the kernel reset the connection, and the
        answer could be lost on its way.  So what comes is dropped until the client has read it.
        """
        if not self._unread or self._server.draining or self.transport.is_closing():
            self.transport.close()
            return
        if not self._lingering and self.transport.can_write_eof():
            self._lingering = True
            self.transport.write_eof()
            self.resume_reading()
            self._set_deadline(self._limits.linger_timeout_s)
        elif not self._lingering:
            self.transport.close()

    def drain(self) -> None:
        """Ends the connection when its work is done: at once if there is none."""
        if not self._is_busy:
            self.transport.close()
        elif self._socket is not None:
            self._loop.create_task(self._socket.close(1001, "server is going away"))

    def abort(self) -> None:
        self.transport.abort()
        if self._task is not None:
            self._task.cancel()

    def _set_deadline(self, after_s: float) -> None:
        self.deadline_s = self._loop.time() + after_s

    def _clear_deadline(self) -> None:
        self.deadline_s = math.inf

    def expire(self) -> None:
        """The server's sweep found the deadline passed."""
        self._clear_deadline()
        if self._is_busy:
            return
        if self._lingering:
            self.transport.abort()
        elif self._head_bytes:
            self._refuse(Refused(408, "The request did not arrive in time"))
        else:
            self.transport.close()


async def _discard(response: Response) -> None:
    if isinstance(response.body, FileBody):
        os.close(response.body.descriptor)
    elif not isinstance(response.body, bytes):
        close = getattr(response.body, "aclose", None)
        if close is not None:
            await close()


def _render_failure(failure: Failure) -> Response:
    body = {"message": failure.message, "code": failure.code, "hint": failure.hint}
    return json_response(body, failure.status, list(failure.headers))


def _origin_form(target: str) -> str:
    """The path of an absolute-form target (RFC 9112 section 3.2.2)."""
    if target == "*":
        return "/"
    scheme, mark, rest = target.partition("://")
    if not mark or scheme.lower() not in ("http", "https"):
        raise Refused(400, "Malformed request target")
    slash = rest.find("/")
    return rest[slash:] if slash >= 0 else "/"
