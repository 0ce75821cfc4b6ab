"""What Realtime counts: rates against limits, and the figures of /metrics.

Names are those that dashboards for upstream know.  Source: reference/realtime.md section 13.
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from selfbase.kit.clock import Clock
from selfbase.realtime.logic.limits import RateWindow

_LABELS = ("tenant",)
_TOTALS = ("phoenix_channel_joined",)
SIZES_BYTES = (250, 1_000, 10_000, 100_000, 1_000_000, 3_000_000)
TIMES_MS = (1, 5, 10, 50, 100, 500, 1_000, 5_000)


class Meters:
    """The counters of one project."""

    def __init__(self, clock: Clock, tenant: str) -> None:
        self._clock = clock
        self.messages = RateWindow()
        self.presences = RateWindow()
        self.joins = RateWindow(buckets=10, bucket_s=1.0)
        self.registry = CollectorRegistry()
        self._tenant = tenant
        self._counters: list[str] = []
        self.sent_bytes = 0  # added to on the hot path, counted when somebody looks
        self.connected = self._gauge("realtime_connections_connected", "Open sockets.")
        self.channels = self._gauge("realtime_channels", "Joined channels.")
        self.channel_events = self._counter(
            "realtime_channel_events", "Messages sent and delivered."
        )
        self.presence_events = self._counter(
            "realtime_channel_presence_events", "Presence messages."
        )
        self.db_events = self._counter("realtime_channel_db_events", "Database changes delivered.")
        self.channel_joins = self._counter("realtime_channel_joins", "Joins asked for.")
        self.joined = self._counter("phoenix_channel_joined", "Joins that were allowed.")
        self.input_bytes = self._counter("realtime_channel_input_bytes", "Bytes received.")
        self._output_bytes = self._counter("realtime_channel_output_bytes", "Bytes sent.")
        self.payload_size = self._histogram(
            "realtime_payload_size", "Bytes of a broadcast.", SIZES_BYTES
        )
        self.authorization_ms = self._histogram(
            "realtime_tenants_read_authorization_check",
            "Milliseconds of asking the policies for a join.",
            TIMES_MS,
        )
        self.database_latency_ms = self._histogram(
            "realtime_tenants_broadcast_from_database_latency_committed_at",
            "Milliseconds from commit to delivery of a message sent from SQL.",
            TIMES_MS,
        )
        self.batch_ms = self._histogram(
            "realtime_replication_poller_query_duration",
            "Milliseconds of judging and delivering one batch of changes.",
            TIMES_MS,
        )
        self.changes = self._counter(
            "realtime_replication_poller_changes_dispatch", "Row changes looked at."
        )
        self.changes_skipped = self._counter(
            "realtime_replication_poller_changes_skip", "Row changes nobody wanted."
        )
        self.subscriptions = self._gauge(
            "realtime_postgres_changes_total_subscriptions", "Bindings."
        )
        self.clients = self._gauge(
            "realtime_subscriptions_manager_subscribers", "Channels with bindings."
        )
        self.slot_lag_bytes = self._gauge(
            "replication_realtime_lag_bytes", "Log held back by the slot."
        )
        self.slot_status = self._gauge(
            "replication_realtime_slot_status", "1 while the stream runs here."
        )

    def _gauge(self, name: str, words: str) -> Gauge:
        return Gauge(name, words, _LABELS, registry=self.registry).labels(self._tenant)

    def _counter(self, name: str, words: str) -> Counter:
        self._counters.append(name)
        return Counter(name, words, _LABELS, registry=self.registry).labels(self._tenant)

    def _histogram(self, name: str, words: str, buckets: Sequence[float]) -> Histogram:
        made = Histogram(name, words, _LABELS, buckets=buckets, registry=self.registry)
        return made.labels(self._tenant)

    def count_messages(self, count: int) -> None:
        self.messages.add(count, self._clock.monotonic_s())
        self.channel_events.inc(count)

    def count_presence(self) -> None:
        self.presences.add(1, self._clock.monotonic_s())
        self.presence_events.inc()

    def message_rate(self) -> float:
        return self.messages.average_per_s(self._clock.monotonic_s())

    def presence_rate(self) -> float:
        return self.presences.average_per_s(self._clock.monotonic_s())

    def render(self) -> bytes:
        """The text of /metrics."""
        self._output_bytes.inc(self.sent_bytes)
        self.sent_bytes = 0
        text = generate_latest(self.registry)
        for name in self._counters:
            if name not in _TOTALS:  # the client library gives every counter this ending
                text = text.replace(f"{name}_total".encode(), name.encode())
        return text
