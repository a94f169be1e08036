"""How much time work loses waiting for memory, by the kernel's pressure stall information."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result
from ._source import above, read, worst

FILE = "/proc/pressure/memory"
_LINE = re.compile(
    r"^(some|full) avg10=(\d{1,3}\.\d\d) avg60=(\d{1,3}\.\d\d) avg300=\d{1,3}\.\d\d total=(\d{1,19})$", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Stall:
    """Percent of the last 10 and 60 seconds lost, and microseconds lost since boot."""

    avg10: float
    avg60: float
    total_us: int


def parse_pressure(text: str) -> dict[str, Stall]:
    """The lines `some` (at least one task waited) and `full` (all of them did)."""
    return {word: Stall(float(avg10), float(avg60), int(total)) for word, avg10, avg60, total in _LINE.findall(text)}


def _run(context: Context) -> Iterable[Result]:
    try:
        stalls = parse_pressure(read(context.host, FILE))
    except CheckUnknown as unknown:
        raise CheckUnknown(f"{unknown}; boot with psi=1 if this kernel leaves pressure information off") from unknown
    if set(stalls) != {"some", "full"}:
        raise CheckUnknown(f"cannot understand {FILE}")
    some, full = stalls["some"], stalls["full"]
    status = worst(
        [
            above(full.avg10, context.params["warn_full_percent"], context.params["crit_full_percent"]),
            above(some.avg60, context.params["warn_some_percent"], float("inf")),
        ]
    )
    finding = {"some_avg10_percent": some.avg10, "some_avg60_percent": some.avg60, "full_avg10_percent": full.avg10}
    gauges = {
        "memory_pressure_some_ratio": round(some.avg10 / 100, 4),
        "memory_pressure_full_ratio": round(full.avg10 / 100, 4),
        "memory_pressure_some_seconds_total": some.total_us / 1e6,
        "memory_pressure_full_seconds_total": full.total_us / 1e6,
    }
    text = f"waiting for memory: all work {full.avg10:.1f} % and some work {some.avg10:.1f} % of the last 10 s"
    return [Result(status, text, finding=dict(finding), gauges=gauges)]


CHECK = Check(
    name="memory_pressure",
    summary="Time that work loses waiting for memory",
    run=_run,
    params=(
        Param("warn_some_percent", Kind.NUMBER, "WARN when some work waited this share of a minute", default=40.0, minimum=0),
        Param("warn_full_percent", Kind.NUMBER, "WARN when all work waited this share of 10 seconds", default=10.0, minimum=0),
        Param("crit_full_percent", Kind.NUMBER, "CRIT when all work waited this share of 10 seconds", default=30.0, minimum=0),
    ),
    finding=(
        Field("some_avg10_percent", Kind.NUMBER, "share of the last 10 seconds in which some work waited"),
        Field("some_avg60_percent", Kind.NUMBER, "share of the last minute in which some work waited"),
        Field("full_avg10_percent", Kind.NUMBER, "share of the last 10 seconds in which all work waited"),
    ),
    gauges=(
        Gauge("memory_pressure_some_ratio", "share of the last 10 seconds in which some work waited, 0 to 1"),
        Gauge("memory_pressure_full_ratio", "share of the last 10 seconds in which all work waited, 0 to 1"),
        Gauge("memory_pressure_some_seconds_total", "time in which some work waited, since boot"),
        Gauge("memory_pressure_full_seconds_total", "time in which all work waited, since boot"),
    ),
    signal="pressure",
)
