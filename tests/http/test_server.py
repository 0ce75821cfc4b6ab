"""The native shell against raw bytes, a real HTTP client and a real WebSocket client."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
import websockets

from selfbase.http.limits import HttpLimits
from selfbase.http.server import Server
from selfbase.http.values import FileBody, Request, Response, WebSocket
from selfbase.kit.events import Event, Events

LIMITS = HttpLimits(
    url_bytes_max=4096,
    header_bytes_max=4096,
    header_timeout_s=0.3,
    body_timeout_s=0.3,
    message_bytes_max=100_000,
    drain_timeout_s=2.0,
)


class Echo:
    """Answers with what it was asked; each path is one behaviour."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.started = asyncio.Event()

    async def answer(self, request: Request) -> Response:
        match request.path:
            case "/echo":
                body = await request.body.read(1_000_000)
                return Response(200, [("x-id", request.headers.get("x-id"))], body)
            case "/small":
                return Response(200, [], await request.body.read(10))
            case "/stream":
                return Response(200, [("content-type", "text/plain")], _pieces())
            case "/torn":
                return Response(200, [], _torn())
            case "/file":
                handle, path = tempfile.mkstemp()
                os.write(handle, b"0123456789" * 100_000)
                os.unlink(path)
                return Response(200, [], FileBody(handle, 5, 900_000))
            case "/split":
                return Response(200, [("x-bad", "a\r\nset-cookie: evil=1"), ("x-good", "1")], b"ok")
            case "/wait":
                request.gone.add_callback(self.gone.set)
                self.started.set()
                await self.gone.wait()
                return Response(204)
            case "/crash":
                raise RuntimeError("secret detail")
        return Response(404)

    async def connect(self, socket: WebSocket) -> None:
        if socket.request.path != "/ws":
            await socket.reject(Response(403, [], b"no"))
            return
        await socket.accept()
        while True:
            socket.send(await socket.receive())


async def _pieces() -> AsyncIterator[bytes]:
    for number in range(5):
        yield f"{number}\n".encode()


async def _torn() -> AsyncIterator[bytes]:
    yield b"first"
    raise RuntimeError("broken on the way")


@pytest.fixture
async def echo() -> AsyncIterator[tuple[Echo, int, list[Event]]]:
    events: list[Event] = []
    handler = Echo()
    server = Server(handler, Events(events.append), limits=LIMITS)
    port = await server.listen("127.0.0.1", 0)
    yield handler, port, events
    await server.close()


Served = tuple[Echo, int, list[Event]]


async def talk(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return answer


async def test_a_real_client_sends_and_receives(echo: Served) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{echo[1]}") as client:
        sent = os.urandom(600_000)
        answer = await client.post("/echo", content=sent, headers={"x-id": "7"})
        assert (answer.status_code, answer.content, answer.headers["x-id"]) == (200, sent, "7")
        streamed = await client.get("/stream")
        assert streamed.text == "0\n1\n2\n3\n4\n"
        file = await client.get("/file")
        assert len(file.content) == 900_000
        assert file.content.startswith(b"56789")
        head = await client.head("/file")
        assert head.headers["content-length"] == "900000"
        assert head.content == b""
        # Nothing is claimed about a length that nobody knows.
        assert "content-length" not in (await client.head("/nothing")).headers


async def test_a_body_sent_in_chunks_is_joined(echo: Served) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(100):
            yield bytes([number]) * 1000

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{echo[1]}") as client:
        answer = await client.post("/echo", content=pieces())
    assert answer.content == b"".join(bytes([n]) * 1000 for n in range(100))


async def test_a_body_over_the_limit_is_refused_and_the_connection_ends(echo: Served) -> None:
    answer = await talk(
        echo[1], b"POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n12345678901"
    )
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer


@pytest.mark.parametrize("status", [413, 414])
async def test_a_client_that_is_still_sending_hears_why_it_is_refused(
    echo: Served, status: int
) -> None:
    """Closed at once, the kernel would reset the connection and drop the answer."""
    data = {
        413: b"POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n",
        414: b"GET /",
    }[status]
    reader, writer = await asyncio.open_connection("127.0.0.1", echo[1])
    writer.write(data)
    for _ in range(100):  # more than all buffers between us hold
        writer.write(b"a" * 200_000)
        await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 20)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert answer.endswith(b"}")
    writer.close()
    await writer.wait_closed()


