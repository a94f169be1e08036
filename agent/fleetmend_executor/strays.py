"""Ends what runs outside every declared unit and was declared to be stoppable: its own unit as a whole, or the process.

Nothing of the order is believed: who the process is, whose it is and where it runs is looked at here, and it is held by a pidfd
from that look to the signal.
"""

from __future__ import annotations

import os
import select
import signal
import time
from dataclasses import dataclass
from typing import ClassVar

from . import processes
from .actions import Refused
from .commands import Finished
from .globs import any_unit, is_below
from .processes import Process
from .run import ActionFailed, Run
from .systemd import SYSTEMCTL, show

_ROUNDS_MAX = 20
_ROUND_S = 0.1
_KILL_WAIT_S = 5.0
_LOOK_S, _LOOK_EVERY_S = 3.0, 0.05
# While one looks the filesystem goes on filling: whoever wrote about what it grew by is sure after this.
_SURE_S = 1.0
# Slower writers do not fill a filesystem while one looks.
_RATE_BYTES_MIN = 64 * 1024
_STOP_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class StopStray:
    """Stop a process of a killable user outside every declared unit.

    `whole`: with everything that this user runs in the same place. `spared`: globs of units that are never touched.
    `writes_below` instead of a pid: whoever of those users has a file below that folder open for writing.
    """

    users: tuple[str, ...]
    spared: tuple[str, ...]
    pid: int = 0
    start_ticks: int = 0
    process_name: str = ""
    whole: bool = False
    writes_below: str = ""
    grace_s: float = 5.0
    performer: ClassVar[str] = "strays"


def perform(effect: StopStray, run: Run, proc: str = "/proc") -> None:
    """Find, check, stop. Refused for whatever is not exactly what was declared."""
    uids = _user_ids(effect.users)
    if effect.writes_below:
        process = _writer(effect, uids, run, proc)
    else:
        process = identified(effect.pid, effect.start_ticks, effect.process_name, proc)
    check(process, uids, effect.spared, proc)
    end(process, effect.spared, run, proc, whole=effect.whole or bool(effect.writes_below), grace_s=effect.grace_s)


def identified(pid: int, start_ticks: int, name: str, proc: str = "/proc") -> Process:
    """The process that was meant; Refused if the number is another's by now."""
    process = processes.read(pid, proc)
    if process is None or process.is_zombie:
        raise ActionFailed("no_process", f"cannot stop pid {pid}: it is gone")
    if process.start_ticks != start_ticks or name not in {"", process.name}:
        told = f"it is {process.name!r} now, started at {process.start_ticks}"
        raise Refused("other_process", f"cannot stop pid {pid}: {told}")
    return process


def check(process: Process, uids: tuple[int, ...], spared: tuple[str, ...], proc: str = "/proc") -> None:
    """Refused unless it is wholly a killable user's, outside declared and system units, and not in a container."""
    who = f"pid {process.pid} ({process.name})"
    if process.pid <= 1 or process.pid == os.getpid():
        raise Refused("protected", f"cannot stop {who}")
    if not any(process.runs_for(uid) for uid in uids):
        raise Refused("undeclared", f"cannot stop {who}: it does not run for a killable user alone")
    if any_unit(process.unit, spared):
        raise Refused("declared_unit", f"cannot stop {who}: it runs in {process.unit}, which is declared or protected")
    if any_unit(process.unit, processes.SYSTEM_UNITS):
        raise Refused("protected", f"cannot stop {who}: it runs in {process.unit}, which is the system's")
    if processes.in_container(process.pid, proc):
        raise Refused("protected", f"cannot stop {who}: it runs in a container")


def end(process: Process, spared: tuple[str, ...], run: Run, proc: str = "/proc", *, whole: bool, grace_s: float) -> None:
    """Stop its own transient unit, if it has one that is only this user's; else the processes themselves."""
    unit, uid = process.unit, process.uids[0]
    if processes.is_own_unit(unit, spared) and _is_only_theirs(unit, uid, proc) and _is_transient(unit, run):
        finished = run.argv(*SYSTEMCTL, "stop", "--", unit, timeout_s=min(_STOP_TIMEOUT_S, run.left_s()))
        if finished.exit == 0:
            run.detail.append(f"stopped {unit} with {process.name} (pid {process.pid})")
            return
        run.detail.append(f"{unit} did not stop: {' '.join(finished.output.split())[:200]}")
    if whole:
        _end_all(unit, uid, run, proc)
    else:
        _end_one(process, run, grace_s)


def _user_ids(names: tuple[str, ...]) -> tuple[int, ...]:
    import pwd

    found = []
    for name in names:
        try:
            uid = pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
        if uid:
            found.append(uid)
    if not found:
        raise Refused("undeclared", "cannot stop it: no user that was declared killable exists here")
    return tuple(found)


