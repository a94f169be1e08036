"""Would enough of the group stay healthy? Capacity is never taken below its floor.

A floor belongs to the group, not to the playbook that declares it: the highest that any playbook sets for a label of the host
binds every disturbance, other playbooks' and people's, too.
"""

from __future__ import annotations

from ..effects import Why
from ..model import Cost
from . import Answer, Candidate, Gate, allow, hold

RECHECK_MS = 30_000


def _ask(c: Candidate) -> Answer:
    own = c.playbook.limits.floor
    floors = c.policy.floors if own is None else (own, *c.policy.floors)
    if not floors or c.step.cost is Cost.HARMLESS:
        return allow("the action disturbs nothing" if floors else "no floor is set")
    if own is not None and not c.host.labels.get(own.by):
        return hold(Why.GROUP_UNKNOWN, f"{c.host.name} has no label {own.by}: its group cannot be counted")
    percents: dict[str, int] = {}
    for floor in floors:
        if c.host.labels.get(floor.by):
            percents[floor.by] = max(floor.percent, percents.get(floor.by, 0))
    answers = [_judge(c, (by, c.host.labels[by]), percent) for by, percent in percents.items()]
    broken = [answer for answer in answers if answer.why is Why.MINIMUM_HEALTHY]
    return next(iter(broken or answers), allow("no floor is set for a label of this host"))


def _judge(c: Candidate, group: tuple[str, str], percent: int) -> Answer:
    size = c.fleet.group_size.get(group, 0)
    down = c.fleet.sick.get(group, {}).keys() | c.fleet.in_flight.get(group, {}).keys() | {c.host.id}
    # One host may always be disturbed, or a group of one could never be healed.
    needed = min(size - 1, -(-size * percent // 100))
    healthy = size - len(down)
    text = f"{healthy} other hosts of {group[0]}={group[1]} are healthy, {needed} needed"
    if healthy < needed:
        return hold(Why.MINIMUM_HEALTHY, text, c.now_ms + RECHECK_MS)
    return allow(text)


GATE = Gate("minimum_healthy", 110, "Would enough of the group stay healthy?", _ask)
