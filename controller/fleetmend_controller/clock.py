"""The controller's clock: the only place that reads time. Wall time anchored once, moved on by the monotonic clock."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """Time that never steps back while the process lives, and how far the system's own clock has gone from it."""

    def __init__(self, wall_ns: Callable[[], int] = time.time_ns, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        self._ahead_ms = self.wall_ms() - monotonic_ns() // 1_000_000

    def now_ms(self) -> int:
        """Unix milliseconds that never step back while the process lives."""
        return self._monotonic_ns() // 1_000_000 + self._ahead_ms

    def wall_ms(self) -> int:
        """Unix milliseconds of the system's clock as it stands now, for certificates and expiry dates."""
        return self._wall_ns() // 1_000_000

    def never_before(self, at_ms: int) -> int:
        """Go on from `at_ms` if this clock is not there yet; by how many milliseconds it had to be put forward.

        The journal's newest time is behind us, whatever the system's clock was set to while the controller was down.
        """
        skipped_ms = max(0, at_ms - self.now_ms())
        self._ahead_ms += skipped_ms
        return skipped_ms

    def wall_ahead_ms(self) -> int:
        """How far the system's clock is ahead of this one: constant, unless somebody sets it or the machine slept."""
        return self.wall_ms() - self.now_ms()


CLOCK = Clock()
now_ms = CLOCK.now_ms
wall_ms = CLOCK.wall_ms
