"""An asyncio event loop over virtual time: it never waits, it goes to the moment at which something is due."""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

from ..clockwork import BEGIN_MS
from .strand import Killed

RESOLUTION_S = 1e-5


class _Selector(selectors.SelectSelector):
    """Waiting for input is letting virtual time pass."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("nothing is due and nothing ever will be")
        self.loop.now_ms += max(0, math.ceil((timeout - RESOLUTION_S) * 1000))
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time` is virtual, in steps of a millisecond."""

    def __init__(self) -> None:
        self.now_ms = BEGIN_MS
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        self._clock_resolution = RESOLUTION_S

    def time(self) -> float:
        return self.now_ms / 1000


class LoopClock:
    """What the rest of the simulation takes for its clockwork. The first error of anything ends the run."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.loop.set_exception_handler(self._failed)
        self._failure: BaseException | None = None
        asyncio.set_event_loop(self.loop)

    @property
    def now_ms(self) -> int:
        """Virtual time."""
        return self.loop.now_ms

    def at(self, ms: int, callback: Callable[..., Any], *args: Any) -> None:
        """Run the callback at this time."""
        self.loop.call_at(max(ms, self.now_ms) / 1000, callback, *args)

    def after(self, ms: int, callback: Callable[..., Any], *args: Any) -> None:
        """Run the callback after this time."""
        self.at(self.now_ms + ms, callback, *args)

    def run_until(self, ms: int) -> None:
        """Work everything off up to a time."""
        self.at(ms, self.loop.stop)
        self.loop.run_forever()
        if self._failure is not None:
            raise self._failure

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task whose error ends the run."""
        task = self.loop.create_task(work)
        task.add_done_callback(self._done)
        return task

    def fail(self, error: BaseException) -> None:
        """End the run with this error."""
        self._failure = self._failure or error
        self.loop.stop()

    def close(self) -> None:
        """Let go of everything that still waits."""
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.loop.set_exception_handler(lambda *_: None)
        self.at(self.now_ms, self.loop.stop)
        self.loop.run_forever()
        self.loop.close()
        asyncio.set_event_loop(None)

    def _done(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, Killed):
            self.fail(error)

    def _failed(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception") or RuntimeError(context["message"])
        if not isinstance(error, Killed):
            self.fail(error)
