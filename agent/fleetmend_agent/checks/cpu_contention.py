"""What share of the CPU's time is taken by other guests of the machine below (steal), or lost in waiting for disks (iowait)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result
from ._rates import Counters, since
from ._source import above, read

FILE = "/proc/stat"
_NAMES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_LINE = re.compile(r"^cpu +((?:[0-9]{1,20} ){7,9}[0-9]{1,20}) *$", re.MULTILINE)


def parse_stat(text: str) -> dict[str, int]:
    """Ticks of all CPUs together, by what they were spent on. Raises CheckUnknown."""
    found = _LINE.search(text)
    if found is None:
        raise CheckUnknown(f"cannot understand {FILE}")
    return dict(zip(_NAMES, map(int, found[1].split()), strict=False))


def _run(context: Context) -> Iterable[Result]:
    params = context.params

    def take() -> Counters:
        return {"": parse_stat(read(context.host, FILE))}

    ticks = since(context, take, params["window"] / 1000)[""].grown
    total = sum(ticks.values())
    for kind, why in (("steal", "is taken by other guests of the machine below"), ("iowait", "passes in waiting for disks")):
        percent = 100 * ticks[kind] / total if total else 0.0
        status = above(percent, params[f"warn_{kind}_percent"], params[f"crit_{kind}_percent"])
        text = f"{percent:.1f} % of the CPUs' time {why}"
        yield Result(status, text, kind, {"kind": kind, "percent": round(percent, 1)}, _gauge(kind, percent))


def _gauge(kind: str, percent: float) -> dict[str, float]:
    return {f"cpu_{kind}_ratio": round(percent / 100, 4)}


def _percent(name: str, doc: str, default: float) -> Param:
    return Param(name, Kind.NUMBER, doc, default=default, minimum=0, maximum=100)


CHECK = Check(
    name="cpu_contention",
    summary="CPU time taken by other guests (steal) or lost in waiting for disks (iowait)",
    run=_run,
    params=(
        _percent("warn_steal_percent", "WARN from this share of steal on", 10.0),
        _percent("crit_steal_percent", "CRIT from this share of steal on", 25.0),
        _percent("warn_iowait_percent", "WARN from this share of iowait on", 30.0),
        _percent("crit_iowait_percent", "CRIT from this share of iowait on", 60.0),
        Param("window", Kind.DURATION, "over which time the shares are taken", default=30_000, minimum=1000),
    ),
    finding=(
        Field("kind", Kind.TEXT, "steal or iowait"),
        Field("percent", Kind.NUMBER, "share of the CPUs' time, 0 to 100"),
    ),
    gauges=(
        Gauge("cpu_steal_ratio", "share of the CPUs' time taken by other guests, 0 to 1"),
        Gauge("cpu_iowait_ratio", "share of the CPUs' time lost in waiting for disks, 0 to 1"),
    ),
    blocking=True,
)
