"""Prometheus metrics of one worker: counted from events, rendered as text.

Counting happens with every request and is a few additions; names, labels and sums over buckets are
made when somebody reads them.  Source: Prometheus exposition format 0.0.4.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from selfbase.gateway.events import RequestServed
from selfbase.kit.events import Event

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_BUCKETS_MS = tuple(bound_s * 1000 for bound_s in _BUCKETS_S)


class Metrics(Collector):
    """A reader of events that counts.  The keys are bounded by the services, the statuses HTTP has
    and the types of events."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, int], int] = {}
        self._times: dict[str, _Times] = {}
        self._events: dict[tuple[str, str], int] = {}
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def __call__(self, event: Event) -> None:
        if isinstance(event, RequestServed):
            answered = (event.upstream, event.status)
            self._requests[answered] = self._requests.get(answered, 0) + 1
            times = self._times.get(event.upstream)
            if times is None:
                times = self._times[event.upstream] = _Times()
            times.counts[bisect_left(_BUCKETS_MS, event.took_ms)] += 1
            times.sum_ms += event.took_ms
        else:
            named = (event.name, event.level)
            self._events[named] = self._events.get(named, 0) + 1

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "selfbase_http_requests",
            "Requests answered by the gateway.",
            labels=("upstream", "status"),
        )
        for (upstream, status), count in self._requests.items():
            requests.add_metric((upstream, str(status)), count)
        yield requests
        seconds = HistogramMetricFamily(
            "selfbase_http_request_seconds", "Time to answer a request.", labels=("upstream",)
        )
        for upstream, times in self._times.items():
            seconds.add_metric((upstream,), times.list_buckets(), times.sum_ms / 1000)
        yield seconds
        events = CounterMetricFamily(
            "selfbase_events",
            "Events other than requests, by name and level.",
            labels=("name", "level"),
        )
        for (name, level), count in self._events.items():
            events.add_metric((name, level), count)
        yield events

    def render(self) -> str:
        return generate_latest(self._registry).decode()


class _Times:
    """How many requests took how long: one count for each bucket, the last for what is slower."""

    __slots__ = ("counts", "sum_ms")

    def __init__(self) -> None:
        self.counts = [0] * (len(_BUCKETS_MS) + 1)
        self.sum_ms = 0.0

    def list_buckets(self) -> list[tuple[str, float]]:
        """Upper bounds with the requests up to them, as Prometheus wants them: each in all above."""
        total = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip(
            (*map(str, map(float, _BUCKETS_S)), "+Inf"), self.counts, strict=True
        ):
            total += count
            buckets.append((bound, float(total)))
        return buckets
