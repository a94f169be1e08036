"""When incidents and hosts want to be woken: a heap of times, of which only the newest entry of each counts."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from ..core.events import HostWoken, Woken
from ..core.model import Host, Incident

# Before a host's id, which could otherwise be taken for an incident's.
_HOST = "host:"


class Timers:
    """The wake-up times of all incidents, and of hosts whose permits are looked at, on the controller's clock."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str]] = []
        self._at: dict[str, int] = {}

    def set(self, incident: str, at_ms: int) -> None:
        """Wake this incident then; replaces an earlier wish."""
        self._at[incident] = at_ms
        heapq.heappush(self._heap, (at_ms, incident))

    def set_host(self, host: str, at_ms: int) -> None:
        """Wake this host then; replaces an earlier wish."""
        self.set(_HOST + host, at_ms)

    def reset(self, incidents: Iterable[Incident], hosts: Iterable[Host] = ()) -> None:
        """Start anew from what the incidents and hosts themselves remember."""
        self._at = {i.id: i.wake_ms for i in incidents if i.wake_ms is not None}
        self._at |= {_HOST + h.id: h.permits.due_ms for h in hosts if h.permits.due_ms is not None}
        self._heap = [(at, incident) for incident, at in self._at.items()]
        heapq.heapify(self._heap)

    def next_ms(self) -> int | None:
        """The earliest time, or None."""
        self._drop_stale()
        return self._heap[0][0] if self._heap else None

    def events(self, now_ms: int, count_max: int) -> list[Woken | HostWoken]:
        """What has to be told now, some of it if it is much: the rest at the next call."""
        due = self.due(now_ms, count_max)
        return [HostWoken(now_ms, k.removeprefix(_HOST)) if k.startswith(_HOST) else Woken(now_ms, k) for k in due]

    def due(self, now_ms: int, count_max: int = 1 << 30) -> list[str]:
        """Take out what has its time come, in order of time."""
        found: list[str] = []
        while len(found) < count_max and (at_ms := self.next_ms()) is not None and at_ms <= now_ms:
            incident = heapq.heappop(self._heap)[1]
            del self._at[incident]
            found.append(incident)
        return found

    def _drop_stale(self) -> None:
        while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
