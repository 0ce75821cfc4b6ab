"""Heads that are recalled instead of parsed, and answers without a task, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from selfbase.http.headers import Headers
from selfbase.http.heads import Heads
from selfbase.http.limits import HttpLimits
from selfbase.http.server import Server
from selfbase.http.values import Request, Response, WebSocket
from selfbase.kit.events import Event, Events

HEAD = b"host: a\r\nx-id: 7\r\n\r\n"


class Quick:
    """Answers `/now` at once, `/later` when told, `/task` in a task; `/crash` and `/crash-later` fail."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Request, Callable[[Response | Exception], None]]] = []
        self.asked = asyncio.Event()
        self.release = asyncio.Event()

    def begin(
        self, request: Request, done: Callable[[Response | Exception], None]
    ) -> Awaitable[Response] | None:
        match request.path:
            case "/now":
                done(_tell(request))
            case "/later":
                self.waiting.append((request, done))
                self.asked.set()
            case "/crash":
                raise RuntimeError("secret detail")
            case "/crash-later":
                done(RuntimeError("secret detail"))
            case _:
                return self.answer(request)
        return None

    async def answer(self, request: Request) -> Response:
        if request.path == "/slow":
            self.asked.set()
            await self.release.wait()
        return _tell(request)

    async def connect(self, socket: WebSocket) -> None:
        await socket.reject(Response(403))


def _tell(request: Request) -> Response:
    seen = request.headers.get("x-id")
    request.headers.replace("x-id", "changed by a handler")
    text = f"{request.method} {request.path} {request.query} {request.host} {seen}"
    return Response(200, [], text.encode())


Served = tuple[Quick, Server, int, list[Event]]


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    events: list[Event] = []
    handler = Quick()
    limits = HttpLimits(url_bytes_max=2000, header_timeout_s=0.3, drain_timeout_s=1.0)
    server = Server(handler, Events(events.append), limits=limits)
    port = await server.listen("127.0.0.1", 0)
    yield handler, server, port, events
    await server.close()


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes
) -> tuple[int, str]:
    writer.write(data)
    return await read_answer(reader)


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, str]:
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).decode().lower()
    length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
    return int(head.split()[1]), (await reader.readexactly(length)).decode()


async def test_fields_seen_before_are_recalled_and_never_mixed_up(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served[2])
    for number in range(3):
        for path in (b"/now", b"/task"):
            line = b"GET %b?n=%d HTTP/1.1\r\n" % (path, number)
            for name in (b"7", b"8"):
                data = line + HEAD.replace(b"7", name)
                expected = f"GET {path.decode()} n={number} a {name.decode()}"
                assert await ask(reader, writer, data) == (200, expected)
    assert len(served[1].heads) == 2
    writer.close()


async def test_a_head_in_pieces_is_none_to_recall(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served[2])
    assert (await ask(reader, writer, b"GET /now HTTP/1.1\r\n" + HEAD))[0] == 200
    writer.write(b"GET /first HTTP/1.1\r\nx-a: ")
    await writer.drain()
    await asyncio.sleep(0.05)  # so that the pieces arrive apart
    # What looks like a whole known request is the rest of another one's head.
    told = await ask(reader, writer, b"GET /now HTTP/1.1\r\n" + HEAD)
    assert told == (200, "GET /first  a 7")
    writer.close()


@pytest.mark.parametrize(
    "data",
    [
        b"GET /a HTTP/1.1\r\n" + HEAD + b"GET /b HTTP/1.1\r\n" + HEAD,
        b"GET /a HTTP/1.1\r\nhost: a\n\nGET /b HTTP/1.1\r\n" + HEAD,
        b"GET /a HTTP/1.0\r\n" + HEAD,
        b"GET /a HTTP/1.1\r\nconnection: close\r\n" + HEAD,
        b"POST /a HTTP/1.1\r\ncontent-length: 0\r\n" + HEAD,
        b"GET /a HTTP/1.1\r\ncontent-length: 2\r\n" + HEAD + b"ab",
        b"GET /\xc3\xa4 HTTP/1.1\r\n" + HEAD,
        b"GET /a HTTP/1.1\r\nx-long: " + b"x" * 5000 + b"\r\n" + HEAD,
    ],
)
async def test_only_plain_requests_are_remembered(served: Served, data: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served[2])
    writer.write(data)
    await asyncio.wait_for(reader.read(1), 5)
    assert len(served[1].heads) == 0
    writer.close()


