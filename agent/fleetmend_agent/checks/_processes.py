"""One look at all processes, shared by every check that needs one: /proc is gone through once in five seconds at most.

What changes with each look (state, times, memory) is read each time, a file a process. Whose it is and which unit it belongs
to is read when a process is new, once more at the next look (a fork becomes another program by exec and moves into its control
group), and then about once a minute.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from . import CheckUnknown, Scalar
from ._source import read_if_any, why

if TYPE_CHECKING:
    from ..host import Host

SCAN_EVERY_MS = 5_000
FRESH_AFTER_MS = 1_000
PROCESSES_MAX = 32_768
_REREAD_SCANS = 12
_STAT_BYTES_MAX = 4096
_CMDLINE_BYTES_MAX = 4096
_FIELDS_MIN = 22
_KERNEL_THREAD = 0x0020_0000
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_UNIT_ENDINGS = (".service", ".scope", ".socket", ".mount", ".swap")
# Many strangers' processes share these: what belongs to one of them belongs to no unit of its own.
_CONTAINER = re.compile(r"/(docker|lxc|machine\.slice|kubepods[^/]*)/|/(docker|libpod|crio|cri-containerd)-[^/]*\.scope")
_SHARED = ("user@", "session-", "init.scope", "cron", "atd.", "ssh")


@dataclass(frozen=True, slots=True)
class Process:
    """What one look says of one process. `cpu_ticks` is its own time, `family_ticks` with that of the children it waited for.

    `uid` is the real user, -1 if that could not be read; `unit` the system unit it runs in, empty if none. `since_ms` is the
    look that saw it first.
    """

    pid: int
    start_ticks: int
    name: str
    state: str
    ppid: int
    cpu_ticks: int
    family_ticks: int
    threads: int
    rss_bytes: int
    kernel: bool
    uid: int = -1
    unit: str = ""
    group: str = ""
    looks: int = 0
    since_ms: int = 0
    line: bytes = field(default=b"", repr=False)

    @property
    def is_zombie(self) -> bool:
        """Ended, and not waited for by its parent."""
        return self.state in {"Z", "X"}

    def facts(self) -> dict[str, Scalar]:
        """Who it is, for a finding: enough to never hit another one by its reused number."""
        return {"pid": self.pid, "start_ticks": self.start_ticks, "name": self.name}


@dataclass(frozen=True, slots=True)
class Look:
    """All processes at one moment of the boot clock."""

    taken_ms: int
    by_pid: Mapping[int, Process]
    by_unit: Mapping[str, list[Process]]

    def of_unit(self, unit: str) -> list[Process]:
        """The processes of a unit, the oldest first; zombies are none."""
        return sorted((p for p in self.by_unit.get(unit, ()) if not p.is_zombie), key=lambda p: (p.start_ticks, p.pid))


def heads(processes: Iterable[Process]) -> list[Process]:
    """Those whose parent is none of them: what was started, and not what it started itself."""
    listed = list(processes)
    pids = {p.pid for p in listed}
    return [p for p in listed if p.ppid not in pids]


@dataclass(slots=True)
class _Table:
    """The last look, and the lock that lets one thread look while the others wait for what it sees."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    look: Look | None = None
    scans: int = 0
    names: dict[int, str] = field(default_factory=dict)


def look(host: Host, fresh: bool = False) -> Look:
    """The processes as they were a moment ago; `fresh`: within the last second. Raises CheckUnknown."""
    table: _Table = host.kept.setdefault("processes", _Table())
    with table.lock:
        now_ms = host.clock_ms()
        held = table.look
        if held is not None and 0 <= now_ms - held.taken_ms < (FRESH_AFTER_MS if fresh else SCAN_EVERY_MS):
            return held
        table.scans += 1
        by_pid = dict(_scan(host, held.by_pid if held else {}, table.scans, now_ms))
        by_unit: dict[str, list[Process]] = {}
        for process in by_pid.values():
            by_unit.setdefault(process.unit, []).append(process)
        table.look = Look(now_ms, by_pid, by_unit)
        return table.look


def command_line(host: Host, pid: int) -> tuple[str, ...]:
    """What a process was started with; nothing if it has ended or is not ours to read. It may hold secrets: never report it."""
    try:
        raw = host.read_bytes(f"/proc/{pid}/cmdline", 64 * _CMDLINE_BYTES_MAX)[:_CMDLINE_BYTES_MAX]
    except OSError:
        return ()
    return tuple(raw.rstrip(b"\0").decode("utf-8", "replace").split("\0")) if raw else ()


def user_name(host: Host, uid: int) -> str:
    """The user's name; the number where /etc/passwd has none."""
    table: _Table = host.kept.setdefault("processes", _Table())
    if uid not in table.names:
        table.names[uid] = next((name for name, number in _users(host) if number == uid), str(uid))
    return table.names[uid]


