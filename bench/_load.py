"""A load generator of its own process: keep-alive HTTP/1.1, raw requests, latencies.

`run_load` starts it, so that its CPU time is not the server's.
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import uvloop


@dataclass(frozen=True)
class Load:
    """What one run measured.  `bad` counts answers that were not 2xx."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    bad: int

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def make_request(method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """The bytes of one request."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"{method} {target} HTTP/1.1", f"host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body or method in ("POST", "PATCH", "PUT"):
        lines.append(f"content-length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def run_load(url: str, requests: Sequence[bytes], *, connections: int, count: int) -> Load:
    """Sends `count` requests, round robin, over `connections` connections."""
    parts = urlsplit(url)
    orders = {
        "host": parts.hostname,
        "port": parts.port,
        "connections": connections,
        "count": count,
        "requests": [base64.b64encode(request).decode() for request in requests],
    }
    done = subprocess.run(
        [sys.executable, "-m", "bench._load"],
        input=json.dumps(orders),
        capture_output=True,
        text=True,
        check=True,
    )
    return Load(**json.loads(done.stdout))


class _Client(asyncio.Protocol):
    def __init__(self, run: _Run) -> None:
        self._run = run
        self._buffer = b""
        self._sent_s = 0.0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self._next()

    def _next(self) -> None:
        request = self._run.take()
        if request is None:
            self.transport.close()
            return
        self._sent_s = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        if b"transfer-encoding: chunked" in head:
            if not self._buffer.endswith(b"0\r\n\r\n"):
                return
        else:
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
        self._run.note(time.perf_counter() - self._sent_s, self._buffer[9:10] == b"2")
        self._buffer = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._run.leave()


class _Run:
    def __init__(self, requests: list[bytes], count: int, connections: int) -> None:
        self._requests = requests
        self._left = count
        self._open = connections
        self.latencies: list[float] = []
        self.bad = 0
        self.done = asyncio.Event()

    def take(self) -> bytes | None:
        if self._left == 0:
            return None
        self._left -= 1
        return self._requests[self._left % len(self._requests)]

    def note(self, took_s: float, good: bool) -> None:
        self.latencies.append(took_s)
        self.bad += not good

    def leave(self) -> None:
        self._open -= 1
        if self._open == 0:
            self.done.set()


async def _main() -> None:
    orders = json.loads(sys.stdin.read())
    requests = [base64.b64decode(text) for text in orders["requests"]]
    run = _Run(requests, orders["count"], orders["connections"])
    loop = asyncio.get_running_loop()
    started_s = time.perf_counter()
    for _ in range(orders["connections"]):
        await loop.create_connection(lambda: _Client(run), orders["host"], orders["port"])
    await run.done.wait()
    seconds = time.perf_counter() - started_s
    ordered = sorted(run.latencies)
    print(
        json.dumps(
            {
                "requests": len(ordered),
                "seconds": seconds,
                "p50_ms": ordered[len(ordered) // 2] * 1000,
                "p99_ms": ordered[int(len(ordered) * 0.99)] * 1000,
                "bad": run.bad,
            }
        )
    )


if __name__ == "__main__":
    uvloop.run(_main())
