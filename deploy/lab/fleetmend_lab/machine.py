"""The one door to the machine: commands, processes, mounts. Everything is bounded and every failure says what and why."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COMMAND_TIMEOUT_S = 60.0
OUTPUT_SHOWN_CHARS = 2000

# Which apt package brings which tool that the lab calls.
TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "mount": "mount",
    "ip": "iproute2",
    "bridge": "iproute2",
    "apt-config": "apt",
}


class LabError(Exception):
    """Something the lab cannot do. The text is the whole story: what, why and the way out."""


def run(argv: Sequence[str], *, timeout_s: float = COMMAND_TIMEOUT_S, text_in: str | None = None) -> str:
    """Runs a command to its end and returns its standard output; raises LabError with its last words if it fails."""
    try:
        done = subprocess.run(argv, input=text_in, capture_output=True, text=True, timeout=timeout_s, check=False)
    except FileNotFoundError as error:
        raise LabError(f"cannot run {argv[0]}: not installed") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"cannot finish {' '.join(argv)}: still running after {timeout_s:g} s") from error
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip())[-OUTPUT_SHOWN_CHARS:]
        raise LabError(f"cannot run {' '.join(argv)}: exit {done.returncode}: {words}")
    return done.stdout


def require_machine() -> None:
    """Refuses, with the names of the packages to install, a machine that cannot hold a lab."""
    if os.geteuid() != 0:
        raise LabError("cannot boot hosts: only root can (namespaces, mounts); run it with sudo")
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if missing:
        raise LabError(f"cannot boot hosts: tools are missing; run: apt-get install {' '.join(missing)}")


@dataclass(frozen=True)
class Process:
    """A process that cannot be confused with a later one of the same number: its start is part of its name."""

    pid: int
    started_ticks: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process with this number now, or None."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] == "Z" else cls(pid, int(fields[19]))

    def alive(self) -> bool:
        """Whether it still runs."""
        return Process.of(self.pid) == self

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Sends a signal if the process is still the same one."""
        if not self.alive():
            return
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return


def children(pid: int) -> list[int]:
    """Direct children of a process."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def wait_for(condition: Callable[[], bool], *, timeout_s: float, what: str, every_s: float = 0.05) -> None:
    """Waits until the condition holds; raises LabError naming `what` when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"cannot wait any longer for {what}: {timeout_s:g} s have passed")
        time.sleep(every_s)


def mounts_below(directory: Path) -> list[str]:
    """Mount points at or below a directory, deepest first."""
    prefix = str(directory)
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if point == prefix or point.startswith(prefix + "/"):
            found.append(point)
    return sorted(found, key=lambda point: (point.count("/"), point), reverse=True)


def unmount_below(directory: Path) -> None:
    """Takes away every mount at or below a directory."""
    for point in mounts_below(directory):
        subprocess.run(["umount", "--lazy", point], capture_output=True, check=False, timeout=COMMAND_TIMEOUT_S)


def remove_tree(directory: Path) -> None:
    """Deletes a directory of the lab; never anything that is still mounted below it."""
    if not directory.exists():
        return
    unmount_below(directory)
    left = mounts_below(directory)
    if left:
        raise LabError(f"cannot delete {directory}: {left[0]} is still mounted; unmount it and try again")
    shutil.rmtree(directory)