def _writer(effect: StopStray, uids: tuple[int, ...], run: Run, proc: str) -> Process:
    """Who writes there: caught with an open file, or, where short-lived children write, by how much was written meanwhile.

    A process counts what its children wrote once they have ended. What it wrote must be a good part of what the filesystem
    grew by, or its command line or its folder must lie there.
    """
    begun_s, folder = time.monotonic(), effect.writes_below
    until_s = begun_s + min(_LOOK_S, run.left_s())
    before, used_before = {p.pid: _written_bytes(p, proc) for p in _theirs(effect, uids, proc)}, _used_bytes(folder)
    while True:
        theirs = _theirs(effect, uids, proc)
        for process in theirs:
            if target := _written(process, folder, proc):
                run.detail.append(f"{process.name} (pid {process.pid}) writes {target}")
                return process
        passed_s, is_over = max(0.001, time.monotonic() - begun_s), time.monotonic() >= until_s
        if not is_over and passed_s < _SURE_S:
            time.sleep(_LOOK_EVERY_S)
            continue
        grown = _used_bytes(folder) - used_before
        wrote = {p: _written_bytes(p, proc) - before[p.pid] for p in theirs if p.pid in before}
        for process, written in sorted(wrote.items(), key=lambda each: each[1], reverse=True):
            if written / passed_s >= _RATE_BYTES_MIN and _is_it(process, written, grown, folder, proc, is_over=is_over):
                run.detail.append(f"{process.name} (pid {process.pid}) wrote {written} bytes in {passed_s:.1f} s")
                return process
        if is_over:
            break
        time.sleep(_LOOK_EVERY_S)
    text = f"cannot find who writes below {folder}: no killable user's process outside declared units does"
    raise ActionFailed("no_writer", text)


def _is_it(process: Process, written: int, grown: int, folder: str, proc: str, *, is_over: bool) -> bool:
    """Whether what a process wrote says that it is the one: about what was added, or, when time is over, enough of it."""
    if not is_over:
        return 0 < grown <= 2 * written and written <= 2 * grown
    return 0 < grown <= 2 * written or _is_about(process, folder, proc)


def _theirs(effect: StopStray, uids: tuple[int, ...], proc: str) -> list[Process]:
    """The killable users' processes outside declared units."""
    return [
        process
        for process in processes.every(proc)
        if any(process.runs_for(uid) for uid in uids) and not process.is_zombie and not any_unit(process.unit, effect.spared)
    ]


def _written_bytes(process: Process, proc: str) -> int:
    try:
        with open(f"{proc}/{process.pid}/io", encoding="ascii") as file:
            lines = dict(line.split(": ", 1) for line in file.read(4096).splitlines())
    except (OSError, ValueError):
        return 0
    return int(lines.get("wchar", "0"))


def _used_bytes(folder: str) -> int:
    try:
        numbers = os.statvfs(folder)
    except OSError:
        return 0
    return (numbers.f_blocks - numbers.f_bfree) * numbers.f_frsize


def _is_about(process: Process, folder: str, proc: str) -> bool:
    """Whether a process was told to work there, or is there."""
    try:
        at = os.readlink(f"{proc}/{process.pid}/cwd")
    except OSError:
        at = ""
    return is_below(at, folder) or any(f"{folder.rstrip('/')}/" in word for word in processes.command_line(process.pid, proc))


def _written(process: Process, folder: str, proc: str) -> str:
    """The first file below the folder that a process has open for writing; empty if there is none."""
    for descriptor, target in processes.open_files(process.pid, proc):
        if is_below(target.removesuffix(" (deleted)"), folder) and processes.writes(process.pid, descriptor, proc):
            return target
    return ""


def _is_only_theirs(unit: str, uid: int, proc: str) -> bool:
    return all(process.runs_for(uid) for process in processes.every(proc) if process.unit == unit and not process.is_zombie)


def _is_transient(unit: str, run: Run) -> bool:
    """Whether somebody started it by hand, and no file describes it."""
    return unit.endswith(".scope") or show(unit, run, "Transient")["Transient"] == "yes"


def _end_all(unit: str, uid: int, run: Run, proc: str) -> None:
    """Everything of this user in the same place: held still first, so that nothing starts anew while it is ended."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        held: set[tuple[int, int]] = set()
        for _ in range(_ROUNDS_MAX):
            found = [p for p in processes.every(proc) if p.unit == unit and p.runs_for(uid) and not p.is_zombie]
            fresh = [p for p in found if (p.pid, p.start_ticks) not in held]
            if not fresh or run.left_s() <= 0:
                break
            for process in fresh:
                held.add((process.pid, process.start_ticks))
                _signal(process, number)
            time.sleep(_ROUND_S)
        run.commands.append(Finished(("fleetmend:signal", number.name, f"{len(held)} processes"), 0, 0))
    if [p for p in processes.every(proc) if p.unit == unit and p.runs_for(uid) and not p.is_zombie]:
        raise ActionFailed("survived", f"cannot end all processes of uid {uid}: some did not go after SIGKILL")
    run.detail.append(f"ended {len(held)} processes of uid {uid} in {unit or 'no unit'}")


def _end_one(process: Process, run: Run, grace_s: float) -> None:
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError as error:
        raise ActionFailed("no_process", f"cannot stop pid {process.pid}: it is gone") from error
    try:
        now = processes.read(process.pid)
        if now is None or now.start_ticks != process.start_ticks:
            raise ActionFailed("no_process", f"cannot stop pid {process.pid}: it is gone")
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, _KILL_WAIT_S)):
            signal.pidfd_send_signal(pidfd, number)
            gone = poller.poll(min(wait_s, run.left_s()) * 1000)
            run.commands.append(Finished(("fleetmend:signal", number.name, str(process.pid)), 0, 0))
            if gone:
                run.detail.append(f"{process.name} (pid {process.pid}) ended by {number.name}")
                return
    except ProcessLookupError:
        return
    finally:
        os.close(pidfd)
    raise ActionFailed("survived", f"cannot end pid {process.pid}: it did not go after SIGKILL")


def _signal(process: Process, number: signal.Signals) -> None:
    try:
        pidfd = os.pidfd_open(process.pid)
    except OSError:
        return
    try:
        now = processes.read(process.pid)
        if now is not None and now.start_ticks == process.start_ticks:
            signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return
    finally:
        os.close(pidfd)
