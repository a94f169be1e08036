"""Finds who writes without end on a mount, and stops it: by its unit if it has one of its own, else by its process.

Who holds a growing file open is a writer. A shell that starts a new program for each piece holds nothing open when one looks;
so a process whose user owns the growing file, and who was busy meanwhile, is one too. Root and users not named are never it.
"""

from __future__ import annotations

import os
import pwd
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from .actions import Refused
from .clearing import open_folder
from .effects import KillProcess, UnitJob
from .globs import any_unit
from .killing import kill, unit_of
from .run import ActionFailed, Run
from .systemd import job

LOOK_S = 1.5
ENTRIES_MAX = 20_000
DEPTH_MAX = 16
PROCESSES_MAX = 65_536
STOPPED_MAX = 8
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Units that hold more than the one program: stopping them ends what has nothing to do with it.
_SHARED = ("user@*", "session-*.scope", "init.scope", "*.slice")


@dataclass(frozen=True, slots=True)
class StopWriter:
    """`users` may be stopped; `declared` units and what matches `forbidden` may not."""

    mount: str
    users: tuple[str, ...]
    declared: tuple[str, ...]
    forbidden: tuple[str, ...]
    performer: ClassVar[str] = "writers"


@dataclass(frozen=True, slots=True)
class Process:
    """One process that could be it. `ticks` is the time that it and the children it waited for have used."""

    pid: int
    uid: int
    name: str
    start_ticks: int
    ticks: int
    unit: str


@dataclass(frozen=True, slots=True)
class Grown:
    """A file that grew while we looked."""

    path: str
    uid: int
    inode: int
    device: int
    by_bytes: int


def perform(effect: StopWriter, run: Run) -> None:
    """Look twice, then stop. ActionFailed when nothing grows, or nobody who may be stopped writes it."""
    uids = _uids(effect.users)
    before, then = files(effect.mount), candidates(effect, uids)
    time.sleep(min(LOOK_S, run.left_s() / 4))
    grown = growing(before, files(effect.mount))
    if not grown:
        raise ActionFailed("nothing_grows", f"cannot find who fills {effect.mount}: no file grew while it was looked at")
    run.output.append(
        "\n".join(["== files that grow", *(f"{g.path} by {g.by_bytes} bytes, of uid {g.uid}" for g in grown[:20])])
    )
    writers = suspects(grown, then, candidates(effect, uids))
    if not writers:
        owners = ", ".join(sorted({str(g.uid) for g in grown}))
        raise ActionFailed(
            "no_writer", f"cannot stop who fills {effect.mount}: nobody who may be stopped writes it (uid {owners})"
        )
    for process in writers[:STOPPED_MAX]:
        run.output.append(f"writer: pid={process.pid} name={process.name!a} uid={process.uid} unit={process.unit or '-'}")
    _stop(writers[:STOPPED_MAX], uids, run)


def files(mount: str) -> dict[tuple[int, int], tuple[str, os.stat_result]]:
    """The regular files of one filesystem, by device and inode."""
    found: dict[tuple[int, int], tuple[str, os.stat_result]] = {}
    fd = open_folder(mount)
    for path, status in _walk(fd, mount, os.fstat(fd).st_dev, 0):
        found[status.st_dev, status.st_ino] = (path, status)
        if len(found) >= ENTRIES_MAX:
            break
    return found


def _walk(fd: int, folder: str, device: int, depth: int) -> Iterator[tuple[str, os.stat_result]]:
    try:
        for name in os.listdir(fd):
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                yield f"{folder}/{name}", status
            elif stat.S_ISDIR(status.st_mode) and status.st_dev == device and depth < DEPTH_MAX:
                yield from _below(name, fd, folder, device, depth)
    finally:
        os.close(fd)


def _below(name: str, fd: int, folder: str, device: int, depth: int) -> Iterator[tuple[str, os.stat_result]]:
    try:
        child = os.open(name, _FOLDER, dir_fd=fd)
    except OSError:
        return
    yield from _walk(child, f"{folder}/{name}", device, depth + 1)


def growing(
    before: dict[tuple[int, int], tuple[str, os.stat_result]], after: dict[tuple[int, int], tuple[str, os.stat_result]]
) -> list[Grown]:
    """What became larger, or came, between two looks; the largest growth first."""
    found = []
    for key, (path, status) in after.items():
        old = before.get(key)
        by_bytes = status.st_blocks * 512 - (old[1].st_blocks * 512 if old else 0)
        if by_bytes > 0:
            found.append(Grown(path, status.st_uid, status.st_ino, status.st_dev, by_bytes))
    return sorted(found, key=lambda grown: -grown.by_bytes)


