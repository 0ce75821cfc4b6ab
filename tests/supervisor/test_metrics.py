"""The figures of a worker, as Prometheus reads them."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from selfbase.gateway.events import RequestServed, ServiceFailed
from selfbase.supervisor.metrics import Metrics


def _serve(metrics: Metrics, status: int, took_ms: float) -> None:
    metrics(
        RequestServed(
            request_id="r",
            project="p",
            upstream="rest",
            method="GET",
            path="/",
            status=status,
            took_ms=took_ms,
            client="",
            key="",
            user_agent="",
        )
    )


def test_requests_and_their_times_are_counted() -> None:
    metrics = Metrics()
    for status, took_ms in ((200, 0.4), (200, 1.0), (404, 3.0), (200, 60_000.0)):
        _serve(metrics, status, took_ms)
    metrics(ServiceFailed(request_id="r", project="p", upstream="rest", error="e", where="w"))
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.render())
        for sample in family.samples
    }
    rest = ("upstream", "rest")
    assert samples["selfbase_http_requests_total", ("status", "200"), rest] == 3
    assert samples["selfbase_http_requests_total", ("status", "404"), rest] == 1
    bucket = "selfbase_http_request_seconds_bucket"
    assert samples[bucket, ("le", "0.001"), rest] == 2  # a bound belongs to its bucket
    assert samples[bucket, ("le", "0.005"), rest] == 3
    assert samples[bucket, ("le", "10.0"), rest] == 3
    assert samples[bucket, ("le", "+Inf"), rest] == 4
    assert samples["selfbase_http_request_seconds_count", rest] == 4
    assert samples["selfbase_http_request_seconds_sum", rest] == pytest.approx(60.0044)
    failed = ("level", "error"), ("name", "gateway.service.failed")
    assert samples["selfbase_events_total", *failed] == 1
