"""Children of a unit's processes that have ended and that nobody waits for. They cannot be killed: their parent must go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from . import Check, Context, Field, Gauge, Kind, Param, Result, Status
from ._services import FIELDS, REPORT_ONLY, UNIT, WORST, of_unit


def _run(context: Context) -> Iterable[Result]:
    name, seen, processes, facts = of_unit(context)
    own = {p.pid for p in processes}
    parents = Counter(p.ppid for p in seen.by_pid.values() if p.is_zombie and p.ppid in own)
    count = sum(parents.values())
    facts["zombies"] = count
    text = f"{name} has {count} zombies" if count else f"{name} has no zombies"
    if count:
        parent = seen.by_pid[parents.most_common(1)[0][0]]
        facts |= parent.facts()
        text += f", most of them left by {parent.name} (pid {parent.pid})"
    status = Status.CRIT if count >= context.params["most"] else Status.OK
    return [Result(status, text, finding=facts, gauges={"unit_zombie_processes": float(count)})]


CHECK = Check(
    name="unit_zombies",
    summary="Ended children that one unit's processes never waited for",
    run=_run,
    params=(UNIT, Param("most", Kind.INTEGER, "CRIT from this many on", default=10, minimum=1), REPORT_ONLY),
    finding=(*FIELDS, Field("zombies", Kind.INTEGER, "zombies left by processes of the unit"), *WORST),
    gauges=(Gauge("unit_zombie_processes", "zombies left by processes of the unit"),),
    blocking=True,
    every_s=10.0,
)
