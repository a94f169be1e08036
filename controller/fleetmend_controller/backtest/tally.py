"""What a replay counts: what one playbook did, where, how much at once, what held it back; and what was done then."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ..core.effects import PROVED, ApprovalWanted, Closed, Escalated, PhaseChanged, Reason, SendOrder, Step, Verdict, Why
from ..core.events import Event
from ..core.gates.fleet_budget import allowance
from ..core.incidents import ACTIVE
from ..core.model import Cost, Fleet, Order, Playbook
from ..core.storms import FLEET, STORM_CHECK
from .record import Episode
from .world import World


@dataclass(slots=True)
class StormSeen:
    """One storm: `acted` orders of the playbook for its check while it was on, `held` incidents that the storm gate held."""

    incident: str
    check: str
    since_ms: int
    text: str
    until_ms: int | None = None
    acted: int = 0
    held: set[str] = field(default_factory=set)
    pages: int = 1


@dataclass(slots=True)
class Peak:
    """The most that was in work at once, and when; `allowed` is the budget at that moment."""

    count: int = 0
    at_ms: int = 0
    allowed: int = 0


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
    _in_work: dict[str, str] = field(default_factory=dict)
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
                self._moved(effect)
            elif isinstance(effect, Escalated):
                self._told(effect, fleet)
            elif isinstance(effect, Closed):
                self._closed(effect, fleet)
            elif isinstance(effect, ApprovalWanted) and effect.incident in self.matched:
                self.approvals += 1

    def _reason(self, reason: Reason, fleet: Fleet) -> None:
        incident = fleet.incidents.get(reason.incident)
        if reason.why is Why.PLAYBOOK_MATCHED:
            told = None if incident is None else self.world.told.get(incident.subject)
            self.matched.setdefault(reason.incident, None if told is None else self.world.episode_of(told))
        elif reason.why is Why.TRUST_DEMOTED:
            self.demoted_ms.append(fleet.now_ms)
        elif reason.gate and reason.verdict in (Verdict.HOLD, Verdict.REFUSE):
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
        by = self._playbook.limits.fleet.by if self._playbook is not None else ""
        value = host.labels.get(by, "")
        group = f"{by}={value}" if value else f"without {by}"
        self.by_group[group] += 1
        if order.cost is Cost.HARMLESS or self._playbook is None:
            return
        self._in_work[order.incident] = group
        allowed = allowance(fleet, self._playbook.limits.fleet, value)
        _higher(self.peak, len(self._in_work), fleet.now_ms, 0)
        here = sum(1 for of in self._in_work.values() if of == group)
        _higher(self.peaks.setdefault(group, Peak()), here, fleet.now_ms, allowed)

    def _moved(self, effect: PhaseChanged) -> None:
        if effect.after not in ACTIVE:
            self._in_work.pop(effect.incident, None)

    def _told(self, effect: Escalated, fleet: Fleet) -> None:
        if effect.subject.host == FLEET and effect.subject.check == STORM_CHECK:
            storm = StormSeen(effect.incident, effect.subject.key, fleet.now_ms, effect.text)
            self.storms.append(storm)
            self._raging[storm.check] = storm
        elif effect.incident in self.matched and effect.why not in (Why.MASKING, Why.TRUST_DEMOTED):
            self.escalated.setdefault(effect.incident, effect.why.value)

    def _closed(self, effect: Closed, fleet: Fleet) -> None:
        if effect.subject.host == FLEET and effect.subject.check == STORM_CHECK:
            storm = self._raging.pop(effect.subject.key, None)
            if storm is not None:
                storm.until_ms = fleet.now_ms
        elif effect.playbook == self.name and effect.why in PROVED:
            self.healed.add(effect.incident)
        elif effect.playbook == self.name and effect.why is Why.WENT_AWAY:
            self.went_away.add(effect.incident)


def _higher(peak: Peak, count: int, at_ms: int, allowed: int) -> None:
    if count > peak.count:
        peak.count, peak.at_ms, peak.allowed = count, at_ms, allowed
