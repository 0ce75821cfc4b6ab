"""What Realtime counts: rates against limits, and the figures of /metrics.

Names are those that dashboards for upstream know.  Source: reference/realtime.md section 13.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from selfbase.kit.clock import Clock
from selfbase.realtime.logic.limits import RateWindow


class Meters:
    """The counters of one project."""

    def __init__(self, clock: Clock, tenant: str) -> None:
        self._clock = clock
        self.messages = RateWindow()
        self.presences = RateWindow()
        self.joins = RateWindow(buckets=10, bucket_s=1.0)
        self.registry = CollectorRegistry()
        label = {"registry": self.registry, "labelnames": ("tenant",)}
        self.connected = Gauge("realtime_connections_connected", "Open sockets.", **label).labels(
            tenant
        )
        self.channels = Gauge("realtime_channels", "Joined channels.", **label).labels(tenant)
        self.channel_events = Counter(
            "realtime_channel_events", "Messages sent and delivered.", **label
        ).labels(tenant)
        self.presence_events = Counter(
            "realtime_channel_presence_events", "Presence messages.", **label
        ).labels(tenant)
        self.db_events = Counter(
            "realtime_channel_db_events", "Database changes delivered.", **label
        ).labels(tenant)
        self.channel_joins = Counter("realtime_channel_joins", "Joins.", **label).labels(tenant)
        self.input_bytes = Counter(
            "realtime_channel_input_bytes", "Bytes received.", **label
        ).labels(tenant)
        self.output_bytes = Counter(
            "realtime_channel_output_bytes", "Bytes of broadcasts sent.", **label
        ).labels(tenant)
        self.payload_size = Histogram(
            "realtime_payload_size",
            "Bytes of a broadcast.",
            buckets=(250, 1_000, 10_000, 100_000, 1_000_000, 3_000_000),
            **label,
        ).labels(tenant)
        self.authorization_ms = Histogram(
            "realtime_tenants_read_authorization_check",
            "Milliseconds of asking the policies for a join.",
            buckets=(1, 5, 10, 50, 100, 500, 1_000, 5_000),
            **label,
        ).labels(tenant)
        self.database_latency_ms = Histogram(
            "realtime_tenants_broadcast_from_database_latency_committed_at",
            "Milliseconds from commit to delivery of a message sent from SQL.",
            buckets=(1, 5, 10, 50, 100, 500, 1_000, 5_000),
            **label,
        ).labels(tenant)
        self.changes = Counter(
            "realtime_replication_poller_changes_dispatch", "Row changes looked at.", **label
        ).labels(tenant)
        self.changes_skipped = Counter(
            "realtime_replication_poller_changes_skip", "Row changes nobody wanted.", **label
        ).labels(tenant)
        self.subscriptions = Gauge(
            "realtime_postgres_changes_total_subscriptions", "Bindings.", **label
        ).labels(tenant)
        self.clients = Gauge(
            "realtime_postgres_changes_client_subscriptions", "Channels with bindings.", **label
        ).labels(tenant)
        self.slot_lag_bytes = Gauge(
            "replication_realtime_lag_bytes", "Log held back by the slot.", **label
        ).labels(tenant)
        self.slot_status = Gauge(
            "replication_realtime_slot_status", "1 while the stream runs here.", **label
        ).labels(tenant)

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
        return generate_latest(self.registry)
