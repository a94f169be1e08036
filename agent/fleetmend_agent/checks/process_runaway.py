"""A process of a user that may be stopped burns a processor, or that user's processes become too many, outside declared units.

What one declared unit does, however busy it is, is never meant: declared jobs may be heavy. On a crowded machine a process gets
less than it wants; what it waited for a processor while it could run counts with what it got, so that it is seen there too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import Check, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._processes import look, seconds, user_id
from ._source import human_seconds
from ._strangers import FIELDS, Group, groups

if TYPE_CHECKING:
    from ..host import Host
    from ._processes import Look

_CPU, _COUNT = "cpu", "count"
# A shorter time between two looks tells no rate.
_BETWEEN_MS_MIN = 500
# Who only waits and gets almost nothing burns nothing.
_GOT_SHARE_MIN = 0.1
_WANTED_MAX = 64


@dataclass(slots=True)
class _Past:
    """What the check remembers of one group: its processor time at the last look, and since when it has been too busy.

    `wanted_ns`: time on a processor and in its queue, of each process's first thread.
    """

    taken_ms: int
    ticks: dict[tuple[int, int], int]
    wanted_ns: dict[tuple[int, int], int]
    percent: float = 0.0
    since_ms: int | None = None


def _run(context: Context) -> Iterable[Result]:
    params = context.params
    user: str = params["user"]
    uid = user_id(context.host, user)
    finding: dict[str, Scalar] = {"user": user, "reason": ""}
    if uid is None or uid == 0:
        return [Result(Status.OK, f"{user} is no user here" if uid is None else "root is never meant", finding=finding)]
    seen = look(context.host, context.fresh)
    found = groups(seen, [uid], params["declared_units"])
    count = sum(len(group.members) for group in found)
    past = _judged(context, seen, found)
    busiest = max(found, key=lambda group: past[group.key].percent, default=None)
    gauges = {"stray_processes": float(count), "stray_cpu_ratio": 0.0}
    if busiest is None:
        return [Result(Status.OK, f"{user} runs nothing outside declared units", finding=finding, gauges=gauges)]
    percent = past[busiest.key].percent
    gauges["stray_cpu_ratio"] = round(percent / 100, 4)
    lasting = [g for g in found if (s := past[g.key].since_ms) is not None and seen.taken_ms - s >= params["lasting"]]
    finding |= {"cpu_percent": round(percent, 1), "processes": count}
    if lasting:
        worst = max(lasting, key=lambda group: past[group.key].percent)
        since_s = (seen.taken_ms - (past[worst.key].since_ms or 0)) / 1000
        text = f"{worst.head.name} (pid {worst.head.pid}) of {user} uses {past[worst.key].percent:.0f} % of a core"
        finding |= worst.facts(context.host) | {"reason": _CPU, "cpu_percent": round(past[worst.key].percent, 1)}
        return [Result(Status.CRIT, f"{text} for {human_seconds(since_s)}", finding=finding, gauges=gauges)]
    if count >= params["processes_max"]:
        worst = max(found, key=lambda group: len(group.members))
        finding |= worst.facts(context.host) | {"reason": _COUNT}
        text = (
            f"{user} runs {count} processes outside declared units, {len(worst.members)} of them in {worst.unit or 'no unit'}"
        )
        return [Result(Status.CRIT, text, finding=finding, gauges=gauges)]
    text = f"{user} runs {count} processes outside declared units, the busiest uses {percent:.0f} % of a core"
    return [Result(Status.OK, text, finding=finding, gauges=gauges)]


def _judged(context: Context, seen: Look, found: list[Group]) -> dict[tuple[int, str, int], _Past]:
    """How busy each group is, by the time its processes used since the look before; groups that are gone are forgotten."""
    name = f"process_runaway:{context.params['user']}"
    before: dict[tuple[int, str, int], _Past] = context.host.kept.get(name, {})
    now: dict[tuple[int, str, int], _Past] = {}
    for group in found:
        ticks = {(p.pid, p.start_ticks): p.family_ticks for p in group.members}
        past = before.get(group.key)
        if past is None:
            now[group.key] = _first(context, seen, group, ticks)
            continue
        passed_ms = seen.taken_ms - past.taken_ms
        if passed_ms < _BETWEEN_MS_MIN:
            now[group.key] = past
            continue
        used = sum(max(0, value - past.ticks.get(key, 0)) for key, value in ticks.items())
        percent, wanted_ns = 100 * seconds(used) / (passed_ms / 1000), _wanted(context.host, group)
        # Of a process that is new since the look before, all counts.
        known = {
            key: value - past.wanted_ns.get(key, 0)
            for key, value in wanted_ns.items()
            if key in past.wanted_ns or key not in past.ticks
        }
        wanted = sum(max(0, value) for value in known.values())
        busy = _is_busy(context, percent, 100 * wanted / (passed_ms * 1_000_000))
        since_ms = (past.since_ms if past.since_ms is not None else past.taken_ms) if busy else None
        now[group.key] = _Past(seen.taken_ms, ticks, wanted_ns, percent, since_ms)
    context.host.kept[name] = now
    return now


def _first(context: Context, seen: Look, group: Group, ticks: dict[tuple[int, int], int]) -> _Past:
    """A group seen for the first time is judged by what it used since it began."""
    began_ms = min(seconds(p.start_ticks) for p in group.members) * 1000
    lived_ms = seen.taken_ms - began_ms
    wanted_ns = _wanted(context.host, group)
    if lived_ms < _BETWEEN_MS_MIN:
        return _Past(seen.taken_ms, ticks, wanted_ns)
    percent = 100 * seconds(sum(ticks.values())) / (lived_ms / 1000)
    busy = _is_busy(context, percent, 100 * sum(wanted_ns.values()) / (lived_ms * 1_000_000))
    return _Past(seen.taken_ms, ticks, wanted_ns, percent, round(began_ms) if busy else None)


def _is_busy(context: Context, percent: float, wanted_percent: float) -> bool:
    limit: float = context.params["cpu_percent"]
    return percent >= limit or (wanted_percent >= limit and percent >= limit * _GOT_SHARE_MIN)


def _wanted(host: Host, group: Group) -> dict[tuple[int, int], int]:
    """Time on a processor and time in its queue, by /proc/PID/schedstat; nothing of large groups, and where there is none."""
    found: dict[tuple[int, int], int] = {}
    for process in group.members if len(group.members) <= _WANTED_MAX else ():
        try:
            words = host.read_text(f"/proc/{process.pid}/schedstat").split()
        except OSError:
            continue
        found[process.pid, process.start_ticks] = sum(int(word) for word in words[:2] if word.isdecimal())
    return found


CHECK = Check(
    name="process_runaway",
    summary="No process of a user whose processes may be stopped runs away outside declared units",
    run=_run,
    params=(
        Param("user", Kind.TEXT, "the user", required=True),
        Param("cpu_percent", Kind.NUMBER, "CRIT when they use more than this share of one processor", default=80.0, minimum=1),
        Param("lasting", Kind.DURATION, "for so long", default=5_000),
        Param("processes_max", Kind.INTEGER, "CRIT from so many processes of the user on", default=500, minimum=1),
        Param("declared_units", Kind.TEXT_LIST, "units that are never meant; filled in by declarations", default=[]),
    ),
    finding=(
        *FIELDS,
        Field("reason", Kind.TEXT, "cpu or count; empty if nothing is wrong"),
        Field("cpu_percent", Kind.NUMBER, "share of one processor that the group uses"),
        Field("processes", Kind.INTEGER, "processes of the user outside declared units"),
    ),
    gauges=(
        Gauge("stray_processes", "processes of the user outside declared units"),
        Gauge("stray_cpu_ratio", "processors that the busiest group of them uses"),
    ),
    blocking=True,
    every_s=5.0,
)
