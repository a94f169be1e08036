"""The running kernel. Its command line is left out: it may hold secrets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from . import Fact
from ._lines import number_or, read_or

if TYPE_CHECKING:
    from ..host import Host


def _collect(host: Host) -> dict[str, Any]:
    return {
        "release": host.read_text("/proc/sys/kernel/osrelease").strip(),
        "version": host.read_text("/proc/sys/kernel/version").strip(),
        # Kernels before 6.1 do not tell in procfs.
        "architecture": read_or(host, "/proc/sys/kernel/arch") or os.uname().machine,
        "tainted": number_or(host, "/proc/sys/kernel/tainted"),
        "pid_max": number_or(host, "/proc/sys/kernel/pid_max"),
    }


FACT = Fact(name="kernel", summary="Release, build, architecture, taint of the running kernel", collect=_collect)
