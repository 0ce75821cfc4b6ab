"""Counting what happened lately: rates over a sliding window, the moment given by the caller."""

from __future__ import annotations


class RateWindow:
    """Counts in `buckets` spans of `bucket_s` seconds; old ones fall out as time passes."""

    __slots__ = ("_bucket_s", "_counts", "_last", "_total")

    def __init__(self, buckets: int = 12, bucket_s: float = 5.0) -> None:
        self._bucket_s = bucket_s
        self._counts = [0] * buckets
        self._last = 0
        self._total = 0

    def add(self, count: int, now_s: float) -> None:
        self._advance(now_s)
        self._counts[self._last % len(self._counts)] += count
        self._total += count

    def total(self, now_s: float) -> int:
        """How many within the window."""
        self._advance(now_s)
        return self._total

    def average_per_s(self, now_s: float) -> float:
        """The mean rate over the whole window, so that a short burst passes."""
        return self.total(now_s) / (len(self._counts) * self._bucket_s)

    def _advance(self, now_s: float) -> None:
        index = int(now_s / self._bucket_s)
        if index <= self._last:
            return
        for step in range(self._last + 1, min(index, self._last + len(self._counts)) + 1):
            place = step % len(self._counts)
            self._total -= self._counts[place]
            self._counts[place] = 0
        self._last = index


class CallLimit:
    """At most `calls_max` within `window_s`: for one client's presence calls."""

    __slots__ = ("_calls_max", "_times", "_window_s")

    def __init__(self, calls_max: int, window_s: float) -> None:
        self._calls_max = calls_max
        self._window_s = window_s
        self._times: list[float] = []

    def allow(self, now_s: float) -> bool:
        self._times = [moment for moment in self._times if moment > now_s - self._window_s]
        if len(self._times) >= self._calls_max:
            return False
        self._times.append(now_s)
        return True
