"""Virtual time: a heap of what happens when. Nothing sleeps, and time in which nothing happens costs nothing."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

BEGIN_MS = 1_000_000


class Clockwork:
    """Runs callbacks in order of virtual time; equal times keep the order in which they were asked for."""

    def __init__(self) -> None:
        self.now_ms = BEGIN_MS
        self._heap: list[tuple[int, int, Callable[..., Any], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, ms: int, callback: Callable[..., Any], *args: Any) -> None:
        """Run the callback at this time."""
        self._count += 1
        heapq.heappush(self._heap, (max(ms, self.now_ms), self._count, callback, args))

    def after(self, ms: int, callback: Callable[..., Any], *args: Any) -> None:
        """Run the callback after this time."""
        self.at(self.now_ms + ms, callback, *args)

    def run_until(self, ms: int) -> None:
        """Work everything off up to a time."""
        heap = self._heap
        while heap and heap[0][0] <= ms:
            at_ms, _, callback, args = heapq.heappop(heap)
            self.now_ms = at_ms
            callback(*args)
        self.now_ms = ms
