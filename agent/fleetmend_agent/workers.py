"""Threads for work that may hang. One that hangs is given up: its result is dropped, another takes its place, up to a limit.

Short work runs one after the other on one thread: several would mostly hand Python's interpreter lock to each other, which
costs an agent at rest more than the work itself. Only work that keeps others waiting brings another thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

THREADS_MAX = 4
GIVEN_UP_MAX = 8
# How long queued work waits for a thread before one more is started.
PATIENCE_S = 0.05


class WorkersExhausted(RuntimeError):
    """So many threads hang that no more may be started; the text begins with `cannot`."""


@dataclass(slots=True, eq=False)
class Job:
    """One piece of work on a thread. `done` completes when the work returns, even long after it was given up."""

    name: str
    work: Callable[[], Any]
    done: asyncio.Future[Any]
    running: bool = False
    given_up: bool = False
    dropped: bool = False


class Workers:
    """A small pool of daemon threads, started when needed; one waits for more. All methods belong to the event loop's thread.

    The work must not raise: whoever submits it catches what it may do (see `runner.guarded`).
    """

    def __init__(self, threads_max: int = THREADS_MAX, given_up_max: int = GIVEN_UP_MAX) -> None:
        self._threads_max = threads_max
        self._given_up_max = given_up_max
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0
        self._given_up: dict[int, str] = {}
        self._fresh: list[Job] = []
        self._ended: list[tuple[Job, Any]] = []
        self._patience: asyncio.TimerHandle | None = None

    @property
    def hung(self) -> list[str]:
        """Names of the work whose threads were given up and have not returned."""
        return sorted(self._given_up.values())

    @property
    def threads(self) -> int:
        """How many threads there are, without those that were given up."""
        return self._threads

    def submit(self, name: str, work: Callable[[], Any]) -> Job:
        """Queues work. Raises WorkersExhausted when too many threads hang."""
        if len(self._given_up) >= self._given_up_max:
            hung = ", ".join(self.hung)
            raise WorkersExhausted(
                f"cannot start {name}: {len(self._given_up)} worker threads hang ({hung}), no more are started"
            )
        loop = asyncio.get_running_loop()
        job = Job(name, work, loop.create_future())
        if not self._fresh:
            # Handed on when the loop has done what it has to do now: it would only wait for the thread.
            loop.call_soon(self._hand_on, loop)
        self._fresh.append(job)
        return job

    def give_up(self, job: Job) -> bool:
        """Stops waiting for a job. True if a thread hangs with it, False if it had not begun and never will."""
        with self._lock:
            if not job.running:
                job.dropped = True
                return False
            job.given_up = True
            self._threads -= 1
        self._given_up[id(job)] = job.name
        return True

    def close(self) -> None:
        """Lets idle threads end. Hanging ones are daemons and end with the process."""
        if self._patience is not None:
            self._patience.cancel()
        for _ in range(self._threads):
            self._queue.put(None)

    def _hand_on(self, loop: asyncio.AbstractEventLoop) -> None:
        fresh, self._fresh = self._fresh, []
        for job in fresh:
            self._queue.put(job)
        with self._lock:
            alone = not self._threads
        if alone:
            self._reinforce(loop)
        elif self._patience is None:
            self._patience = loop.call_later(PATIENCE_S, self._out_of_patience, loop)

    def _out_of_patience(self, loop: asyncio.AbstractEventLoop) -> None:
        self._patience = None
        waiting = not self._queue.empty()
        self._collect()
        if waiting:
            self._reinforce(loop)

    def _reinforce(self, loop: asyncio.AbstractEventLoop) -> None:
        """One more thread, and another look a little later."""
        with self._lock:
            start = not self._idle and self._threads < self._threads_max
            self._threads += start
        if start:
            threading.Thread(target=self._serve, args=(loop,), name="worker", daemon=True).start()
        if self._patience is not None:
            self._patience.cancel()
        self._patience = loop.call_later(PATIENCE_S, self._out_of_patience, loop)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        while (job := self._next()) is not None:
            outcome = job.work()
            with self._lock:
                job.running = False
                last = job.given_up
                self._ended.append((job, outcome))
                # Whoever goes on at once tells of all together: waking the loop costs more than most work here. Should the
                # next piece hang, the loop looks by itself when its patience ends.
                wake = last or self._queue.empty()
            if wake:
                # The loop is closed when the process is about to end; nobody waits for this result then.
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._collect)
            if last:
                return

    def _next(self) -> Job | None:
        """Waits for work, as the only one who waits; None if this thread is not needed any more."""
        while True:
            with self._lock:
                if self._idle and self._queue.empty():
                    self._threads -= 1
                    return None
                self._idle += 1
            job = self._queue.get()
            with self._lock:
                self._idle -= 1
                if job is None:
                    return None
                if not job.dropped:
                    job.running = True
                    return job

    def _collect(self) -> None:
        # Looked at first: work that ended without waking the loop ended before the queue was empty, and is among these.
        idle = self._queue.empty()
        with self._lock:
            ended, self._ended = self._ended, []
        for job, outcome in ended:
            self._given_up.pop(id(job), None)
            if not job.done.done():
                job.done.set_result(outcome)
        if self._patience is not None and idle:
            # Nothing waits: the loop need not wake up to see that.
            self._patience.cancel()
            self._patience = None
