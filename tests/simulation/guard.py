"""The watchers of what holds many repairs at once or waits for people: storms, floors, the ceiling, approvals, credit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fleetmend_controller.core.effects import PROVED, ApprovalWanted, Closed, Escalated, PhaseChanged, SendOrder, Step, Why
from fleetmend_controller.core.events import Approve, Event, OrderEnded
from fleetmend_controller.core.model import ActionStep, Cost, Fleet, Incident, Order, Outcome, Phase, Status, Subject, Trust
from fleetmend_controller.core.policy import Policy

if TYPE_CHECKING:
    from .checker import Checker

Group = str
# What the playbooks of this world answer; alerts have storms of their own.
FAULT = "unit_failed"


@dataclass(slots=True)
class Seen:
    """What the effects say, without any index of the core.

    `open`: incident to (subject, when). `storms`: those that are on, to the number of their pages; `about`: to their fault.
    """

    open: dict[str, tuple[Subject, int]] = field(default_factory=dict)
    runs: set[str] = field(default_factory=set)
    storms: dict[str, int] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)
    storm_groups: set[Group] = field(default_factory=set)
    shown: dict[tuple[str, str], Any] = field(default_factory=dict)
    yes: dict[str, list[tuple[str, Any, int]]] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)


class Guard:
    """Asks after every event. Roles never change in this world, so a group is a role, or everybody."""

    def __init__(self, checker: Checker) -> None:
        self.checker = checker
        self.seen = Seen()

    def before(self, fleet: Fleet, event: Event) -> None:
        """Note what people and hosts say."""
        if isinstance(event, Approve):
            shown = self.seen.shown.get((event.order, event.what))
            self.seen.yes.setdefault(event.order, []).append((event.by.partition(" (")[0], shown, event.at_ms))
        elif isinstance(event, OrderEnded):
            self.seen.outcomes[event.order] = event.outcome

    def after(self, fleet: Fleet, policy: Policy, step: Step) -> None:
        """Every effect in its order."""
        for effect in step.effects:
            if isinstance(effect, PhaseChanged):
                self._moved(fleet, policy, effect)
            elif isinstance(effect, ApprovalWanted):
                incident = fleet.incidents[effect.incident]
                self.seen.shown[(effect.order, effect.what)] = _content(policy, incident)
            elif isinstance(effect, Escalated) and effect.incident in self.seen.storms:
                self.seen.storms[effect.incident] += 1
                if self.seen.storms[effect.incident] > 1:
                    self.checker.fail(
                        f"{effect.incident} is a storm, and people were paged {self.seen.storms[effect.incident]} times"
                    )
            elif isinstance(effect, SendOrder) and effect.order.started_ms is None:
                self._ordered(fleet, policy, effect.order)
            elif isinstance(effect, Closed):
                self._closed(fleet, policy, effect)

    def _moved(self, fleet: Fleet, policy: Policy, effect: PhaseChanged) -> None:
        if effect.before is not None:
            return
        if effect.subject.check == "storm":
            self.seen.storms[effect.incident] = 0
            self.seen.about[effect.incident] = effect.subject.key
            return
        if effect.subject.host == "fleet":
            return
        self.seen.open[effect.incident] = (effect.subject, fleet.now_ms)
        if effect.subject.check == "operator_run":
            self.seen.runs.add(effect.incident)
        self.seen.storm_groups.update(self._stormy(fleet, policy) if self.world_has_storms else ())

    @property
    def world_has_storms(self) -> bool:
        """Whether the rules of this world know storms."""
        return self.checker.world.swarm.storms

    def _sick(self, fleet: Fleet, fresh_ms: int | None = None) -> dict[Group, set[str]]:
        """Hosts by group that have a fault now; with `fresh_ms` only those that turned bad since then."""
        found: dict[Group, set[str]] = {}
        for incident, (subject, at_ms) in self.seen.open.items():
            well = self.checker.books.status.get(subject) is Status.OK
            if incident in self.seen.runs or subject.check != FAULT or well or at_ms <= (fresh_ms or 0):
                continue
            for group in ("everybody", fleet.hosts[subject.host].labels["role"]):
                found.setdefault(group, set()).add(subject.host)
        return found

    def _most(self, fleet: Fleet, group: Group) -> int:
        """So many hosts of the group are a storm."""
        size = sum(1 for host in fleet.hosts.values() if group in ("everybody", host.labels["role"]))
        return max(3, min(5, size), -(-size * 30 // 100))

    def _stormy(self, fleet: Fleet, policy: Policy) -> set[Group]:
        sick = self._sick(fleet, fleet.now_ms - policy.storm.within_ms)
        return {group for group, hosts in sick.items() if len(hosts) >= self._most(fleet, group)}

    def _ordered(self, fleet: Fleet, policy: Policy, order: Order) -> None:
        incident = fleet.incidents[order.incident]
        if incident.attempts[-1].order != order.id or incident.attempts[-1].at_ms != fleet.now_ms:
            # Sent again.
            return
        if incident.run is None and self.world_has_storms:
            storms = [storm for storm in self.seen.storms if self.seen.about[storm] == incident.fault]
            if storms:
                self.checker.fail(f"{order.id} in the storm {', '.join(storms)}")
            if self._stormy(fleet, policy):
                self.checker.fail(f"{order.id} although many hosts fell sick at once: {self._stormy(fleet, policy)}")
        if order.cost is Cost.HARMLESS:
            return
        self._capacity(fleet, policy, order)
        if incident.run is None and policy.playbooks[0].trust is Trust.SUGGEST:
            self._approved(fleet, policy, order)

    def _capacity(self, fleet: Fleet, policy: Policy, order: Order) -> None:
        """The floors of all playbooks bind everybody, and the fleet has its ceiling."""
        role = fleet.hosts[order.host].labels["role"]
        busy = {
            i.subject.host
            for i in fleet.incidents.values()
            if i.id != order.incident
            and i.phase in (Phase.ORDERED, Phase.RUNNING, Phase.PROVING)
            and (i.order is None or i.order.cost is not Cost.HARMLESS)
        }
        ceiling = min(policy.ceiling.at_most, max(policy.ceiling.at_least, len(fleet.hosts) * policy.ceiling.percent // 100))
        if order.host not in busy and len(busy) >= ceiling:
            self.checker.fail(f"{order.id} is more than the fleet may bear: {sorted(busy)} are in work, ceiling {ceiling}")
        members = {host.id for host in fleet.hosts.values() if host.labels["role"] == role}
        sick = {subject.host for i, (subject, _) in self.seen.open.items() if i not in self.seen.runs}
        healthy = len(members - sick - busy - {order.host})
        percent = max((floor.percent for floor in policy.floors if floor.by == "role"), default=0)
        needed = min(len(members) - 1, -(-len(members) * percent // 100))
        if healthy < needed:
            self.checker.fail(f"{order.id} leaves {healthy} healthy hosts of {role}, {needed} are needed")

    def _approved(self, fleet: Fleet, policy: Policy, order: Order) -> None:
        wanted, content = policy.playbooks[0].approval, (policy.digest, order.action, order.params)
        since_ms = fleet.now_ms - wanted.within_ms
        people = {who for who, shown, at_ms in self.seen.yes.get(order.id, []) if shown == content and at_ms > since_ms}
        if len(people) < wanted.people:
            self.checker.fail(f"{order.id} does {order.action} {order.params}, and only {sorted(people)} approved that")

    def _closed(self, fleet: Fleet, policy: Policy, effect: Closed) -> None:
        self.seen.open.pop(effect.incident, None)
        if effect.why in PROVED:
            alone = effect.why is Why.HEALED_ALONE
            issued = self.checker.books.issued.values()
            orders = [o for o in issued if o.incident == effect.incident and o.permit is alone]
            if not orders or self.seen.outcomes.get(orders[-1].id) is not Outcome.DONE:
                self.checker.fail(f"{effect.incident} is called {effect.why.value}, but nothing is known to have run")
        if effect.incident not in self.seen.storms:
            return
        del self.seen.storms[effect.incident]
        if self.seen.about.pop(effect.incident) != FAULT:
            return
        sick = self._sick(fleet)
        still = {group for group in self.seen.storm_groups if len(sick.get(group, ())) >= self._most(fleet, group)}
        if still:
            self.checker.fail(f"the storm {effect.incident} is called over, but {still} are as sick as before")
        self.seen.storm_groups.clear()


def _content(policy: Policy, incident: Incident) -> Any:
    """What people are asked for, in full."""
    step = policy.playbooks[0].steps[incident.step]
    assert isinstance(step, ActionStep)
    values = (
        (name, incident.finding[str(value)[9:-1]] if str(value).startswith("{") else value) for name, value in step.params
    )
    return (policy.digest, step.action, tuple(values))
