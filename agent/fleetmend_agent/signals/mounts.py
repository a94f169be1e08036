"""The kernel marks its mount table when anything is mounted, unmounted or remounted, say read-only after an I/O error."""

from __future__ import annotations

import os
from collections.abc import Callable

from ..host import Host
from ._priority import PriorityWatch


class MountsSignal:
    """Watches the mount table of this process's namespace."""

    def __init__(self, host: Host, on_event: Callable[[], None]) -> None:
        self._host = host
        self._on_event = on_event
        self._watch: PriorityWatch | None = None
        self.problem = ""

    def start(self) -> None:
        """Begins to watch; `problem` says why if it cannot."""
        path = self._host.path("/proc/self/mountinfo")
        watch = PriorityWatch(lambda _: self._on_event())
        try:
            watch.add(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            watch.close()
            self.problem = f"cannot watch {path}: {error.strerror}; mounts are polled"
            return
        self._watch = watch

    def stop(self) -> None:
        """Stops watching."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
