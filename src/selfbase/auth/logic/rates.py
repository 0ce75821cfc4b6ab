"""Token buckets and the texts that describe them."""

from __future__ import annotations

from dataclasses import dataclass

from selfbase.kit.settings import parse_seconds

BURST = 30


@dataclass(frozen=True, slots=True)
class Rate:
    """A bucket: at most `burst` at once, one more every `refill_s` seconds."""

    burst: int
    refill_s: float


def per_window(count: int, window_s: float) -> Rate | None:
    """`count` in each window, bursts of 30 as upstream; None for no limit at all."""
    if count <= 0:
        return None
    return Rate(max(1, min(BURST, count)), window_s / count)


def parse_rate(text: str) -> Rate | None:
    """`N` an hour, or `N/duration`: N at once and one more every duration.  `0` allows none.
    Raises ValueError."""
    count, slash, duration = text.strip().partition("/")
    number = int(float(count or "0"))
    if number <= 0:
        return Rate(0, 3600.0)
    if slash:
        return Rate(number, parse_seconds(duration))
    return Rate(number, 3600.0 / number)


@dataclass(frozen=True, slots=True)
class Bucket:
    """`level` tokens were left at `at_s`."""

    level: float
    at_s: float


def take(
    bucket: Bucket | None, rate: Rate, now_s: float, cost: int = 1
) -> tuple[Bucket, float | None]:
    """The bucket after one more, and how long to wait when there was none to take.  A cost of 0
    only looks."""
    if bucket is None:
        level = float(rate.burst)
    else:
        gained = max(0.0, now_s - bucket.at_s) / rate.refill_s
        level = min(float(rate.burst), bucket.level + gained)
    if level >= 1:
        return Bucket(level - cost, now_s), None
    return Bucket(level, now_s), (1 - level) * rate.refill_s