async def test_a_refused_client_that_never_ends_is_cut() -> None:
    server = Server(Echo(), Events(), limits=replace(LIMITS, linger_timeout_s=0.2))
    reader, writer = await asyncio.open_connection("127.0.0.1", await server.listen("127.0.0.1", 0))
    writer.write(b"GET /" + b"a" * 20_000)
    assert (await asyncio.wait_for(reader.read(), 20)).startswith(b"HTTP/1.1 414 ")
    with pytest.raises(ConnectionError):  # the reset
        async with asyncio.timeout(20):
            while True:
                writer.write(b"a" * 1000)
                await writer.drain()
                await asyncio.sleep(0.01)
    writer.transport.abort()
    await server.close()


async def test_pipelined_requests_are_answered_in_order(echo: Served) -> None:
    one = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n"
    last = b"POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\n"
    answer = await talk(echo[1], one + b"a" + one + b"b" + last + b"c")
    assert [part[:1] for part in answer.split(b"\r\n\r\n")[1:]] == [b"a", b"b", b"c"]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 5000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x: y\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 20_000, 431),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
        (
            b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", 408),
        (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", 408),
    ],
)
async def test_what_cannot_be_a_request_is_refused(echo: Served, data: bytes, status: int) -> None:
    answer = await talk(echo[1], data)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert answer.rstrip().endswith(b"}")


async def test_a_header_cannot_split_the_response(echo: Served) -> None:
    answer = await talk(echo[1], b"GET /split HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert b"evil" not in answer
    assert b"x-good: 1" in answer


async def test_a_crash_is_reported_to_us_and_not_to_the_client(echo: Served) -> None:
    answer = await talk(echo[1], b"GET /crash HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"secret detail" not in answer
    assert [event.name for event in echo[2]] == ["http.handler.failed"]


async def test_a_torn_stream_never_looks_whole(echo: Served) -> None:
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.TransportError):
            await client.get(f"http://127.0.0.1:{echo[1]}/torn")


async def test_the_handler_hears_that_the_client_left(echo: Served) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", echo[1])
    writer.write(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
    await asyncio.wait_for(echo[0].started.wait(), 5)
    writer.close()
    await asyncio.wait_for(echo[0].gone.wait(), 5)


async def test_continue_is_sent_before_the_body_is_read(echo: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", echo[1])
    writer.write(
        b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
        b"Connection: close\r\nContent-Length: 2\r\n\r\n"
    )
    assert (
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
    )
    writer.write(b"hi")
    assert (await asyncio.wait_for(reader.read(), 5)).endswith(b"hi")
    writer.close()


async def test_continue_is_sent_for_an_empty_body_too(echo: Served) -> None:
    answer = await talk(
        echo[1],
        b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
        b"Connection: close\r\nContent-Length: 0\r\n\r\n",
    )
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")


async def test_an_upgrade_we_do_not_know_is_ignored(echo: Served) -> None:
    answer = await talk(
        echo[1],
        b"GET /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n",
    )
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_websocket_messages_of_every_size_come_back(echo: Served) -> None:
    async with websockets.connect(f"ws://127.0.0.1:{echo[1]}/ws") as socket:
        for message in ("", "x", "ü" * 100, "y" * 70_000, b"\x00\xff" * 20_000):
            await socket.send(message)
            assert await socket.recv() == message
        await socket.send([b"a", b"b", b"c"])
        assert await socket.recv() == b"abc"


async def test_a_websocket_can_be_refused_with_a_response(echo: Served) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(f"ws://127.0.0.1:{echo[1]}/other")
    assert refused.value.response.status_code == 403
    assert refused.value.response.body == b"no"


async def test_a_message_over_the_limit_closes_the_socket(echo: Served) -> None:
    async with websockets.connect(f"ws://127.0.0.1:{echo[1]}/ws") as socket:
        await socket.send("z" * 200_000)
        with pytest.raises(websockets.ConnectionClosedError) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


async def test_closing_lets_the_running_request_finish() -> None:
    handler = Echo()
    server = Server(handler, Events(), limits=LIMITS)
    port = await server.listen("127.0.0.1", 0)
    async with httpx.AsyncClient() as client:
        waiting = asyncio.create_task(client.get(f"http://127.0.0.1:{port}/wait"))
        await asyncio.wait_for(handler.started.wait(), 5)
        closing = asyncio.create_task(server.close())
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", port)
        handler.gone.set()
        assert (await waiting).status_code == 204
        await asyncio.wait_for(closing, 5)
