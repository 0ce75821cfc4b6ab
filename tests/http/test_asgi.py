"""The ASGI shell under a real ASGI server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
import uvicorn
import websockets
from tests.http.test_server import Echo

from selfbase.http.asgi import AsgiApp


@pytest.fixture
async def address() -> AsyncIterator[str]:
    handler = Echo()

    async def nothing() -> None:
        return None

    app = AsgiApp(lambda: handler, nothing, nothing)
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", ws="websockets-sansio", lifespan="on")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([sock]))
    async with asyncio.timeout(10):
        while not server.started:
            await asyncio.sleep(0)
    yield f"127.0.0.1:{sock.getsockname()[1]}"
    server.should_exit = True
    await serving
    sock.close()


async def test_requests_bodies_streams_and_files(address: str) -> None:
    async with httpx.AsyncClient(base_url=f"http://{address}") as client:
        answer = await client.post("/echo", content=b"x" * 100_000, headers={"x-id": "7"})
        assert (answer.status_code, len(answer.content), answer.headers["x-id"]) == (
            200,
            100_000,
            "7",
        )
        assert (await client.post("/small", content=b"x" * 11)).status_code == 413
        assert (await client.get("/stream")).text == "0\n1\n2\n3\n4\n"
        assert len((await client.get("/file")).content) == 900_000
        assert (await client.head("/file")).headers["content-length"] == "900000"
        assert (await client.get("/nothing")).status_code == 404


async def test_websockets(address: str) -> None:
    async with websockets.connect(f"ws://{address}/ws") as client:
        for message in ("text", b"bytes"):
            await client.send(message)
            assert await client.recv() == message
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(f"ws://{address}/other")
    assert refused.value.response.status_code == 403
