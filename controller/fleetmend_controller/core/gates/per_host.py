"""Has this playbook acted too often on this host?"""

from __future__ import annotations

from ..effects import Why
from ..model import Cost
from . import Answer, Candidate, Gate, allow, refuse


def _ask(c: Candidate) -> Answer:
    rate = c.playbook.limits.per_host
    if c.step.cost is Cost.HARMLESS:
        return allow("the action disturbs nothing")
    used = sum(1 for t in c.host.orders_at.get(c.playbook.name, []) if t > c.now_ms - rate.window_ms)
    text = f"{c.playbook.name} acted {used} times on {c.host.name} within {rate.window_ms // 60_000} min, limit {rate.count}"
    if used >= rate.count:
        # More of the same will not help: hide nothing, hand over.
        return refuse(Why.HOST_RATE, text)
    return allow(text)


GATE = Gate("per_host", 90, "Has this playbook acted too often on this host?", _ask)
