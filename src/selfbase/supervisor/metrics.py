"""Prometheus metrics of one worker: counted from events, rendered as text.

Source: Prometheus exposition format 0.0.4.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

from selfbase.gateway.events import RequestServed
from selfbase.kit.events import Event

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class Metrics:
    """A reader of events that counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        # Bounded by the services and the statuses HTTP has.
        self._pairs: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self._requests = Counter(
            "selfbase_http_requests",
            "Requests answered by the gateway.",
            ("upstream", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "selfbase_http_request_seconds",
            "Time to answer a request.",
            ("upstream",),
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self._events = Counter(
            "selfbase_events",
            "Events other than requests, by name and level.",
            ("name", "level"),
            registry=self.registry,
        )

    def __call__(self, event: Event) -> None:
        if isinstance(event, RequestServed):
            counter, seconds = self._find_pair(event.upstream, event.status)
            counter.inc()
            seconds.observe(event.took_ms / 1000)
        else:
            self._events.labels(event.name, event.level).inc()

    def _find_pair(self, upstream: str, status: int) -> tuple[Counter, Histogram]:
        pair = self._pairs.get((upstream, status))
        if pair is None:
            pair = self._pairs[upstream, status] = (
                self._requests.labels(upstream, str(status)),
                self._seconds.labels(upstream),
            )
        return pair

    def render(self) -> str:
        return generate_latest(self.registry).decode()
