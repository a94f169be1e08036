"""Pressure stall triggers: the kernel says when tasks have waited too long for memory.

A window that is a multiple of two seconds needs no capability since Linux 6.4; before, it takes CAP_SYS_RESOURCE. Kernels
without PSI, or with it switched off at boot, refuse. Then the check polls; `doctor` says which it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from ..host import Host
from ._priority import PriorityWatch

WINDOW_US = 2_000_000
STALL_US = 200_000
_RESOURCES = ("memory",)


class PressureSignal:
    """One trigger a resource."""

    def __init__(self, host: Host, on_event: Callable[[], None]) -> None:
        self._host = host
        self._on_event = on_event
        self._watch: PriorityWatch | None = None
        self.problem = ""

    def start(self) -> None:
        """Sets the triggers; `problem` says why if there are none."""
        watch = PriorityWatch(lambda _: self._on_event())
        for resource in _RESOURCES:
            path = self._host.path(f"/proc/pressure/{resource}")
            try:
                watch.add(open_trigger(path))
            except OSError as error:
                watch.close()
                self.problem = f"cannot set a pressure trigger on {path}: {error.strerror}; pressure is polled"
                return
        self._watch = watch

    def stop(self) -> None:
        """Removes the triggers."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None


def open_trigger(path: str) -> int:
    """A descriptor that has POLLPRI when tasks stalled for STALL_US within WINDOW_US. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.write(descriptor, f"some {STALL_US} {WINDOW_US}\0".encode())
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
