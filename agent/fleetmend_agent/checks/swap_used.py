"""How full the swap is. Full swap alone is common and harmless; it is a fault when memory runs out too."""

from __future__ import annotations

from collections.abc import Iterable

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Status
from ._source import above, human_bytes, read
from .memory_available import parse_meminfo


def _run(context: Context) -> Iterable[Result]:
    memory = parse_meminfo(read(context.host, "/proc/meminfo"))
    size, free, total = memory.get("SwapTotal"), memory.get("SwapFree"), memory.get("MemTotal", 0)
    if size is None or free is None or total <= 0:
        raise CheckUnknown("cannot judge swap: /proc/meminfo lacks SwapTotal, SwapFree or MemTotal")
    if size == 0:
        return [Result(Status.OK, "no swap")]
    params = context.params
    used = max(0, size - free)
    percent, available_percent = 100 * used / size, 100 * memory.get("MemAvailable", total) / total
    status = above(percent, params["warn_percent"], params["crit_percent"])
    if status is Status.CRIT and available_percent > params["available_percent"]:
        status = Status.WARN
    finding = {
        "used_percent": round(percent, 1),
        "used_bytes": used,
        "size_bytes": size,
        "available_percent": round(available_percent, 1),
    }
    gauges = {"swap_used_ratio": round(used / size, 4), "swap_size_bytes": float(size)}
    text = (
        f"{percent:.1f} % of the swap is used, {human_bytes(free)} free; {available_percent:.1f} % of the memory is available"
    )
    return [Result(status, text, finding=dict(finding), gauges=gauges)]


CHECK = Check(
    name="swap_used",
    summary="How full the swap is while memory is short",
    run=_run,
    params=(
        Param("warn_percent", Kind.NUMBER, "WARN from this use on", default=80.0, minimum=0, maximum=100),
        Param(
            "crit_percent", Kind.NUMBER, "CRIT from this use on, if memory is short too", default=95.0, minimum=0, maximum=100
        ),
        Param(
            "available_percent",
            Kind.NUMBER,
            "memory is short when this share or less of it is available",
            default=10.0,
            minimum=0,
            maximum=100,
        ),
    ),
    finding=(
        Field("used_percent", Kind.NUMBER, "used share of the swap, 0 to 100"),
        Field("used_bytes", Kind.INTEGER, "swap in use"),
        Field("size_bytes", Kind.INTEGER, "all swap"),
        Field("available_percent", Kind.NUMBER, "available share of the memory, 0 to 100"),
    ),
    gauges=(Gauge("swap_used_ratio", "used share of the swap, 0 to 1"), Gauge("swap_size_bytes", "all swap")),
)