def user_id(host: Host, name: str) -> int | None:
    """The number of a user in /etc/passwd; None if there is none of that name."""
    return next((number for user, number in _users(host) if user == name), None)


def seconds(ticks: int) -> float:
    """Processor time in seconds."""
    return ticks / _TICKS_PER_S


def age_s(host: Host, process: Process) -> float:
    """How long ago the process was started."""
    return max(0.0, host.clock_ms() / 1000 - process.start_ticks / _TICKS_PER_S)


def is_shared(unit: str) -> bool:
    """Whether strangers share this unit (a login, a cron daemon), or it is none."""
    return not unit or unit.startswith(_SHARED)


def in_container(process: Process) -> bool:
    """Whether it runs in a container, whose processes look like the host's own and are none of them."""
    return bool(_CONTAINER.search(process.group))


def system_unit(groups: str) -> str:
    """The system's unit in /proc/PID/cgroup: the outermost, since a user's own manager may call its units as it likes."""
    for line in groups.splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy == "0" or controllers == "name=systemd":
            unit = next((part for part in path.split("/") if part.endswith(_UNIT_ENDINGS)), "")
            if unit:
                return unit
    return ""


def group_path(groups: str) -> str:
    """The path of the unified control group in /proc/PID/cgroup; empty on machines without one."""
    return next((line[3:] for line in groups.splitlines() if line.startswith("0::") and line.isprintable()), "")


def _scan(host: Host, before: Mapping[int, Process], scan: int, now_ms: int) -> Iterator[tuple[int, Process]]:
    try:
        pids = [int(name) for name in host.listdir("/proc") if name.isdecimal()]
    except OSError as error:
        raise CheckUnknown(f"cannot list processes: {why(error)}") from error
    if not pids:
        raise CheckUnknown("cannot see any process in /proc")
    for pid in pids[:PROCESSES_MAX]:
        try:
            line = host.read_bytes(f"/proc/{pid}/stat", _STAT_BYTES_MAX)
        except OSError:
            continue
        process = _known(host, pid, line, before.get(pid), (scan + pid) % _REREAD_SCANS == 0, now_ms)
        if process is not None:
            yield pid, process


def parse(pid: int, line: bytes) -> Process | None:
    """One line of /proc/PID/stat. The name may hold blanks and brackets; None for what the kernel never writes."""
    name, closed, rest = line.partition(b"(")[2].rpartition(b")")
    words = rest.split(None, _FIELDS_MIN)
    if not closed or len(words) < _FIELDS_MIN:
        return None
    try:
        own = int(words[11]) + int(words[12])
        return Process(
            pid=pid,
            start_ticks=int(words[19]),
            name=name.decode("utf-8", "replace"),
            state=words[0].decode("ascii", "replace"),
            ppid=int(words[1]),
            cpu_ticks=own,
            family_ticks=own + max(0, int(words[13])) + max(0, int(words[14])),
            threads=max(1, int(words[17])),
            rss_bytes=max(0, int(words[21])) * _PAGE_BYTES,
            kernel=bool(int(words[6]) & _KERNEL_THREAD),
            line=line,
        )
    except ValueError:
        return None


def _known(host: Host, pid: int, line: bytes, before: Process | None, again: bool, now_ms: int) -> Process | None:
    """The process of a line; its user and unit as they were, or read `again`. Most have not changed since the last look."""
    if before is not None and before.line == line and before.looks > 1 and not again:
        return before
    process = parse(pid, line)
    if process is None:
        return None
    same = before is not None and before.start_ticks == process.start_ticks
    looks, since_ms = (before.looks + 1, before.since_ms) if before is not None and same else (0, now_ms)
    if before is not None and same and before.name == process.name and looks > 1 and not again:
        return replace(process, uid=before.uid, unit=before.unit, group=before.group, looks=looks, since_ms=since_ms)
    if process.kernel:
        return replace(process, uid=0, looks=looks, since_ms=since_ms)
    groups = read_if_any(host, f"/proc/{pid}/cgroup")
    return replace(
        process,
        uid=_uid(read_if_any(host, f"/proc/{pid}/status")),
        unit=system_unit(groups),
        group=group_path(groups),
        looks=looks,
        since_ms=since_ms,
    )


def _uid(status: str) -> int:
    found = next((line.split()[1] for line in status.splitlines() if line.startswith("Uid:") and len(line.split()) > 1), "")
    return int(found) if found.isdecimal() else -1


def _users(host: Host) -> Iterator[tuple[str, int]]:
    for line in read_if_any(host, "/etc/passwd").splitlines():
        words = line.split(":")
        if len(words) > 2 and words[2].isdecimal():
            yield words[0], int(words[2])