async def test_nothing_is_recalled_after_the_last_request(served: Served) -> None:
    handler = served[0]
    reader, writer = await asyncio.open_connection("127.0.0.1", served[2])
    assert (await ask(reader, writer, b"GET /now HTTP/1.1\r\n" + HEAD))[0] == 200
    writer.write(b"GET /slow HTTP/1.1\r\nconnection: close\r\n" + HEAD)
    await handler.asked.wait()
    writer.write(b"GET /now HTTP/1.1\r\n" + HEAD)
    await asyncio.sleep(0.05)  # so that it has arrived
    handler.release.set()
    answer = await asyncio.wait_for(reader.read(), 5)
    assert answer.count(b"HTTP/1.1") == 1
    assert b"/slow" in answer
    writer.close()


async def test_limits_hold_for_recalled_heads(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served[2])
    assert (await ask(reader, writer, b"GET /now HTTP/1.1\r\n" + HEAD))[0] == 200
    assert (await ask(reader, writer, b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\n" + HEAD))[0] == 414
    writer.close()


def test_what_is_remembered_is_bounded() -> None:
    heads = Heads()
    for number in range(2000):
        data = b"GET / HTTP/1.1\r\nhost: %d\r\n\r\n" % number
        heads.keep(data, Headers([("host", str(number))]))
    assert len(heads) == 512
    assert heads.recall(b"GET / HTTP/1.1\r\nhost: 1\r\n\r\n") is None


def test_shared_fields_are_each_requests_own() -> None:
    fields = Headers([("A", "1"), ("b", "2")])
    one, other = fields.share(), fields.share()
    assert one.notes is other.notes is not None
    one.replace("a", None)
    one.replace("c", "3")
    assert list(one) == [("b", "2"), ("c", "3")]
    assert list(other) == list(fields) == [("a", "1"), ("b", "2")]
    assert one.notes is None
    assert (other.find("a"), other.find("c")) == ("1", None)


async def test_pipelined_answers_keep_their_order(served: Served) -> None:
    handler = served[0]
    reader, writer = await asyncio.open_connection("127.0.0.1", served[2])
    for path in (b"/later", b"/now", b"/task", b"/crash"):
        writer.write(b"GET %b HTTP/1.1\r\n" % path + HEAD)
    await handler.asked.wait()
    request, done = handler.waiting.pop()
    done(_tell(request))
    told = [await read_answer(reader) for _ in range(4)]
    assert [text.split()[1] for _, text in told] == ["/later", "/now", "/task", "/crash"]
    # The connection serves on without tasks.
    assert (await ask(reader, writer, b"GET /now HTTP/1.1\r\n" + HEAD))[0] == 200
    writer.close()


async def test_a_client_that_left_is_known_and_harms_nobody(served: Served) -> None:
    handler = served[0]
    _, writer = await asyncio.open_connection("127.0.0.1", served[2])
    writer.write(b"GET /later HTTP/1.1\r\n" + HEAD)
    await handler.asked.wait()
    request, done = handler.waiting.pop()
    left = asyncio.Event()
    request.gone.add_callback(left.set)
    writer.transport.abort()
    await asyncio.wait_for(left.wait(), 5)
    done(_tell(request))
    reader, writer = await asyncio.open_connection("127.0.0.1", served[2])
    assert (await ask(reader, writer, b"GET /now HTTP/1.1\r\n" + HEAD))[0] == 200
    writer.close()


@pytest.mark.parametrize("path", [b"/crash", b"/crash-later"])
async def test_a_handler_that_fails_is_reported_and_answered(served: Served, path: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served[2])
    status, text = await ask(reader, writer, b"GET " + path + b" HTTP/1.1\r\n" + HEAD)
    assert status == 500
    assert "secret" not in text
    assert [event.name for event in served[3]] == ["http.handler.failed"]
    writer.close()


async def test_a_drain_waits_for_an_answer_without_a_task(served: Served) -> None:
    handler, server, port, _ = served
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /later HTTP/1.1\r\n" + HEAD)
    await handler.asked.wait()
    closing = asyncio.create_task(server.close())
    await asyncio.sleep(0)
    request, done = handler.waiting.pop()
    done(_tell(request))
    answer = await asyncio.wait_for(reader.read(), 5)
    assert b"connection: close" in answer
    assert answer.endswith(b"GET /later  a 7")
    await closing
    writer.close()
