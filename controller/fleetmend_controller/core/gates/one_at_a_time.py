"""Is another disruptive action under way on this host?"""

from __future__ import annotations

from ..effects import Why
from ..model import Cost, Fleet, Phase
from ..orders import POWER_CYCLE
from . import Answer, Candidate, Gate, allow, hold


def _ask(c: Candidate) -> Answer:
    if c.step.cost is Cost.HARMLESS:
        return allow("the action disturbs nothing")
    others = [other for other in c.fleet.acting.get(c.host.id, {}) if other != c.incident.id]
    others += [other for other in c.fleet.by_host.get(c.host.id, {}) if _acts_alone(c.fleet, other)]
    if others:
        # The end of that action asks again at once; the time is the net below.
        return hold(Why.HOST_BUSY, f"an action of {others[0]} is under way on {c.host.name}", c.now_ms + 30_000)
    cycled = _power_cycled(c.fleet) if c.step.action == POWER_CYCLE else ""
    if cycled:
        return hold(Why.HOST_BUSY, f"{cycled} is being power-cycled: one host at a time", c.now_ms + 30_000)
    return allow(f"no other action on {c.host.name}")


def _acts_alone(fleet: Fleet, incident_id: str) -> bool:
    """Whether the host began to heal this alone and has not told of the end."""
    incident = fleet.incidents[incident_id]
    return incident.phase is Phase.RUNNING and incident.order is not None and incident.order.permit


def _power_cycled(fleet: Fleet) -> str:
    """A host whose power cycle has not come to its end: until then its incident has the order, which who asks has not."""
    orders = (fleet.incidents[i].order for host in fleet.lost for i in fleet.by_host.get(host, {}))
    cycled = (order.host for order in orders if order is not None and order.action == POWER_CYCLE)
    return next((fleet.hosts[host].name for host in cycled), "")


GATE = Gate("one_at_a_time", 60, "Is another disruptive action under way on this host?", _ask)
