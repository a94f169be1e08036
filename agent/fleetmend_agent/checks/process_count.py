"""How many processes there are: against the kernel's limits, or those of one name against limits given."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._source import above, read, read_if_any, why

if TYPE_CHECKING:
    from ..host import Host

_THREADS = re.compile(r" \d{1,9}/(\d{1,9}) \d{1,9}\n?$")
_COMM_LENGTH_MAX = 15


def parse_threads(loadavg: str) -> int:
    """Threads of all processes, the second number of `1/133` in /proc/loadavg. Raises CheckUnknown."""
    found = _THREADS.search(loadavg)
    if found is None:
        raise CheckUnknown("cannot understand /proc/loadavg")
    return int(found[1])


def _run(context: Context) -> Iterable[Result]:
    pids = _pids(context.host)
    if context.params["name"]:
        return [_named(context, pids)]
    threads = parse_threads(read(context.host, "/proc/loadavg"))
    limit = min(_number(context.host, "/proc/sys/kernel/pid_max"), _number(context.host, "/proc/sys/kernel/threads-max"))
    percent = 100 * threads / limit
    status = above(percent, context.params["warn_percent"], context.params["crit_percent"])
    finding: dict[str, Scalar] = {"processes": len(pids), "threads": threads, "threads_max": limit}
    gauges = {
        "running_processes": float(len(pids)),
        "running_threads": float(threads),
        "threads_used_ratio": round(percent / 100, 4),
    }
    text = f"{len(pids)} processes with {threads} threads, {percent:.1f} % of the kernel's limit"
    return [Result(status, text, finding=finding, gauges=gauges)]


def _named(context: Context, pids: list[str]) -> Result:
    name, least, most = context.params["name"], context.params["minimum"], context.params["maximum"]
    count = sum(read_if_any(context.host, f"/proc/{pid}/comm").rstrip("\n") == name[:_COMM_LENGTH_MAX] for pid in pids)
    good = least <= count and (most == 0 or count <= most)
    wanted = f"at least {least}" + (f" and at most {most}" if most else "")
    finding: dict[str, Scalar] = {"name": name, "processes": count}
    if context.params["unit"]:
        finding["unit"] = context.params["unit"]
    text = f"{count} processes named {name}" + ("" if good else f", expected {wanted}")
    return Result(Status.OK if good else Status.CRIT, text, finding=finding, gauges={"running_processes": float(count)})


def _pids(host: Host) -> list[str]:
    try:
        return [name for name in host.listdir("/proc") if name.isdigit()]
    except OSError as error:
        raise CheckUnknown(f"cannot list processes: {why(error)}") from error


def _number(host: Host, path: str) -> int:
    text = read(host, path).strip()
    if not re.fullmatch(r"[1-9][0-9]{0,18}", text):
        raise CheckUnknown(f"cannot understand {path}")
    return int(text)


CHECK = Check(
    name="process_count",
    summary="Number of processes, against the kernel's limits or for one name against limits given",
    run=_run,
    params=(
        Param(
            "name", Kind.TEXT, "count only processes whose command has this name (15 characters count); empty: all", default=""
        ),
        Param("minimum", Kind.INTEGER, "with a name: CRIT when there are fewer", default=1, minimum=0),
        Param("maximum", Kind.INTEGER, "with a name: CRIT when there are more; 0: no limit", default=0, minimum=0),
        Param(
            "warn_percent",
            Kind.NUMBER,
            "without a name: WARN from this share of the kernel's limit on",
            default=75.0,
            minimum=0,
        ),
        Param(
            "crit_percent",
            Kind.NUMBER,
            "without a name: CRIT from this share of the kernel's limit on",
            default=90.0,
            minimum=0,
        ),
        Param("unit", Kind.TEXT, "systemd unit behind the processes, for the finding", default=""),
    ),
    finding=(
        Field("processes", Kind.INTEGER, "processes, or those with the name"),
        Field("threads", Kind.INTEGER, "threads of all processes; without a name only"),
        Field("threads_max", Kind.INTEGER, "how many threads the kernel allows; without a name only"),
        Field("name", Kind.TEXT, "the name that was counted; with a name only"),
        Field("unit", Kind.TEXT, "the unit behind the processes, if one was named"),
    ),
    gauges=(
        Gauge("running_processes", "processes, or those with the name"),
        Gauge("running_threads", "threads of all processes"),
        Gauge("threads_used_ratio", "share of the threads that the kernel allows, 0 to 1"),
    ),
    every_s=60.0,
)
