"""How long a request took in its parts, and the figures of the service.

Source: the Server-Timing specification; reference/rest.md section 7.3.
"""

from __future__ import annotations

from collections.abc import Mapping

from selfbase.kit.clock import Clock


class Stopwatch:
    """Splits the time of a request into named parts; without a clock it does nothing."""

    __slots__ = ("_clock", "_last_s", "_parts")

    def __init__(self, clock: Clock | None) -> None:
        self._clock = clock
        self._last_s = clock.monotonic_s() if clock else 0.0
        self._parts: list[tuple[str, float]] = []

    def mark(self, name: str) -> None:
        """Ends a part."""
        if self._clock is None:
            return
        now_s = self._clock.monotonic_s()
        self._parts.append((name, now_s - self._last_s))
        self._last_s = now_s

    def render(self) -> str:
        """The value of `Server-Timing`, in milliseconds."""
        return ", ".join(f"{name};dur={took_s * 1000:.1f}" for name, took_s in self._parts)


def render_metrics(
    *,
    loads: Mapping[str, int],
    load_s: float,
    links_max: int,
    links_open: int,
    waiting: int,
    timeouts: int,
    hits: int,
    misses: int,
    evictions: int,
) -> str:
    """The figures in Prometheus' text format, by PostgREST's names."""
    metrics: list[tuple[str, str, str, list[tuple[str, float]]]] = [
        (
            "pgrst_schema_cache_loads_total",
            "counter",
            "The total number of times the schema cache was loaded",
            [(f'{{status="{status}"}}', count) for status, count in loads.items()],
        ),
        (
            "pgrst_schema_cache_query_time_seconds",
            "gauge",
            "The query time in seconds of the last schema cache load",
            [("", load_s)],
        ),
        ("pgrst_db_pool_max", "gauge", "Max pool connections", [("", links_max)]),
        ("pgrst_db_pool_available", "gauge", "Connections that are open", [("", links_open)]),
        ("pgrst_db_pool_waiting", "gauge", "Requests waiting for a connection", [("", waiting)]),
        (
            "pgrst_db_pool_timeouts_total",
            "counter",
            "The total number of pool connection timeouts",
            [("", timeouts)],
        ),
        (
            "pgrst_jwt_cache_requests_total",
            "counter",
            "The total number of JWT cache lookups",
            [("", hits + misses)],
        ),
        (
            "pgrst_jwt_cache_hits_total",
            "counter",
            "The total number of JWT cache hits",
            [("", hits)],
        ),
        (
            "pgrst_jwt_cache_evictions_total",
            "counter",
            "The total number of JWT cache evictions",
            [("", evictions)],
        ),
    ]
    lines: list[str] = []
    for name, kind, text, samples in metrics:
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
        lines += [f"{name}{labels} {value:g}" for labels, value in samples]
    return "\n".join(lines) + "\n"
