"""The loopback port with the metrics and health of all workers, for Prometheus.

Spoken with plain asyncio: the parent process stays small, and one kind of request is all there is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json

from selfbase.supervisor.metrics_text import merge_metrics
from selfbase.workspace.layout import Layout

REQUEST_BYTES_MAX = 8192
TIMEOUT_S = 5.0


class MetricsPort:
    """`GET /metrics` and `GET /health` on 127.0.0.1."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._server: asyncio.Server | None = None

    async def listen(self, port: int) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", port, limit=REQUEST_BYTES_MAX
        )

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):  # whoever asked has left
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                status, kind, body = await self._answer(head.split(b" ")[1].decode())
            except (TimeoutError, EOFError, asyncio.LimitOverrunError, ValueError, IndexError):
                status, kind, body = "400 Bad Request", "text/plain", "bad request\n"
            data = body.encode()
            writer.write(
                f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(data)}\r\n"
                "connection: close\r\n\r\n".encode()
                + data
            )
            await writer.drain()
        writer.close()

    async def _answer(self, path: str) -> tuple[str, str, str]:
        if path == "/metrics":
            texts = await self._ask_all("/metrics")
            return "200 OK", "text/plain; version=0.0.4; charset=utf-8", merge_metrics(texts)
        if path == "/health":
            answers = await self._ask_all("/health")
            body = {worker: json.loads(text) for worker, text in answers.items()}
            return "200 OK", "application/json", json.dumps(body)
        return "404 Not Found", "text/plain", "not found\n"

    async def _ask_all(self, path: str) -> dict[str, str]:
        sockets = sorted(self._layout.run_dir.glob("worker-*.sock"))
        names = [socket.stem.removeprefix("worker-") for socket in sockets]
        asked = (ask_socket(str(socket), path, timeout_s=TIMEOUT_S) for socket in sockets)
        answers = await asyncio.gather(*asked)
        return {name: text for name, text in zip(names, answers, strict=True) if text}


async def is_answering(socket: str, timeout_s: float) -> bool:
    """Whether the worker behind the socket still answers at all."""
    return bool(await ask_socket(socket, "/live", timeout_s=timeout_s))


async def ask_socket(
    socket: str, path: str, method: str = "GET", *, timeout_s: float | None = None
) -> str:
    """The body of a request over a Unix socket, or nothing when nobody answers in time."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                head = f"{method} {path} HTTP/1.1\r\nhost: worker\r\nconnection: close\r\n\r\n"
                writer.write(head.encode())
                answer = await reader.read()
            finally:
                writer.close()
    except OSError:
        return ""
    return answer.partition(b"\r\n\r\n")[2].decode()
