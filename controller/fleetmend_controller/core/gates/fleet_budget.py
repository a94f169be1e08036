"""Are enough hosts of this group being healed already? One ledger for all playbooks and for people."""

from __future__ import annotations

from ..effects import Why
from ..model import Cost, Fleet, FleetBudget
from . import Answer, Candidate, Gate, allow, hold

# Budget is normally announced when it comes free; this is the net below.
RECHECK_MS = 30_000


def allowance(fleet: Fleet, budget: FleetBudget, value: str) -> int:
    """How many hosts of a group may be worked on at once: max(1, percent of the group), and the ceiling."""
    if value:
        size = fleet.group_size.get((budget.by, value), 0)
    else:
        size = len(fleet.hosts) - fleet.group_size.get((budget.by, "*"), 0)
    return min(budget.at_most, max(1, size * budget.percent // 100))


def _ask(c: Candidate) -> Answer:
    if c.step.cost is Cost.HARMLESS:
        return allow("the action disturbs nothing")
    budget = c.playbook.limits.fleet
    value = c.host.labels.get(budget.by, "")
    used = c.fleet.in_flight.get((budget.by, value), {})
    limit = allowance(c.fleet, budget, value)
    group = f"{budget.by}={value}" if value else f"hosts without {budget.by}"
    if c.host.id not in used and len(used) >= limit:
        return hold(Why.FLEET_BUDGET, f"{len(used)} hosts of {group} are being healed, limit {limit}", c.now_ms + RECHECK_MS)
    return allow(f"{len(used)} of {limit} hosts of {group} in use")


GATE = Gate("fleet_budget", 100, "Are enough hosts of this group being healed already?", _ask)
