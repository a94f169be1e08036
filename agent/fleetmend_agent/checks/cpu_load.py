"""Load average for each CPU."""

from __future__ import annotations

import re
from collections.abc import Iterable

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result
from ._source import above, read

CPU_FILE = "/sys/devices/system/cpu/online"
_LOAD = re.compile(r"(\d{1,9}\.\d\d) (\d{1,9}\.\d\d) (\d{1,9}\.\d\d) \d{1,9}/\d{1,9} \d{1,9}\n?")
_CPU_RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")


def parse_load(text: str) -> tuple[float, float, float]:
    """Load averages over 1, 5 and 15 minutes. Raises CheckUnknown."""
    found = _LOAD.fullmatch(text)
    if found is None:
        raise CheckUnknown("cannot understand /proc/loadavg")
    return float(found[1]), float(found[2]), float(found[3])


def parse_cpus(text: str) -> int:
    """How many CPUs `0-3,6` are. Raises CheckUnknown."""
    count = 0
    for part in text.strip().split(","):
        found = _CPU_RANGE.fullmatch(part)
        if found is None:
            raise CheckUnknown(f"cannot understand {CPU_FILE}")
        count += max(0, int(found[2] or found[1]) - int(found[1]) + 1)
    if count == 0:
        raise CheckUnknown(f"cannot understand {CPU_FILE}: it names no CPU")
    return count


def _run(context: Context) -> Iterable[Result]:
    cpus = parse_cpus(read(context.host, CPU_FILE))
    load1, load5, load15 = parse_load(read(context.host, "/proc/loadavg"))
    status = above(load5 / cpus, context.params["warn_per_cpu"], context.params["crit_per_cpu"])
    gauges = {
        "cpu_load1_ratio": round(load1 / cpus, 4),
        "cpu_load5_ratio": round(load5 / cpus, 4),
        "cpu_load15_ratio": round(load15 / cpus, 4),
        "online_cpus": float(cpus),
    }
    finding = {"load1": load1, "load5": load5, "load15": load15, "cpus": cpus}
    text = f"load {load5:.2f} over 5 minutes on {cpus} CPUs, {load5 / cpus:.2f} for each"
    return [Result(status, text, finding=dict(finding), gauges=gauges)]


CHECK = Check(
    name="cpu_load",
    summary="Load average for each CPU",
    run=_run,
    params=(
        Param("warn_per_cpu", Kind.NUMBER, "WARN from this 5-minute load for each CPU on", default=3.0, minimum=0),
        Param("crit_per_cpu", Kind.NUMBER, "CRIT from this 5-minute load for each CPU on", default=8.0, minimum=0),
    ),
    finding=(
        Field("load1", Kind.NUMBER, "load average over 1 minute"),
        Field("load5", Kind.NUMBER, "load average over 5 minutes"),
        Field("load15", Kind.NUMBER, "load average over 15 minutes"),
        Field("cpus", Kind.INTEGER, "CPUs that are online"),
    ),
    gauges=(
        Gauge("cpu_load1_ratio", "load average over 1 minute for each CPU"),
        Gauge("cpu_load5_ratio", "load average over 5 minutes for each CPU"),
        Gauge("cpu_load15_ratio", "load average over 15 minutes for each CPU"),
        Gauge("online_cpus", "CPUs that are online"),
    ),
)
