"""What a replay counts: what one playbook did, where, how much at once, what held it back; and what was done then."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ..core.effects import ApprovalWanted, Closed, Escalated, PhaseChanged, Reason, SendOrder, Step, Verdict, Why
from ..core.events import Event
from ..core.gates.fleet_budget import GATE as FLEET_BUDGET
from ..core.gates.fleet_budget import allowance
from ..core.incidents import ACTIVE
from ..core.model import Cost, Fleet, Host, Order, Phase, Playbook, Subject
from ..core.storms import FLEET, STORM_CHECK
from .record import Episode
from .world import World


@dataclass(slots=True)
class StormSeen:
    """One storm: `acted` orders of the playbook for its check while it was on, `held` incidents that the storm gate held.

    `pages` are those for the storm and for faults of its type while it was on.
    """

    incident: str
    check: str
    since_ms: int
    text: str = ""
    until_ms: int | None = None
    acted: int = 0
    held: set[str] = field(default_factory=set)
    pages: int = 0


@dataclass(slots=True)
class Peak:
    """The most that was in work at once, and when; `allowed` is the budget at that moment.

    `wanted` is the most that would have been without it, those in work and those that waited for room. `breaches` is how often
    that rose above the budget.
    """

    count: int = 0
    at_ms: int = 0
    allowed: int = 0
    wanted: int = 0
    breaches: int = 0
    over: bool = False


@dataclass(slots=True)
class Tally:
    """Counts for the playbook `name`; the gates of others are not counted."""

    name: str
    world: World
    matched: dict[str, Episode | None] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)
    held: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    refused: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    healed: set[str] = field(default_factory=set)
    went_away: set[str] = field(default_factory=set)
    escalated: dict[str, str] = field(default_factory=dict)
    approvals: int = 0
    demoted_ms: list[int] = field(default_factory=list)
    acted: set[str] = field(default_factory=set)
    by_host: Counter[str] = field(default_factory=Counter)
    by_group: Counter[str] = field(default_factory=Counter)
    by_subject: Counter[str] = field(default_factory=Counter)
    peak: Peak = field(default_factory=Peak)
    peaks: dict[str, Peak] = field(default_factory=dict)
    storms: list[StormSeen] = field(default_factory=list)
    _sent: set[str] = field(default_factory=set)
    _in_work: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _waiting: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _touched: dict[str, tuple[str, str]] = field(default_factory=dict)
    _raging: dict[str, StormSeen] = field(default_factory=dict)
    _playbook: Playbook | None = None

    def use(self, playbook: Playbook) -> None:
        """The playbook as it is from now on."""
        self._playbook = playbook

    def watch(self, _event: Event, step: Step, fleet: Fleet) -> None:
        """Count one step."""
        for reason in step.reasons:
            if reason.playbook == self.name:
                self._reason(reason, fleet)
        for effect in step.effects:
            if isinstance(effect, SendOrder):
                self._ordered(effect.order, fleet)
            elif isinstance(effect, PhaseChanged):
                self._moved(effect, fleet)
            elif isinstance(effect, Escalated):
                self._told(effect, fleet)
            elif isinstance(effect, Closed):
                self._closed(effect, fleet)
            elif isinstance(effect, ApprovalWanted) and effect.incident in self.matched:
                self.approvals += 1
        self._measure(fleet)

    def _reason(self, reason: Reason, fleet: Fleet) -> None:
        incident = fleet.incidents.get(reason.incident)
        if reason.why is Why.PLAYBOOK_MATCHED:
            told = None if incident is None else self.world.told.get(incident.subject)
            self.matched.setdefault(reason.incident, None if told is None else self.world.episode_of(told))
        elif reason.why is Why.TRUST_DEMOTED:
            self.demoted_ms.append(fleet.now_ms)
        if reason.gate == FLEET_BUDGET.name:
            self._wants(reason, fleet)
        if reason.gate and reason.verdict in (Verdict.HOLD, Verdict.REFUSE):
            kept = self.held if reason.verdict is Verdict.HOLD else self.refused
            kept.setdefault((reason.gate, reason.why.value), set()).add(reason.incident)
            storm = self._raging.get(incident.check_type) if incident is not None and reason.why is Why.STORM else None
            if storm is not None:
                storm.held.add(reason.incident)

    def _ordered(self, order: Order, fleet: Fleet) -> None:
        incident = fleet.incidents.get(order.incident)
        if incident is None or incident.playbook != self.name or order.id in self._sent:
            return
        self._sent.add(order.id)
        self.orders.append(order)
        self.acted.add(order.incident)
        host = fleet.hosts[order.host]
        self.by_host[host.name] += 1
        self.by_subject[f"{order.check} {order.key}"] += 1
        storm = self._raging.get(incident.check_type)
        if storm is not None:
            storm.acted += 1
        groups = self._groups(host)
        self.by_group[next(iter(groups), "everybody")] += 1
        if order.cost is Cost.HARMLESS or self._playbook is None:
            return
        self._waiting.pop(order.incident, None)
        self._in_work[order.incident] = tuple(groups)
        _higher(self.peak, len(self._in_work), fleet.now_ms, 0)
        for group, (label, value) in groups.items():
            allowed = allowance(fleet, self._playbook.limits.fleet, value, label)
            here = sum(1 for of in self._in_work.values() if group in of)
            _higher(self.peaks.setdefault(group, Peak()), here, fleet.now_ms, allowed)
        self._touched |= groups

    def _groups(self, host: Host) -> dict[str, tuple[str, str]]:
        """The groups of a host that the playbook's budget bounds, by name."""
        labels = self._playbook.limits.fleet.labels if self._playbook is not None else ()
        values = {label: host.labels.get(label, "") for label in labels}
        return {f"{label}={value}" if value else f"without {label}": (label, value) for label, value in values.items()}

    def _wants(self, reason: Reason, fleet: Fleet) -> None:
        """An incident would be in work if there were room, or is not kept by that any more."""
        incident = fleet.incidents.get(reason.incident)
        host = fleet.hosts.get(incident.subject.host) if incident is not None else None
        if host is None:
            return
        groups = self._groups(host)
        if reason.verdict is Verdict.ALLOW:
            self._waiting.pop(reason.incident, None)
        else:
            self._waiting[reason.incident] = tuple(groups)
        self._touched |= groups

    def _measure(self, fleet: Fleet) -> None:
        """How many were in work or waited for room after a step, in the groups that it touched."""
        if self._playbook is None:
            return
        for group, (label, value) in self._touched.items():
            peak = self.peaks.setdefault(group, Peak())
            wanted = sum(1 for of in (*self._in_work.values(), *self._waiting.values()) if group in of)
            peak.wanted = max(peak.wanted, wanted)
            over = wanted > allowance(fleet, self._playbook.limits.fleet, value, label)
            peak.breaches += over and not peak.over
            peak.over = over
        self._touched.clear()

    def _moved(self, effect: PhaseChanged, fleet: Fleet) -> None:
        if _is_storm(effect.subject) and effect.before is None:
            storm = StormSeen(effect.incident, effect.subject.key, fleet.now_ms)
            self.storms.append(storm)
            self._raging[storm.check] = storm
        if effect.after not in ACTIVE:
            groups = self._in_work.pop(effect.incident, ())
            if effect.after in (Phase.RESOLVED, Phase.ESCALATED):
                groups = (*groups, *self._waiting.pop(effect.incident, ()))
            host = fleet.hosts.get(effect.subject.host)
            if groups and host is not None:
                self._touched |= self._groups(host)

    def _told(self, effect: Escalated, fleet: Fleet) -> None:
        incident = fleet.incidents.get(effect.incident)
        kind = effect.subject.key if _is_storm(effect.subject) else incident.check_type if incident is not None else ""
        raging = self._raging.get(kind)
        if raging is not None and effect.severity == "page":
            raging.pages += 1
        if _is_storm(effect.subject) and raging is not None:
            raging.text = effect.text
        elif effect.incident in self.matched and effect.why not in (Why.MASKING, Why.TRUST_DEMOTED):
            self.escalated.setdefault(effect.incident, effect.why.value)

    def _closed(self, effect: Closed, fleet: Fleet) -> None:
        if _is_storm(effect.subject):
            storm = self._raging.pop(effect.subject.key, None)
            if storm is not None:
                storm.until_ms = fleet.now_ms
        elif effect.playbook == self.name and effect.why is Why.HEALED:
            self.healed.add(effect.incident)
        elif effect.playbook == self.name and effect.why is Why.WENT_AWAY:
            self.went_away.add(effect.incident)


def _is_storm(subject: Subject) -> bool:
    return subject.host == FLEET and subject.check == STORM_CHECK


def _higher(peak: Peak, count: int, at_ms: int, allowed: int) -> None:
    if count > peak.count:
        peak.count, peak.at_ms, peak.allowed = count, at_ms, allowed
