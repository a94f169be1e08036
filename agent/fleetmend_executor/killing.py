"""Ends one process, held by a pidfd from the check of its name to the signal: a reused pid is never hit."""

from __future__ import annotations

import os
import select
import signal
from dataclasses import dataclass

from .actions import Refused
from .commands import Finished
from .effects import KillProcess
from .run import ActionFailed, Run
from .systemd import show


@dataclass(frozen=True, slots=True)
class Process:
    """What /proc says about a process."""

    name: str
    start_ticks: int
    unit: str


def kill(effect: KillProcess, run: Run, proc: str = "/proc") -> None:
    """TERM, the grace, KILL. Refused for pid 1, ourselves, and what is not a process of a killable unit."""
    pid = _main_pid(effect, run) if effect.unit else effect.pid
    if pid <= 1 or pid == os.getpid():
        raise Refused("protected", f"cannot kill pid {pid}")
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError as error:
        raise ActionFailed("no_process", f"cannot kill pid {pid}: it is gone") from error
    try:
        process = read_process(pid, proc)
        _check(effect, pid, process)
        _end(pid, pidfd, effect, run)
    finally:
        os.close(pidfd)


def read_process(pid: int, proc: str = "/proc") -> Process:
    """Name, start time and systemd unit of a process; ActionFailed when it is gone."""
    try:
        with open(f"{proc}/{pid}/stat", "rb") as stat, open(f"{proc}/{pid}/cgroup", encoding="utf-8") as cgroup:
            text, groups = stat.read(4096), cgroup.read(64 * 1024)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise ActionFailed("no_process", f"cannot kill pid {pid}: it is gone") from error
    name, _, rest = text.partition(b"(")[2].rpartition(b")")
    return Process(name.decode("utf-8", "replace"), int(rest.split()[19]), unit_of(groups))


def unit_of(groups: str) -> str:
    """The system unit in /proc/PID/cgroup, of the unified or the named hierarchy; empty if it belongs to none.

    The outermost: below it a user's own manager may call its units as it likes.
    """
    paths = [line.split(":", 2)[2] for line in groups.splitlines() if line.startswith("0::") or ":name=systemd:" in line]
    for path in paths:
        for part in path.split("/"):
            if part.endswith((".service", ".socket", ".mount", ".scope")):
                return part
    return ""


def _main_pid(effect: KillProcess, run: Run) -> int:
    main = show(effect.unit, run, "MainPID")["MainPID"]
    if not main.isdigit() or main == "0":
        raise ActionFailed("no_process", f"cannot kill {effect.unit}: it has no main process")
    return int(main)


def _check(effect: KillProcess, pid: int, process: Process) -> None:
    right_name = effect.process_name in {"", process.name}
    if not right_name or effect.start_ticks not in {0, process.start_ticks}:
        raise Refused("other_process", f"cannot kill pid {pid}: it is {process.name!r} now, started at {process.start_ticks}")
    if process.unit not in effect.killable:
        raise Refused("undeclared", f"cannot kill pid {pid} ({process.name}): its unit {process.unit!r} may not be")


def _end(pid: int, pidfd: int, effect: KillProcess, run: Run) -> None:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    for number, wait_s in ((signal.SIGTERM, effect.grace_s), (signal.SIGKILL, 5.0)):
        try:
            signal.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            return
        gone = poller.poll(min(wait_s, run.left_s()) * 1000)
        run.commands.append(Finished(("fleetmend:signal", number.name, str(pid)), 0, 0))
        if gone:
            run.detail.append(f"pid {pid} ended by {number.name}")
            return
    raise ActionFailed("survived", f"cannot end pid {pid}: it did not go after SIGKILL")
