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
            self._requests.labels(event.upstream, str(event.status)).inc()
            self._seconds.labels(event.upstream).observe(event.took_ms / 1000)
        else:
            self._events.labels(event.name, event.level).inc()

    def render(self) -> str:
        return generate_latest(self.registry).decode()