def candidates(effect: StopWriter, uids: frozenset[int], proc: str = "/proc") -> dict[int, Process]:
    """The processes of those users, outside declared and forbidden units, by pid."""
    found = {}
    for pid in [name for name in os.listdir(proc) if name.isdecimal()][:PROCESSES_MAX]:
        process = _process(proc, pid, uids)
        if process is None or process.pid in {1, os.getpid()}:
            continue
        if not any_unit(process.unit, (*effect.declared, *effect.forbidden)):
            found[process.pid] = process
    return found


def _process(proc: str, pid: str, uids: frozenset[int]) -> Process | None:
    try:
        uid = os.stat(f"{proc}/{pid}").st_uid
        if uid not in uids:
            return None
        with open(f"{proc}/{pid}/stat", "rb") as file, open(f"{proc}/{pid}/cgroup", encoding="utf-8") as groups:
            text, unit = file.read(4096), unit_of(groups.read(64 * 1024))
    except OSError:
        return None  # ended meanwhile
    name, _, rest = text.partition(b"(")[2].rpartition(b")")
    fields = rest.split()
    used = sum(int(field) for field in fields[11:15])
    return Process(int(pid), uid, name.decode("utf-8", "replace"), int(fields[19]), used, unit)


def suspects(grown: list[Grown], before: dict[int, Process], after: dict[int, Process], proc: str = "/proc") -> list[Process]:
    """Who holds a growing file open to write; failing that, the busy processes of those who own one."""
    wanted = {(g.device, g.inode) for g in grown}
    holding = [process for process in after.values() if _holds(process.pid, wanted, proc)]
    if holding:
        return holding
    owners = {g.uid for g in grown}
    owning = [process for process in after.values() if process.uid in owners]
    busy = [process for process in owning if _was_busy(before.get(process.pid), process)]
    # Little work at a time does not show in the clock's ticks; where all belong together, there is nothing to choose.
    return busy or (owning if len({process.unit or process.pid for process in owning}) == 1 else [])


def _was_busy(before: Process | None, now: Process) -> bool:
    return before is not None and before.start_ticks == now.start_ticks and now.ticks > before.ticks


def _holds(pid: int, wanted: set[tuple[int, int]], proc: str) -> bool:
    try:
        numbers = os.listdir(f"{proc}/{pid}/fd")
    except OSError:
        return False
    for number in numbers:
        try:
            status = os.stat(f"{proc}/{pid}/fd/{number}")
            if (status.st_dev, status.st_ino) in wanted and _writes(f"{proc}/{pid}/fdinfo/{number}"):
                return True
        except OSError:
            continue
    return False


def _writes(fdinfo: str) -> bool:
    with open(fdinfo, encoding="ascii") as file:
        flags = next((line.split()[1] for line in file if line.startswith("flags:")), "0")
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY


def _stop(writers: list[Process], uids: frozenset[int], run: Run) -> None:
    named = {p.unit for p in writers if p.unit and not any_unit(p.unit, _SHARED)}
    units = dict.fromkeys(sorted(named - shared(named, uids)))
    for unit in units:
        job(UnitJob("stop", unit), run)
        run.detail.append(f"stopped {unit}")
    for process in (p for p in writers if p.unit not in units):
        killable = KillProcess((process.unit,), "", process.pid, process.start_ticks, process.name, 5.0)
        try:
            kill(killable, run)
        except ActionFailed as error:
            if error.reason != "no_process":
                raise
        run.detail.append(f"ended {process.name!a} (pid {process.pid})")


def shared(units: set[str], uids: frozenset[int], proc: str = "/proc") -> set[str]:
    """Those of the units in which others than these users have processes too: a cron daemon with one of their jobs."""
    found = set()
    for pid in [name for name in os.listdir(proc) if name.isdecimal()][:PROCESSES_MAX]:
        try:
            uid = os.stat(f"{proc}/{pid}").st_uid
            if uid in uids:
                continue
            with open(f"{proc}/{pid}/cgroup", encoding="utf-8") as groups:
                found.add(unit_of(groups.read(64 * 1024)))
        except OSError:
            continue  # ended meanwhile
    return found & units


def _uids(users: tuple[str, ...]) -> frozenset[int]:
    """Those of them that exist here; never root."""
    found = set()
    for user in users:
        try:
            found.add(pwd.getpwnam(user).pw_uid)
        except KeyError:
            continue
    if not found - {0}:
        raise Refused("undeclared", f"cannot stop anybody: none of {', '.join(users)} exists here, or it is root")
    return frozenset(found - {0})
