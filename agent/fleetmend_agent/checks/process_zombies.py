"""How many ended processes nobody waits for, on the whole machine; and who leaves most of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from . import Check, Context, Field, Gauge, Kind, Param, Result, Scalar
from ._processes import look, user_name
from ._source import above


def _run(context: Context) -> Iterable[Result]:
    seen = look(context.host, context.fresh)
    declared = set(context.params["declared_units"])
    parents: Counter[int] = Counter()
    for p in seen.by_pid.values():
        parent = seen.by_pid.get(p.ppid)
        # Those of declared units are looked at unit by unit.
        if p.is_zombie and (parent is None or parent.unit not in declared):
            parents[p.ppid] += 1
    count = parents.total()
    finding: dict[str, Scalar] = {"zombies": count}
    text = f"{count} zombies"
    if count and (parent := seen.by_pid.get(parents.most_common(1)[0][0])) is not None:
        finding |= {**parent.facts(), "user": user_name(context.host, parent.uid), "in_unit": parent.unit}
        text += f", most of them left by {parent.name} (pid {parent.pid}) in {parent.unit or 'no unit'}"
    status = above(count, context.params["warn"], context.params["crit"])
    return [Result(status, text, finding=finding, gauges={"zombie_processes": float(count)})]


CHECK = Check(
    name="process_zombies",
    summary="Few ended processes wait for their parents on the whole machine",
    run=_run,
    params=(
        Param("warn", Kind.INTEGER, "WARN from this many on", default=50, minimum=1),
        Param("crit", Kind.INTEGER, "CRIT from this many on", default=200, minimum=1),
        Param("declared_units", Kind.TEXT_LIST, "units with a check of their own; filled in by declarations", default=[]),
    ),
    finding=(
        Field("zombies", Kind.INTEGER, "zombies outside declared units"),
        Field("pid", Kind.INTEGER, "the parent of most of them"),
        Field("start_ticks", Kind.INTEGER, "when it started: field 22 of /proc/PID/stat"),
        Field("name", Kind.TEXT, "its name"),
        Field("user", Kind.TEXT, "the user it runs for"),
        Field("in_unit", Kind.TEXT, "the unit it runs in, if it runs in one"),
    ),
    gauges=(Gauge("zombie_processes", "zombies outside declared units"),),
    blocking=True,
    every_s=30.0,
)
