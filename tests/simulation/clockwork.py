"""Virtual time: a heap of what happens when. Nothing sleeps."""

from __future__ import annotations

import heapq
from collections.abc import Callable


class Clockwork:
    """Runs callbacks in order of virtual time; equal times keep the order in which they were asked for."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, ms: int, callback: Callable[[], None]) -> None:
        """Run the callback at this time."""
        self._count += 1
        heapq.heappush(self._heap, (max(ms, self.now_ms), self._count, callback))

    def after(self, ms: int, callback: Callable[[], None]) -> None:
        """Run the callback after this time."""
        self.at(self.now_ms + ms, callback)

    def run_until(self, ms: int) -> None:
        """Work everything off up to a time."""
        while self._heap and self._heap[0][0] <= ms:
            at_ms, _, callback = heapq.heappop(self._heap)
            self.now_ms = at_ms
            callback()
        self.now_ms = ms
