"""Token buckets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from selfbase.gateway.ratelimit import RateLimiter


def test_a_burst_passes_and_then_the_rate_holds() -> None:
    limiter = RateLimiter(2.0, 3)
    assert [limiter.decide(("a",), 0.0).allowed for _ in range(4)] == [True, True, True, False]
    assert limiter.decide(("b",), 0.0).allowed
    assert limiter.decide(("a",), 0.0).retry_after_s == 1
    assert limiter.decide(("a",), 0.5).allowed
    assert not limiter.decide(("a",), 0.5).allowed


@given(st.lists(st.floats(0, 10), max_size=60))
def test_never_more_than_burst_and_rate_allow(moments: list[float]) -> None:
    limiter = RateLimiter(5.0, 4)
    passed = sum(limiter.decide(("a",), moment).allowed for moment in sorted(moments))
    assert passed <= 4 + 5.0 * (max(moments, default=0.0)) + 1e-6


def test_memory_is_bounded() -> None:
    limiter = RateLimiter(1.0, 1, entries_max=10)
    for number in range(100):
        limiter.decide((str(number),), 0.0)
    assert len(limiter._buckets) == 10
