"""Whose turn it is to disturb this host: orders one after the other on a target, a permit only while nothing else does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .actions import Refused
from .documents import NotTaken

WAIT_S_MAX = 30.0
TARGETS_MAX = 1024


class Turns:
    """Who disturbs now. The controller gives one disruptive order a host at a time; only this knows of permits too."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._orders = 0
        self._alone = False
        self._targets: dict[str, threading.Lock] = {}

    @contextmanager
    def of_order(self, target: str, wait_s: float) -> Iterator[None]:
        """After the permit's action and the order on the same target that run now; Refused("busy") if they take too long."""
        wait_s = min(WAIT_S_MAX, max(0.0, wait_s))
        with self._changed:
            if not self._changed.wait_for(lambda: not self._alone, wait_s):
                raise Refused("busy", "cannot begin: an action by permit has not ended")
            self._orders += 1
            lock = self._lock_of(target)
        try:
            if not lock.acquire(timeout=wait_s):
                raise Refused("busy", "cannot begin: another order on the same target has not ended")
            try:
                yield
            finally:
                lock.release()
        finally:
            with self._changed:
                self._orders -= 1

    @contextmanager
    def of_permit(self, permit_id: str) -> Iterator[None]:
        """At once, or not now: when what runs has ended, the permit may not be needed any more."""
        with self._changed:
            if self._alone or self._orders:
                raise NotTaken("busy", f"cannot use {permit_id}: another action is under way on this host")
            self._alone = True
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()

    def _lock_of(self, target: str) -> threading.Lock:
        if len(self._targets) > TARGETS_MAX:
            self._targets = {key: lock for key, lock in self._targets.items() if lock.locked()}
        return self._targets.setdefault(target, threading.Lock())
