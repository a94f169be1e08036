"""Runs one argument vector: no shell, a fixed environment, nothing inherited, an end to its time and to its output."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from typing import NamedTuple

ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "SYSTEMD_COLORS": "0",
    "SYSTEMD_PAGER": "",
}
_KILL_GRACE_S = 2.0
_READ_BYTES = 64 * 1024
EXIT_NOT_STARTED = 127
EXIT_TIMEOUT = 124


class Finished(NamedTuple):
    """How a command ended. `exit` is its status, minus the signal, 127 if it did not start, 124 if it was cut off."""

    argv: tuple[str, ...]
    exit: int
    ms: int
    output: str = ""


def run_argv(argv: tuple[str, ...], timeout_s: float, output_bytes_max: int) -> Finished:
    """Run to the end, or to the end of its time: then TERM and, 2 s later, KILL to its whole process group."""
    begun = time.monotonic()
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=ENVIRONMENT,
            cwd="/",
            close_fds=True,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return Finished(argv, EXIT_NOT_STARTED, _since_ms(begun), f"cannot start {argv[0]}: {error}")
    output = _Output(output_bytes_max)
    with process:
        in_time = _read_until_end(process, output, begun + max(timeout_s, 0.0))
        if not in_time:
            _end_group(process, output)
        status = process.returncode
    if not in_time:
        note = f"cannot wait longer for {argv[0]}: cut off after {timeout_s:g} s"
        return Finished(argv, EXIT_TIMEOUT, _since_ms(begun), f"{output.text()}\n{note}".lstrip())
    return Finished(argv, status, _since_ms(begun), output.text())


class _Output:
    """The first bytes of what a command prints; the rest is read and counted, so that the command never blocks on us."""

    def __init__(self, bytes_max: int) -> None:
        self._kept, self._bytes_max, self._dropped = bytearray(), bytes_max, 0

    def add(self, piece: bytes) -> None:
        room = self._bytes_max - len(self._kept)
        self._kept += piece[:room]
        self._dropped += max(0, len(piece) - room)

    def text(self) -> str:
        text = plain(self._kept.decode("utf-8", "replace"))
        return f"{text}\n[{self._dropped} more bytes]" if self._dropped else text


def plain(text: str) -> str:
    """Text of printable characters, newlines and tabs: outcomes are read in terminals, and must have a UTF-8 form."""
    return text if text.isprintable() else "".join(c if c in "\n\t" or c.isprintable() else "?" for c in text)


def _read_until_end(process: subprocess.Popen[bytes], output: _Output, deadline: float) -> bool:
    """Read until the command itself has ended, whoever else still holds its output. False if time ran out."""
    pidfd = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.register(_stdout(process), select.POLLIN)
        while (left_s := deadline - time.monotonic()) > 0:
            ready = {fd for fd, _ in poll.poll(left_s * 1000)}
            if _stdout(process) in ready and not _drain(process, output, once=True):
                poll.unregister(_stdout(process))
            if pidfd in ready:
                process.wait()
                _drain(process, output)
                return True
        return False
    finally:
        os.close(pidfd)


def _drain(process: subprocess.Popen[bytes], output: _Output, *, once: bool = False) -> bool:
    """Take what is there without waiting; False at the end of the output."""
    fd = _stdout(process)
    os.set_blocking(fd, False)
    while True:
        try:
            piece = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return True
        if not piece:
            return False
        output.add(piece)
        if once:
            return True


def _end_group(process: subprocess.Popen[bytes], output: _Output) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(_KILL_GRACE_S)
            break
        except subprocess.TimeoutExpired:
            continue
    if process.poll() is None:  # stuck in the kernel: it ends when the kernel lets it, and holds nothing of ours
        process.returncode = -signal.SIGKILL
    _drain(process, output)


def _stdout(process: subprocess.Popen[bytes]) -> int:
    if process.stdout is None:
        raise ValueError("cannot read a command that was started without a pipe")
    return process.stdout.fileno()


def _since_ms(begun: float) -> int:
    return int((time.monotonic() - begun) * 1000)
