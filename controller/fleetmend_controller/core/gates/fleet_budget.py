"""Are enough hosts of this group being healed already? One ledger for all playbooks and for people.

A host is in many groups: a playbook may name several labels, a person's request is bound by those of every playbook, and the
fleet as a whole has a ceiling. The fullest group decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..effects import Why
from ..model import EVERYBODY, Cost, Fleet, FleetBudget, Host, Incident, Playbook
from . import Answer, Candidate, Gate, allow, hold

if TYPE_CHECKING:
    from ..policy import Policy

# Budget is normally announced when it comes free; this is the net below.
RECHECK_MS = 30_000

Group = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Place:
    """One group of a host: how many of its hosts are being healed, how many may be, and whether this one would be too many."""

    group: Group
    used: int
    limit: int
    full: bool

    @property
    def named(self) -> str:
        """The group in words."""
        label, value = self.group
        if self.group == EVERYBODY:
            return "the fleet"
        return f"{label}={value}" if value else f"hosts without {label}"


def allowance(fleet: Fleet, budget: FleetBudget, value: str, label: str = "") -> int:
    """How many hosts of a group may be worked on at once: max(1, percent of the group), and the ceiling of the budget."""
    label = label or budget.by
    size = fleet.group_size.get((label, value), 0) if value else len(fleet.hosts) - fleet.group_size.get((label, "*"), 0)
    return min(budget.at_most, max(1, size * budget.percent // 100))


def fleet_allowance(fleet: Fleet, policy: Policy) -> int:
    """How many hosts of the whole fleet may be worked on at once."""
    ceiling = policy.ceiling
    return min(ceiling.at_most, max(ceiling.at_least, len(fleet.hosts) * ceiling.percent // 100))


def places(fleet: Fleet, policy: Policy, host: Host, incident: Incident, playbook: Playbook) -> Iterator[Place]:
    """Every group in which a disturbance of this host takes a place, with the tightest limit on it."""
    budgets = (playbook.limits.fleet,) if incident.run is None else (playbook.limits.fleet, *policy.budgets)
    limits: dict[Group, int] = {}
    for budget in budgets:
        for label in budget.labels:
            value = host.labels.get(label, "")
            most = allowance(fleet, budget, value, label)
            limits[(label, value)] = min(most, limits.get((label, value), most))
    limits[EVERYBODY] = fleet_allowance(fleet, policy)
    for group, limit in limits.items():
        hosts = fleet.in_flight.get(group, {})
        yield Place(group, len(hosts), limit, host.id not in hosts and len(hosts) >= limit)


def _ask(c: Candidate) -> Answer:
    if c.step.cost is Cost.HARMLESS:
        return allow("the action disturbs nothing")
    taken = list(places(c.fleet, c.policy, c.host, c.incident, c.playbook))
    full = [place for place in taken if place.full]
    if full:
        text = " and ".join(f"{place.used} hosts of {place.named} are being healed, limit {place.limit}" for place in full)
        return hold(Why.FLEET_BUDGET, text, c.now_ms + RECHECK_MS)
    tightest = min(taken, key=lambda place: place.limit - place.used)
    return allow(f"{tightest.used} of {tightest.limit} hosts of {tightest.named} in use")


GATE = Gate("fleet_budget", 100, "Are enough hosts of this group being healed already?", _ask)
