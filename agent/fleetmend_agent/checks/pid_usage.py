"""How many processes and threads there are, against every limit on them; and who has the most of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._processes import look, user_id, user_name
from ._source import above
from ._strangers import FIELDS, groups

if TYPE_CHECKING:
    from ..host import Host
    from ._processes import Look

_LIMITS = (
    *("/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"),
    *("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"),
)


def _run(context: Context) -> Iterable[Result]:
    seen = look(context.host, context.fresh)
    limit = _limit(context.host)
    # Threads take numbers of the same kind; kernel threads too, where this machine shows them.
    used = sum(p.threads for p in seen.by_pid.values())
    percent = 100 * used / limit
    finding: dict[str, Scalar] = {"processes": len(seen.by_pid), "threads": used, "threads_max": limit, "killable": False}
    finding |= {"used_percent": round(percent, 1), **_largest(context, seen)}
    gauges = {
        "process_ids_used_ratio": round(percent / 100, 4),
        "known_processes": float(len(seen.by_pid)),
    }
    status = above(percent, context.params["warn_percent"], context.params["crit_percent"])
    text = f"{len(seen.by_pid)} processes with {used} threads, {percent:.0f} % of the limit {limit}"
    if status is not Status.OK:
        text += f"; {finding['user']} has the most: {finding['group_threads']} in {finding['in_unit'] or 'no unit'}"
    return [Result(status, text, finding=finding, gauges=gauges)]


def _largest(context: Context, seen: Look) -> dict[str, Scalar]:
    """Who has the most threads, by user and unit; and whether that may be stopped: all of it, and nothing else."""
    counts: Counter[tuple[int, str]] = Counter()
    for process in seen.by_pid.values():
        if not process.kernel:
            counts[process.uid, process.unit] += process.threads
    if not counts:
        return {"user": "", "in_unit": "", "group_threads": 0}
    (uid, unit), threads = counts.most_common(1)[0]
    told: dict[str, Scalar] = {"user": user_name(context.host, uid), "in_unit": unit, "group_threads": threads}
    killable = {found for name in context.params["killable_users"] if (found := user_id(context.host, name))}
    if uid not in killable:
        return told
    mine = [group for group in groups(seen, [uid], context.params["declared_units"]) if group.unit == unit]
    if not mine:
        return told
    largest = max(mine, key=lambda group: len(group.members))
    return told | largest.facts(context.host) | {"killable": True}


def _limit(host: Host) -> int:
    found = [int(text) for path in _LIMITS if (text := _number(host, path)).isdecimal() and int(text)]
    if not found:
        raise CheckUnknown("cannot read any limit on processes")
    return min(found)


def _number(host: Host, path: str) -> str:
    try:
        return host.read_text(path).strip()
    except OSError:
        return ""


CHECK = Check(
    name="pid_usage",
    summary="Processes and threads against the limits of the kernel and the control group, and who has most of them",
    run=_run,
    params=(
        Param("warn_percent", Kind.NUMBER, "WARN from this share of the smallest limit on", default=70.0, minimum=0),
        Param("crit_percent", Kind.NUMBER, "CRIT from this share of the smallest limit on", default=80.0, minimum=0),
        Param("killable_users", Kind.TEXT_LIST, "users whose processes may be stopped; filled in by declarations", default=[]),
        Param("declared_units", Kind.TEXT_LIST, "units that are never meant; filled in by declarations", default=[]),
    ),
    finding=(
        Field("processes", Kind.INTEGER, "processes"),
        Field("threads", Kind.INTEGER, "threads of all processes"),
        Field("threads_max", Kind.INTEGER, "the smallest limit on them"),
        Field("used_percent", Kind.NUMBER, "share of the limit, 0 to 100"),
        Field("group_threads", Kind.INTEGER, "threads of the user and unit with the most of them"),
        Field("killable", Kind.FLAG, "that user was declared killable, and the unit was not declared"),
        *FIELDS,
    ),
    gauges=(
        Gauge("process_ids_used_ratio", "threads against the smallest limit on them, 0 to 1"),
        Gauge("known_processes", "processes"),
    ),
    blocking=True,
    every_s=10.0,
)
