"""When incidents want to be woken: a heap of times, of which only the newest entry of an incident counts."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from ..core.model import Incident


class Timers:
    """The wake-up times of all incidents, on the controller's clock."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str]] = []
        self._at: dict[str, int] = {}

    def set(self, incident: str, at_ms: int) -> None:
        """Wake this incident then; replaces an earlier wish."""
        self._at[incident] = at_ms
        heapq.heappush(self._heap, (at_ms, incident))

    def reset(self, incidents: Iterable[Incident]) -> None:
        """Start anew from what the incidents themselves remember."""
        self._at = {i.id: i.wake_ms for i in incidents if i.wake_ms is not None}
        self._heap = [(at, incident) for incident, at in self._at.items()]
        heapq.heapify(self._heap)

    def next_ms(self) -> int | None:
        """The earliest time, or None."""
        self._drop_stale()
        return self._heap[0][0] if self._heap else None

    def due(self, now_ms: int) -> list[str]:
        """Take out everything whose time has come, in order of time."""
        found = []
        while (at_ms := self.next_ms()) is not None and at_ms <= now_ms:
            incident = heapq.heappop(self._heap)[1]
            del self._at[incident]
            found.append(incident)
        return found

    def _drop_stale(self) -> None:
        while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
