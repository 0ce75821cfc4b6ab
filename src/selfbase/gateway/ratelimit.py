"""Token buckets per project, key and address; decisions are pure, the memory is bounded."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request may pass, what is left, and how long to wait when it may not."""

    allowed: bool
    limit: int
    remaining: int
    retry_after_s: int


class RateLimiter:
    """At most `per_second` requests on average and `burst` at once for each key.

    Remembers at most `entries_max` callers; the one not seen for longest is forgotten first, which
    can only ever be in a caller's favour.
    """

    def __init__(self, per_second: float, burst: int, *, entries_max: int = 100_000) -> None:
        self._per_second = per_second
        self._burst = burst
        self._entries_max = entries_max
        self._buckets: OrderedDict[tuple[str, ...], tuple[float, float]] = OrderedDict()

    def decide(self, key: tuple[str, ...], now_s: float) -> Verdict:
        tokens, seen_s = self._buckets.pop(key, (float(self._burst), now_s))
        tokens = min(self._burst, tokens + max(0.0, now_s - seen_s) * self._per_second)
        allowed = tokens >= 1
        if allowed:
            tokens -= 1
        self._buckets[key] = (tokens, now_s)
        if len(self._buckets) > self._entries_max:
            self._buckets.popitem(last=False)
        wait_s = 0.0 if allowed else (1 - tokens) / self._per_second
        return Verdict(allowed, self._burst, int(tokens), max(1, int(wait_s + 0.999)))
