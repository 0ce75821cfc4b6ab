"""The limits of an HTTP connection.  Every one of them has a test that reaches it."""

from __future__ import annotations

from dataclasses import dataclass

from selfbase.kit.settings import KiB


@dataclass(frozen=True, kw_only=True)
class HttpLimits:
    """`url_bytes_max` is generous because long `in.(…)` lists travel in the query string."""

    url_bytes_max: int = 256 * KiB
    header_bytes_max: int = 64 * KiB
    header_count_max: int = 128
    header_timeout_s: float = 15.0
    body_timeout_s: float = 30.0
    idle_timeout_s: float = 75.0
    write_timeout_s: float = 60.0
    linger_timeout_s: float = 30.0
    body_buffer_bytes: int = 256 * KiB
    write_buffer_bytes: int = 256 * KiB
    pipelined_max: int = 16
    connections_max: int = 30_000
    # What Realtime promises its clients.
    message_bytes_max: int = 5_000_000
    drain_timeout_s: float = 10.0
