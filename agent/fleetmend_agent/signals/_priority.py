"""Waiting for POLLPRI in the event loop, which itself only waits for data: an epoll descriptor is readable when it fires."""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable


class PriorityWatch:
    """Calls back with each watched descriptor that has a priority event. Owns the descriptors given to it."""

    def __init__(self, on_event: Callable[[int], None]) -> None:
        self._on_event = on_event
        self._epoll = select.epoll()
        self._descriptors: list[int] = []
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._epoll.fileno(), self._ready)

    def add(self, descriptor: int) -> None:
        """Watches one more descriptor."""
        self._epoll.register(descriptor, select.EPOLLPRI | select.EPOLLERR)
        self._descriptors.append(descriptor)

    def close(self) -> None:
        """Stops watching and closes what is watched."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _ready(self) -> None:
        for descriptor, _ in self._epoll.poll(0):
            self._on_event(descriptor)
