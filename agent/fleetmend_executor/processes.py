"""What the executor itself sees of processes: it believes no pid that comes in an order before it has looked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from .globs import any_unit
from .killing import unit_of

PROCESSES_MAX = 65_536
_STAT_BYTES_MAX = 4096
_TEXT_BYTES_MAX = 64 * 1024
_UNIT_SUFFIXES = (".service", ".scope")
# Logins and daemons that start what strangers ask for: stopping them stops strangers too.
SHARED_UNITS = ("user@*.service", "session-*.scope", "cron*.service", "crond.service", "atd.service", "ssh*.service", "ssh@*")
# What runs there belongs to the system, whoever it runs for.
SYSTEM_UNITS = (
    *("systemd-*", "dbus*", "polkit*", "fleetmend-*", "getty@*", "serial-getty@*", "init.scope"),
    *("user-runtime-dir@*", "rsyslog.service", "NetworkManager*", "containerd*", "docker.service"),
)


@dataclass(frozen=True, slots=True)
class Process:
    """One process as /proc has it. `uids`: real, effective, saved and filesystem user."""

    pid: int
    start_ticks: int
    name: str
    state: str
    ppid: int
    uids: tuple[int, ...]
    unit: str

    @property
    def is_zombie(self) -> bool:
        """Ended already."""
        return self.state in {"Z", "X"}

    def runs_for(self, uid: int) -> bool:
        """Whether it is this user's and nobody else's: a program that runs with other powers is not the user's to lose."""
        return bool(self.uids) and set(self.uids) == {uid}


def read(pid: int, proc: str = "/proc") -> Process | None:
    """A process; None when it is gone."""
    try:
        stat = _read(f"{proc}/{pid}/stat", _STAT_BYTES_MAX)
        status, groups = _read(f"{proc}/{pid}/status").decode("utf-8", "replace"), _read(f"{proc}/{pid}/cgroup")
    except OSError:
        return None
    name, _, rest = stat.partition(b"(")[2].rpartition(b")")
    words = rest.split()
    uids = next((line.split()[1:5] for line in status.splitlines() if line.startswith("Uid:")), [])
    return Process(
        pid=pid,
        start_ticks=int(words[19]),
        name=name.decode("utf-8", "replace"),
        state=words[0].decode("ascii", "replace"),
        ppid=int(words[1]),
        uids=tuple(int(word) for word in uids),
        unit=unit_of(groups.decode("utf-8", "replace")),
    )


def every(proc: str = "/proc") -> Iterator[Process]:
    """All processes, one after the other."""
    for name in os.listdir(proc)[:PROCESSES_MAX]:
        if name.isdecimal() and (process := read(int(name), proc)) is not None:
            yield process


def command_line(pid: int, proc: str = "/proc") -> tuple[str, ...]:
    """What it was started with; nothing when it is gone."""
    try:
        raw = _read(f"{proc}/{pid}/cmdline")
    except OSError:
        return ()
    return tuple(raw.rstrip(b"\0").decode("utf-8", "replace").split("\0")) if raw else ()


def in_container(pid: int, proc: str = "/proc") -> bool:
    """Whether it lives among other process numbers than this executor, which lives among the host's; True if none can see."""
    try:
        return os.readlink(f"{proc}/{pid}/ns/pid") != os.readlink(f"{proc}/self/ns/pid")
    except OSError:
        return True


def open_files(pid: int, proc: str = "/proc") -> Iterator[tuple[int, str]]:
    """Number and target of each open descriptor."""
    try:
        names = os.listdir(f"{proc}/{pid}/fd")
    except OSError:
        return
    for name in names:
        try:
            yield int(name), os.readlink(f"{proc}/{pid}/fd/{name}")
        except (OSError, ValueError):
            continue


def writes(pid: int, descriptor: int, proc: str = "/proc") -> bool:
    """Whether a descriptor is open for writing."""
    try:
        text = _read(f"{proc}/{pid}/fdinfo/{descriptor}", _STAT_BYTES_MAX).decode("ascii", "replace")
    except OSError:
        return False
    flags = next((line.split()[1] for line in text.splitlines() if line.startswith("flags:")), "0")
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY


def is_own_unit(unit: str, spared: tuple[str, ...]) -> bool:
    """Whether a unit may be stopped as a whole: a service or scope that is neither spared, nor shared, nor the system's."""
    return unit.endswith(_UNIT_SUFFIXES) and not any_unit(unit, (*spared, *SHARED_UNITS, *SYSTEM_UNITS))


def _read(path: str, bytes_max: int = _TEXT_BYTES_MAX) -> bytes:
    with open(path, "rb") as file:
        return file.read(bytes_max)
