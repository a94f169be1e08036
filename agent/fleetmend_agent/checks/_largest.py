"""Who holds most of the memory: looked up only when there is little left, since it takes a look at every process."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from . import Scalar
from ._source import read_if_any

if TYPE_CHECKING:
    from ..host import Host

PROCESSES_MAX = 32_768
_FILE_BYTES_MAX = 4096
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Of /proc/PID/stat, behind the name.
_START_FIELD, _RSS_FIELD = 19, 21
_UNIT = re.compile(r"[^/]+\.(?:service|scope|socket|mount)")


def largest(host: Host) -> dict[str, Scalar]:
    """The process with the most memory in RAM, as a finding has it; nothing if none can be seen."""
    try:
        pids = [name for name in host.listdir("/proc") if name.isdecimal()][:PROCESSES_MAX]
    except OSError:
        return {}
    best = max((seen for pid in pids if (seen := _process(host, pid)) is not None), default=None)
    if best is None or best[0] == 0:
        return {}
    pages, pid, start_ticks, name = best
    return {
        "largest_name": name,
        "largest_pid": pid,
        "largest_start_ticks": start_ticks,
        "largest_bytes": pages * _PAGE_BYTES,
        "largest_unit": _unit(host, pid),
    }


def _process(host: Host, pid: str) -> tuple[int, int, int, str] | None:
    """Pages in RAM, pid, start and name; None if it ended meanwhile."""
    try:
        head, _, tail = host.read_text(f"/proc/{pid}/stat", _FILE_BYTES_MAX).rpartition(")")
        words = tail.split()
        return int(words[_RSS_FIELD]), int(pid), int(words[_START_FIELD]), head.partition("(")[2]
    except (OSError, ValueError, IndexError):
        return None


def _unit(host: Host, pid: int) -> str:
    """The innermost systemd unit that it runs in; empty if there is none."""
    groups = read_if_any(host, f"/proc/{pid}/cgroup", _FILE_BYTES_MAX).splitlines()
    parts = [part for line in groups for part in line.rpartition(":")[2].split("/") if _UNIT.fullmatch(part)]
    return parts[-1] if parts else ""
