"""Would enough of the group stay healthy? Capacity is never taken below its floor."""

from __future__ import annotations

from ..effects import Why
from ..model import Cost
from . import Answer, Candidate, Gate, allow, hold

RECHECK_MS = 30_000


def _ask(c: Candidate) -> Answer:
    floor = c.playbook.limits.floor
    if floor is None or c.step.cost is Cost.HARMLESS:
        return allow("no floor is set" if floor is None else "the action disturbs nothing")
    value = c.host.labels.get(floor.by, "")
    if not value:
        return hold(Why.GROUP_UNKNOWN, f"{c.host.name} has no label {floor.by}: its group cannot be counted")
    size = c.fleet.group_size.get((floor.by, value), 0)
    down = c.fleet.sick.get((floor.by, value), {}).keys() | c.fleet.in_flight.get((floor.by, value), {}).keys() | {c.host.id}
    # One host may always be disturbed, or a group of one could never be healed.
    needed = min(size - 1, -(-size * floor.percent // 100))
    healthy = size - len(down)
    text = f"{healthy} other hosts of {floor.by}={value} are healthy, {needed} needed"
    if healthy < needed:
        return hold(Why.MINIMUM_HEALTHY, text, c.now_ms + RECHECK_MS)
    return allow(text)


GATE = Gate("minimum_healthy", 110, "Would enough of the group stay healthy?", _ask)
