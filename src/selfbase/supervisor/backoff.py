"""When to start a child again that has ended.  Pure."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_S = 0.1
MOST_S = 30.0
STEADY_S = 60.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often a child has ended too soon, one after another."""

    failures: int = 0

    def after_end(self, lived_s: float) -> Backoff:
        """A child that lived long enough starts the count anew."""
        return Backoff(1 if lived_s >= STEADY_S else self.failures + 1)

    @property
    def delay_s(self) -> float:
        """Nothing after a first end, then doubling up to half a minute."""
        if self.failures <= 1:
            return 0.0
        return float(min(MOST_S, FIRST_S * 2 ** (self.failures - 2)))
