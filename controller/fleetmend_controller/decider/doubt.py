"""Reasons for the controller to doubt itself: it stood still, or time was not what it seemed.

The memory of such a watcher is no evidence: nothing is done until the hosts have spoken afresh (see ObserverDoubted).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, unique

LOOK_EVERY_S = 1.0
STALL_MS_MAX = 5_000
JUMP_MS_MAX = 5_000


@unique
class Cause(Enum):
    """What went wrong with the observer: a label of the metric, a word of the log."""

    LOOP_STALLED = "loop_stalled"
    CLOCK_JUMPED = "clock_jumped"
    JOURNAL_OUTAGE = "journal_outage"


@dataclass(frozen=True, slots=True)
class Doubt:
    """One reason to doubt, with the sentence for people."""

    cause: Cause
    text: str


class SelfWatch:
    """Looks at the controller's own clocks, once a second and before each group of decisions.

    `now_ms` never steps back; `wall_ahead_ms` is how far the system's clock is ahead of it.
    """

    def __init__(self, now_ms: Callable[[], int], wall_ahead_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._wall_ahead_ms = wall_ahead_ms
        self._looked_ms: int | None = None
        self._ahead_ms = 0

    def look(self) -> list[Doubt]:
        """What happened since the last look; the first look only remembers."""
        now_ms, ahead_ms = self._now_ms(), self._wall_ahead_ms()
        looked_ms, before_ms = self._looked_ms, self._ahead_ms
        self._looked_ms, self._ahead_ms = now_ms, ahead_ms
        if looked_ms is None:
            return []
        found = []
        if now_ms - looked_ms > STALL_MS_MAX:
            text = f"the controller stood still for {(now_ms - looked_ms) / 1000:.1f} s"
            found.append(Doubt(Cause.LOOP_STALLED, text))
        if abs(ahead_ms - before_ms) > JUMP_MS_MAX:
            way = "forward" if ahead_ms > before_ms else "back"
            text = f"the controller's wall clock jumped {way} by {abs(ahead_ms - before_ms) / 1000:.1f} s"
            found.append(Doubt(Cause.CLOCK_JUMPED, text))
        return found
