"""Runs one tool: no shell, bounded time and output, and nothing of it left behind."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

_POLL_S = 0.05
_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Finished:
    """How a tool ended. `exit_code` is negative (minus the signal) when it was killed; `truncated`: output was cut."""

    exit_code: int
    stdout: str
    stderr: str
    timed_out: bool = False
    truncated: bool = False


class _Pipes:
    """Collects two pipes up to a limit each, and goes on draining beyond it so that the tool never blocks on a full pipe."""

    def __init__(self, stdout: IO[bytes], stderr: IO[bytes], bytes_max: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._bytes_max = bytes_max
        self._kept: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self.truncated = False
        for name, pipe in (("stdout", stdout), ("stderr", stderr)):
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, selectors.EVENT_READ, name)

    @property
    def open(self) -> bool:
        return bool(self._selector.get_map())

    def pump(self, wait_s: float) -> bool:
        """Waits for output and keeps it; says whether there was any."""
        ready = self._selector.select(wait_s)
        for key, _ in ready:
            self._take(key)
        return bool(ready)

    def _take(self, key: selectors.SelectorKey) -> None:
        part = os.read(key.fd, _CHUNK_BYTES)
        if not part:
            self._selector.unregister(key.fileobj)
            return
        kept = self._kept[key.data]
        room = self._bytes_max - len(kept)
        kept += part[:room]
        self.truncated = self.truncated or len(part) > room

    def text(self, name: str) -> str:
        return self._kept[name].decode("utf-8", "replace")

    def close(self) -> None:
        self._selector.close()


def run(argv: tuple[str, ...], environment: Mapping[str, str], timeout_s: float, output_bytes_max: int) -> Finished:
    """Runs `argv` to its end or to the timeout. Blocks: only from a worker thread. Raises OSError when it cannot start."""
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(environment),
        cwd="/",
        start_new_session=True,
    )
    with process:
        if process.stdout is None or process.stderr is None:
            raise OSError("no pipes")
        pipes = _Pipes(process.stdout, process.stderr, output_bytes_max)
        try:
            ended = _follow(process.pid, pipes, time.monotonic() + timeout_s)
        finally:
            _end_group(process.pid)
            exit_code = process.wait()
            pipes.close()
    return Finished(exit_code, pipes.text("stdout"), pipes.text("stderr"), timed_out=not ended, truncated=pipes.truncated)


def _follow(pid: int, pipes: _Pipes, deadline_s: float) -> bool:
    """Collects output until the tool itself ends; True if it did in time. A child that keeps the pipes is not awaited."""
    while (left_s := deadline_s - time.monotonic()) > 0:
        if pipes.open:
            pipes.pump(min(left_s, _POLL_S))
        else:
            time.sleep(min(left_s, _POLL_S / 10))
        if _has_ended(pid):
            _drain(pipes, deadline_s)
            return True
    return False


def _drain(pipes: _Pipes, deadline_s: float) -> None:
    """What is in the pipes already."""
    while pipes.open and time.monotonic() < deadline_s:
        if not pipes.pump(0):
            return


def _has_ended(pid: int) -> bool:
    """Looks without reaping: the dead leader keeps its process group id from others until the group is killed."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        # The group is gone already, which is what was wanted.
        return
