"""Blocking code under virtual time: each call has a thread of its own; only one runs at a time, by turns with the loop.

The executor waits while an action runs, and for locks and events. Here it hands its turn back instead, and gets it again when
virtual time has come, or when what it waited for has happened.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Self

_local = threading.local()
LOCK_LOOK_MS = 10


class Killed(BaseException):
    """The process is dead: nothing of it goes on."""


class Strand:
    """One call of blocking code."""

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Callable[[], Any]) -> None:
        self._loop = loop
        self._work = work
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._error: BaseException | None = None
        self._over = False
        self.done: asyncio.Future[Any] = loop.create_future()
        self.note: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def resume(self, error: BaseException | None = None) -> None:
        """Its turn, until it waits again or ends. `error` is raised where it waits."""
        if self._over:
            return
        self._error = error
        self._go.release()
        self._back.acquire()

    def kill(self) -> None:
        """End it where it stands."""
        self.resume(Killed())
        self._thread.join()

    def pause(self, ms: int) -> None:
        """From within: let virtual time pass."""
        self._loop.call_later(ms / 1000, self.resume)
        self._wait()

    def _wait(self) -> None:
        self._back.release()
        self._go.acquire()
        self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        self._go.acquire()
        _local.strand = self
        try:
            self._check()
            self._answer(self._work())
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - handed to who waits for it
            if not self.done.done():
                self.done.set_exception(error)
        finally:
            self._over = True
            self._back.release()

    def _answer(self, result: Any) -> None:
        if not self.done.done():
            self.done.set_result(result)


def current() -> Strand:
    """The strand whose code this is."""
    return _local.strand


def strand_of_this_thread() -> Strand | None:
    """None outside of all."""
    return getattr(_local, "strand", None)


class Event:
    """As threading.Event, by turns."""

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        """Let everybody go on who waits."""
        self._set = True

    def wait(self, timeout: float) -> bool:
        """Until it is set, or virtual time has passed."""
        left_ms = int(timeout * 1000)
        while not self._set and left_ms > 0:
            current().pause(LOCK_LOOK_MS)
            left_ms -= LOCK_LOOK_MS
        return self._set


class Lock:
    """As threading.Lock, by turns."""

    def __init__(self) -> None:
        self._held = False

    def acquire(self, timeout: float = 3600.0) -> bool:
        """Take it, or give up after a while."""
        left_ms = int(timeout * 1000)
        while self._held and left_ms > 0:
            current().pause(LOCK_LOOK_MS)
            left_ms -= LOCK_LOOK_MS
        if self._held:
            return False
        self._held = True
        return True

    def release(self) -> None:
        """Give it back."""
        self._held = False

    def locked(self) -> bool:
        """Whether somebody holds it."""
        return self._held

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Condition(Lock):
    """As threading.Condition, by turns: who waits looks again by itself."""

    def wait_for(self, happened: Callable[[], bool], timeout: float) -> bool:
        """Until it has happened, or virtual time has passed; the lock is free meanwhile."""
        left_ms = int(timeout * 1000)
        while not happened() and left_ms > 0:
            self.release()
            current().pause(LOCK_LOOK_MS)
            self.acquire()
            left_ms -= LOCK_LOOK_MS
        return happened()

    def notify_all(self) -> None:
        """Nothing to do."""


class Threading:
    """What the executor takes for the threading module."""

    Condition = Condition
    Event = Event
    Lock = Lock
