"""When each thing runs: one heap for everything periodic, on one grid, so that an agent at rest wakes up rarely.

All entries of a host share one random phase: checks with the same interval fall on the same instant, other hosts on another.
An entry keeps a steady interval, however long a run took. Pure: the caller brings the clock and does the waiting.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass


@dataclass(slots=True)
class _Entry:
    every_ms: int
    generation: int


class Schedule:
    """Due times by name, in milliseconds of a clock that never steps."""

    def __init__(self, phase_ms: int) -> None:
        """`phase_ms`: where this host's grid lies; any number."""
        self._phase_ms = phase_ms
        self._entries: dict[str, _Entry] = {}
        self._heap: list[tuple[int, str, int]] = []
        self._generation = 0

    def add(self, name: str, every_ms: int, now_ms: int, first_in_ms: int | None = None) -> None:
        """Adds or replaces an entry: first due after `first_in_ms`, or at its next slot; then at each slot of its interval."""
        if every_ms < 1:
            raise ValueError(f"cannot schedule {name!r}: the interval is {every_ms} ms")
        self._generation += 1
        self._entries[name] = _Entry(every_ms, self._generation)
        due_ms = self._slot_after(every_ms, now_ms) if first_in_ms is None else now_ms + first_in_ms
        heapq.heappush(self._heap, (due_ms, name, self._generation))

    def remove(self, name: str) -> None:
        """Forgets an entry; one that is not there is forgotten already."""
        self._entries.pop(name, None)

    def next_due_ms(self) -> int | None:
        """When something is due next; None if nothing is scheduled."""
        while self._heap and self._stale(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now_ms: int) -> list[str]:
        """The names that are due, each moved to its next slot. Slots missed in between are skipped, not made up for."""
        names: list[str] = []
        while (due_ms := self.next_due_ms()) is not None and due_ms <= now_ms:
            _, name, generation = heapq.heappop(self._heap)
            names.append(name)
            heapq.heappush(self._heap, (self._slot_after(self._entries[name].every_ms, now_ms), name, generation))
        return names

    def _stale(self, item: tuple[int, str, int]) -> bool:
        entry = self._entries.get(item[1])
        return entry is None or entry.generation != item[2]

    def _slot_after(self, every_ms: int, now_ms: int) -> int:
        offset = self._phase_ms % every_ms
        return now_ms - (now_ms - offset) % every_ms + every_ms
