"""Is another disruptive action under way on this host?"""

from __future__ import annotations

from ..effects import Why
from ..model import Cost
from . import Answer, Candidate, Gate, allow, hold


def _ask(c: Candidate) -> Answer:
    if c.step.cost is Cost.HARMLESS:
        return allow("the action disturbs nothing")
    others = [other for other in c.fleet.acting.get(c.host.id, {}) if other != c.incident.id]
    if others:
        # The end of that action asks again at once; the time is the net below.
        return hold(Why.HOST_BUSY, f"an action of {others[0]} is under way on {c.host.name}", c.now_ms + 30_000)
    return allow(f"no other action on {c.host.name}")


GATE = Gate("one_at_a_time", 60, "Is another disruptive action under way on this host?", _ask)
