"""How much memory can still be had without swapping, as the kernel estimates it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Status
from ._largest import largest
from ._source import below, human_bytes, read

_LINE = re.compile(r"^(MemTotal|MemAvailable|SwapTotal|SwapFree):\s+(\d{1,15}) kB$", re.MULTILINE)


def parse_meminfo(text: str) -> dict[str, int]:
    """Bytes by name, for the lines this check needs."""
    return {name: int(size) * 1024 for name, size in _LINE.findall(text)}


def _run(context: Context) -> Iterable[Result]:
    memory = parse_meminfo(read(context.host, "/proc/meminfo"))
    total, available = memory.get("MemTotal", 0), memory.get("MemAvailable")
    if total <= 0 or available is None:
        raise CheckUnknown("cannot judge memory: /proc/meminfo lacks MemTotal or MemAvailable")
    swap_used = max(0, memory.get("SwapTotal", 0) - memory.get("SwapFree", 0))
    percent = 100 * available / total
    status = below(percent, context.params["warn_percent"], context.params["crit_percent"])
    finding = {
        "available_percent": round(percent, 1),
        "available_bytes": available,
        "total_bytes": total,
        "swap_used_bytes": swap_used,
    }
    gauges = {
        "memory_available_ratio": round(available / total, 4),
        "memory_available_bytes": float(available),
        "memory_size_bytes": float(total),
        "swap_used_bytes": float(swap_used),
    }
    text = f"{percent:.1f} % of the memory is available, {human_bytes(available)} of {human_bytes(total)}"
    holder = largest(context.host) if status is Status.CRIT else {}
    text += f"; {holder['largest_name']} holds {human_bytes(float(holder['largest_bytes']))}" if holder else ""
    return [Result(status, text, finding={**finding, **holder}, gauges=gauges)]


CHECK = Check(
    name="memory_available",
    summary="Memory that can still be had without swapping",
    run=_run,
    params=(
        Param("warn_percent", Kind.NUMBER, "WARN when this share or less is available", default=8.0, minimum=0, maximum=100),
        Param("crit_percent", Kind.NUMBER, "CRIT when this share or less is available", default=4.0, minimum=0, maximum=100),
    ),
    finding=(
        Field("available_percent", Kind.NUMBER, "available share of the memory, 0 to 100"),
        Field("available_bytes", Kind.INTEGER, "memory that can be had without swapping"),
        Field("total_bytes", Kind.INTEGER, "memory of the machine"),
        Field("swap_used_bytes", Kind.INTEGER, "swap in use"),
        Field("largest_name", Kind.TEXT, "the process that holds most memory, when this is CRIT"),
        Field("largest_pid", Kind.INTEGER, "its process id"),
        Field("largest_start_ticks", Kind.INTEGER, "when it began: field 22 of /proc/PID/stat"),
        Field("largest_bytes", Kind.INTEGER, "what it holds in RAM"),
        Field("largest_unit", Kind.TEXT, "its systemd unit, empty if it has none"),
    ),
    gauges=(
        Gauge("memory_available_ratio", "available share of the memory, 0 to 1"),
        Gauge("memory_available_bytes", "memory that can be had without swapping"),
        Gauge("memory_size_bytes", "memory of the machine"),
        Gauge("swap_used_bytes", "swap in use"),
    ),
    blocking=True,
)
