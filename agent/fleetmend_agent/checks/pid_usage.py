"""How many processes and threads there are, against every limit on them; and who has the most of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._processes import look, user_id, user_name
from ._source import above, read_if_any, why
from ._strangers import FIELDS, groups

if TYPE_CHECKING:
    from ..host import Host
    from ._processes import Look

_LIMITS = (
    *("/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"),
    *("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"),
)
_NOBODY: dict[str, Scalar] = {"user": "", "in_unit": "", "group_threads": 0}


def _run(context: Context) -> Iterable[Result]:
    limit, warn, crit = _limit(context.host), context.params["warn_percent"], context.params["crit_percent"]
    processes, threads = _counted(context.host)
    seen: Look | None = None
    if threads is None or context.fresh or 100 * threads >= warn * limit:
        # Threads take numbers of the same kind; kernel threads too, where this machine shows them.
        seen = look(context.host, context.fresh)
        processes, threads = len(seen.by_pid), sum(p.threads for p in seen.by_pid.values())
    percent = 100 * threads / limit
    finding: dict[str, Scalar] = {"processes": processes, "threads": threads, "threads_max": limit, "killable": False}
    finding |= {"used_percent": round(percent, 1), **(_largest(context, seen) if seen else _NOBODY)}
    gauges = {
        "process_ids_used_ratio": round(percent / 100, 4),
        "known_processes": float(processes),
    }
    status = above(percent, warn, crit)
    text = f"{processes} processes with {threads} threads, {percent:.0f} % of the limit {limit}"
    if status is not Status.OK:
        text += f"; {finding['user']} has the most: {finding['group_threads']} in {finding['in_unit'] or 'no unit'}"
    return [Result(status, text, finding=finding, gauges=gauges)]


def _counted(host: Host) -> tuple[int, int | None]:
    """Processes, and the kernel's own count of threads; None where it does not tell.

    In a container it counts the whole machine's threads, never fewer than the container's own: below the limits it is enough,
    at the price of one small file; above, the processes themselves are looked at.
    """
    try:
        processes = sum(name.isdecimal() for name in host.listdir("/proc"))
    except OSError as error:
        raise CheckUnknown(f"cannot list processes: {why(error)}") from error
    words = read_if_any(host, "/proc/loadavg").split()
    threads = words[3].rpartition("/")[2] if len(words) > 3 else ""
    return processes, int(threads) if threads.isdecimal() else None


def _largest(context: Context, seen: Look) -> dict[str, Scalar]:
    """Who has the most threads, by user and unit; and whether that may be stopped: all of it, and nothing else."""
    counts: Counter[tuple[int, str]] = Counter()
    for process in seen.by_pid.values():
        if not process.kernel:
            counts[process.uid, process.unit] += process.threads
    if not counts:
        return dict(_NOBODY)
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
    found = [int(text) for path in _LIMITS if (text := read_if_any(host, path).strip()).isdecimal() and int(text)]
    if not found:
        raise CheckUnknown("cannot read any limit on processes")
    return min(found)


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
