"""Pages that are fetched back from disk all the time: the memory holds less than the work needs."""

from __future__ import annotations

import re
from collections.abc import Iterable

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Status
from ._rates import Counters, since
from ._source import above, read
from .memory_pressure import FILE as PRESSURE_FILE
from .memory_pressure import parse_pressure

FILE = "/proc/vmstat"
_NAMES = ("pgmajfault", "pswpin", "pswpout")
_LINE = re.compile(rf"^({'|'.join(_NAMES)}) ([0-9]{{1,20}})$", re.MULTILINE)


def parse_vmstat(text: str) -> dict[str, int]:
    """The counters of this check. Raises CheckUnknown."""
    found = {name: int(value) for name, value in _LINE.findall(text)}
    if "pgmajfault" not in found:
        raise CheckUnknown(f"cannot understand {FILE}: it lacks pgmajfault")
    return found


def _run(context: Context) -> Iterable[Result]:
    params = context.params

    def take() -> Counters:
        return {"": parse_vmstat(read(context.host, FILE))}

    change = since(context, take, params["window"] / 1000)[""]
    rates = {name: count / change.seconds for name, count in change.grown.items()}
    faults = rates["pgmajfault"]
    waited = _waited_percent(context)
    status = above(faults, params["warn_per_second"], params["crit_per_second"])
    if waited is not None and waited < params["pressure_percent"] and status is Status.CRIT:
        # Files that are read for the first time make the same faults, and nobody waits for memory.
        status = Status.WARN
    finding = {
        "major_faults_per_second": round(faults, 1),
        "swap_in_per_second": round(rates.get("pswpin", 0.0), 1),
        "swap_out_per_second": round(rates.get("pswpout", 0.0), 1),
        "waited_percent": waited if waited is not None else 0.0,
    }
    gauges = {
        "memory_major_faults_per_second_value": round(faults, 2),
        "swap_pages_per_second_value": round(rates.get("pswpin", 0.0) + rates.get("pswpout", 0.0), 2),
    }
    text = f"{faults:.0f} pages a second are fetched from disk, work waits for memory {waited or 0.0:.1f} % of the time"
    return [Result(status, text, finding=dict(finding), gauges=gauges)]


def _waited_percent(context: Context) -> float | None:
    """Share of the last 10 seconds in which work waited for memory; None where the kernel does not tell."""
    try:
        stall = parse_pressure(read(context.host, PRESSURE_FILE)).get("some")
    except CheckUnknown:
        return None
    return stall.avg10 if stall else None


CHECK = Check(
    name="memory_thrash",
    summary="Pages fetched back from disk all the time while work waits for memory",
    run=_run,
    params=(
        Param("warn_per_second", Kind.NUMBER, "WARN from so many major faults a second on", default=300.0, minimum=0),
        Param("crit_per_second", Kind.NUMBER, "CRIT from so many on, if work waits for memory too", default=1000.0, minimum=0),
        Param(
            "pressure_percent",
            Kind.NUMBER,
            "work waits for memory when it did so for this share of 10 seconds",
            default=10.0,
            minimum=0,
            maximum=100,
        ),
        Param("window", Kind.DURATION, "over which time the rate is taken", default=30_000, minimum=1000),
    ),
    finding=(
        Field("major_faults_per_second", Kind.NUMBER, "pages fetched from disk, a second"),
        Field("swap_in_per_second", Kind.NUMBER, "pages read from swap, a second"),
        Field("swap_out_per_second", Kind.NUMBER, "pages written to swap, a second"),
        Field("waited_percent", Kind.NUMBER, "share of the last 10 seconds in which work waited for memory; 0 if nobody knows"),
    ),
    gauges=(
        Gauge("memory_major_faults_per_second_value", "pages fetched from disk, a second"),
        Gauge("swap_pages_per_second_value", "pages read from and written to swap, a second"),
    ),
    blocking=True,
)
