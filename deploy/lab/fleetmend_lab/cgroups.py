"""A control group of its own for every host.

Where the machine's own systemd runs, systemd-nspawn asks it for a scope. Where it does not (containers, small virtual
machines), two hosts would share one group, and systemd in one would stumble over the processes of the other: so each gets
a group here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
MACHINE_SYSTEMD = Path("/run/systemd/system")
REMOVE_TIMEOUT_S = 5.0


def machine_manages() -> bool:
    """Whether the machine's own systemd hands out groups."""
    return MACHINE_SYSTEMD.is_dir()


def hierarchies() -> list[Path]:
    """Where systemd keeps its groups: the unified tree, and the named one of the older layout."""
    found = []
    for line in MOUNTS.read_text().splitlines():
        mount, _, source = line.partition(" - ")
        kind, _, options = source.split(" ", 2)
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.append(Path(mount.split()[4]))
    return found


def enter(group: str) -> None:
    """Moves the calling process into a group of this name, made if need be; its children follow."""
    for tree in hierarchies():
        directory = tree / group
        directory.mkdir(exist_ok=True)
        (directory / "cgroup.procs").write_text(str(os.getpid()))


def kill(prefix: str) -> None:
    """Ends whatever lives in the groups whose name begins so: a system can outlive its systemd-nspawn."""
    for tree in hierarchies():
        for top in tree.glob(f"{prefix}*"):
            for listed in top.rglob("cgroup.procs"):
                with contextlib.suppress(FileNotFoundError):
                    _kill(listed.read_text().split())


def _kill(pids: list[str]) -> None:
    for pid in pids:
        # 0 stands for a process that this namespace does not see.
        if pid != "0":
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def remove(prefix: str) -> None:
    """Removes the groups whose name begins so. Processes that are still dying get a moment; a group that stays in use stays."""
    deadline = time.monotonic() + REMOVE_TIMEOUT_S
    while _remove_empty(prefix) and time.monotonic() < deadline:
        time.sleep(0.02)


def _remove_empty(prefix: str) -> bool:
    """Removes what is empty; whether something is left."""
    left = False
    for tree in hierarchies():
        for top in tree.glob(f"{prefix}*"):
            for directory, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    Path(directory).rmdir()
            left = left or top.exists()
    return left
