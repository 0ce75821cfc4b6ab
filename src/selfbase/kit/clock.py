"""Time as an argument: decisions take a clock or a moment, never the system's time by themselves."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where a service gets the time from."""

    def now(self) -> datetime:
        """Aware UTC wall time, for everything that is stored or compared with a token."""

    def monotonic_s(self) -> float:
        """Seconds that never jump back, for durations and deadlines."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return time.monotonic()
