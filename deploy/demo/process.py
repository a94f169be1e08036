"""Ordinary processes that a demo or a test starts, watches and ends, by their own number only."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LOG_TAIL_BYTES = 3000


class DemoError(RuntimeError):
    """Something did not come about; the text says what, and shows the end of the log that knows why."""


@dataclass(slots=True)
class Process:
    """One program with its log. Each start is a fresh process that appends to the same log."""

    name: str
    argv: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    _running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; the end of an earlier one must have been awaited."""
        with self.log.open("ab") as log:
            self._running = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
                cwd=self.log.parent,
                process_group=0,  # Ctrl-C in the terminal is for whoever started the world, who ends it in order
            )

    @property
    def pid(self) -> int:
        """Its process number."""
        if self._running is None:
            raise DemoError(f"cannot name the process of {self.name}: it was never started")
        return self._running.pid

    @property
    def alive(self) -> bool:
        """Whether it runs now."""
        return self._running is not None and self._running.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to a running one."""
        if self.alive and self._running is not None:
            self._running.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self.signal(signal.SIGKILL)
        if self._running is not None:
            self._running.wait()

    def stop(self, timeout_s: float = 10.0) -> int | None:
        """Ask it to end, insist after the time; its exit status, None if it never ran."""
        if self._running is None:
            return None
        self.signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._running.wait(timeout_s)
        self.kill()
        return self._running.returncode

    def wait_end(self, timeout_s: float) -> int:
        """Its exit status once it ends by itself."""
        if self._running is None:
            raise DemoError(f"cannot wait for {self.name}: it was never started")
        try:
            return self._running.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise DemoError(f"cannot see the end of {self.name}: it still runs after {timeout_s:g} s") from error

    def tail(self) -> str:
        """The end of its log."""
        if not self.log.exists():
            return "(no log)"
        return self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")


def wait_for(what: str, condition: Callable[[], bool], timeout_s: float, *watched: Process, every_s: float = 0.05) -> None:
    """Return once the condition holds. DemoError when it does not in time, or at once when a watched process died."""
    end = time.monotonic() + timeout_s
    while not condition():
        dead = [process for process in watched if not process.alive]
        if dead:
            raise DemoError(f"cannot go on: {dead[0].name} ended by itself; its log ends with\n{dead[0].tail()}")
        if time.monotonic() > end:
            logs = "".join(f"\n--- {process.name} ---\n{process.tail()}" for process in watched)
            raise DemoError(f"cannot see {what} within {timeout_s:g} s{logs}")
        time.sleep(every_s)
