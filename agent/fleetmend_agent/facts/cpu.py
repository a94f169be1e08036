"""Processors: make and numbers, without the clock rate, which changes all the time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..checks.cpu_load import CPU_FILE, parse_cpus
from . import Fact
from ._lines import pairs, read_or

if TYPE_CHECKING:
    from ..host import Host

_CPUINFO_BYTES_MAX = 16 * 1024 * 1024
_CPU_FOLDER = "/sys/devices/system/cpu"


def _collect(host: Host) -> dict[str, Any]:
    first = pairs(host.read_text("/proc/cpuinfo", _CPUINFO_BYTES_MAX).partition("\n\n")[0])
    online = parse_cpus(host.read_text(CPU_FILE))
    cores, sockets = _topology(host)
    return {
        "model": first.get("model name") or first.get("Model") or first.get("CPU part", ""),
        "vendor": first.get("vendor_id") or first.get("CPU implementer", ""),
        "online": online,
        "cores": cores or online,
        "sockets": sockets or 1,
        "hypervisor": "hypervisor" in first.get("flags", "").split(),
    }


def _topology(host: Host) -> tuple[int, int]:
    """Numbers of cores and sockets; zeros where the kernel does not tell."""
    seen: set[tuple[str, str]] = set()
    try:
        names = host.listdir(_CPU_FOLDER)
    except OSError:
        return 0, 0
    for name in names:
        if name.startswith("cpu") and name[3:].isdigit():
            package = read_or(host, f"{_CPU_FOLDER}/{name}/topology/physical_package_id")
            core = read_or(host, f"{_CPU_FOLDER}/{name}/topology/core_id")
            if package and core:
                seen.add((package, core))
    return len(seen), len({package for package, _ in seen})


FACT = Fact(name="cpu", summary="Model, cores and sockets", collect=_collect)
