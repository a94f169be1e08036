"""What the checkers noted, from events and announced effects alone: these books trust no index of the core."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fleetmend_controller.core.effects import (
    PROVED,
    ActionEnded,
    ApprovalWanted,
    Closed,
    DrainHost,
    Effect,
    Escalated,
    PermitSpent,
    PhaseChanged,
    Reason,
    SendOrder,
    Why,
)
from fleetmend_controller.core.events import (
    AlertSaid,
    Approve,
    DeciderStarted,
    Deny,
    Event,
    EvidenceConfirmed,
    HostConnected,
    HostEnrolled,
    HostSilent,
    Observed,
    ObserverDoubted,
    OrderEnded,
    OrderStarted,
    Paused,
    PermitUsed,
    PersonSeen,
    Resumed,
    TrustRestored,
    WindowAdded,
    WindowRemoved,
    WitnessSaid,
)
from fleetmend_controller.core.fleet import MANY_LOST_CHECK
from fleetmend_controller.core.incidents import HOST_LOST_CHECK, OPERATOR_CHECK
from fleetmend_controller.core.inquiry import Reach
from fleetmend_controller.core.model import Cost, Order, Pause, Phase, Playbook, Status, Subject, Trust, Window
from fleetmend_controller.core.storms import STORM_CHECK

LADDER = (Trust.OBSERVE, Trust.SUGGEST, Trust.ACT)
ACTIVE = (Phase.ORDERED, Phase.RUNNING, Phase.PROVING)
Clock = tuple[str, int]


@dataclass(slots=True)
class Case:
    """An open incident as the books know it. `tried` is what its tries are counted under."""

    id: str
    subject: Subject
    kind: str
    tried: Subject
    opened_ms: int
    phase: Phase
    run: bool
    disturbs: bool = False
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What a check last said, and when on its host."""

    status: Status
    boot: str
    clock_ms: int


@dataclass(frozen=True, slots=True)
class End:
    """The word of an order's end."""

    outcome: str
    boot: str
    clock_ms: int


@dataclass(frozen=True, slots=True)
class Heard:
    """What a witness said in the newest round about a host, and when."""

    round: int
    at_ms: int
    reach: Reach


@dataclass(slots=True)
class Books:
    """Clocks of samples and ends are (boot, boot clock).

    `silences` counts how often a host fell silent, `words_of` is what witnesses said in the newest round of an incident,
    `cycled` the newest power cycle of a host and of which silence it was, `cycling` whose power cycle is not over.
    """

    now_ms: int = 0
    events: int = 0
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    members: dict[tuple[str, str], int] = field(default_factory=dict)
    boots: dict[str, list[str]] = field(default_factory=dict)
    lost: dict[str, None] = field(default_factory=dict)
    pauses: dict[str, Pause] = field(default_factory=dict)
    windows: dict[str, Window] = field(default_factory=dict)
    people: dict[str, int] = field(default_factory=dict)
    doubt_ms: int = 0
    cases: dict[str, Case] = field(default_factory=dict)
    issued: dict[str, Order] = field(default_factory=dict)
    of_case: dict[str, list[str]] = field(default_factory=dict)
    out: dict[str, dict[str, None]] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)
    words: dict[str, End] = field(default_factory=dict)
    seq: dict[tuple[str, str], int] = field(default_factory=dict)
    results: dict[Subject, Result] = field(default_factory=dict)
    evidence_ms: dict[Subject, int] = field(default_factory=dict)
    first_bad_ms: dict[Subject, int] = field(default_factory=dict)
    oks: dict[Subject, list[Clock]] = field(default_factory=dict)
    tries: dict[Subject, list[int]] = field(default_factory=dict)
    acted: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    openings: dict[Subject, list[int]] = field(default_factory=dict)
    flapping: dict[Subject, int] = field(default_factory=dict)
    heals: dict[Subject, list[int]] = field(default_factory=dict)
    storms: dict[str, str] = field(default_factory=dict)
    asked: dict[str, ApprovalWanted] = field(default_factory=dict)
    answers: dict[str, list[Approve]] = field(default_factory=dict)
    withdrawn: dict[str, None] = field(default_factory=dict)
    contents: dict[tuple[str, str], tuple[object, ...]] = field(default_factory=dict)
    denied: dict[str, str] = field(default_factory=dict)
    lowered: dict[str, Trust] = field(default_factory=dict)
    unproved: dict[str, int] = field(default_factory=dict)
    spoken: dict[tuple[str, str], None] = field(default_factory=dict)
    doubled: bool = False
    silences: dict[str, int] = field(default_factory=dict)
    words_of: dict[str, dict[str, Heard]] = field(default_factory=dict)
    cycled: dict[str, tuple[str, int]] = field(default_factory=dict)
    cycling: dict[str, str] = field(default_factory=dict)
    verdicts: dict[str, int] = field(default_factory=dict)
    drains: dict[str, None] = field(default_factory=dict)
    alerts_over_ms: dict[Subject, int] = field(default_factory=dict)
    healed: int = 0
    healed_alone: int = 0

    def note(self, event: Event) -> None:
        """What the event brings, as the core will see it: history and doubles do not count as evidence."""
        self.events += 1
        self.now_ms = max(self.now_ms, event.at_ms)
        self.doubled = False
        match event:
            case EvidenceConfirmed():
                self._saw_bad(Subject(event.host, event.check, event.key), _sampled_ms(event))
            case Observed():
                self._observed(event)
            case OrderStarted() | OrderEnded() if self._is_new(event):
                self._order_told(event)
            case AlertSaid(status=Status.OK):
                of = Subject(event.host, event.check, event.key)
                self.alerts_over_ms[of] = max(event.ends_ms, self.alerts_over_ms.get(of, 0))
            case PermitUsed() if self._is_new(event):
                self.spoken["PermitUsed", event.permit] = None
            case HostConnected():
                self._connected(event)
            case HostSilent():
                self.lost[event.host] = None
                self.silences[event.host] = self.silences.get(event.host, 0) + 1
                self.first_bad_ms[Subject(event.host, HOST_LOST_CHECK, "")] = self.now_ms - event.silent_ms
            case WitnessSaid():
                self._witness(event)
            case HostEnrolled():
                self._enrolled(event)
            case _:
                self._note_people(event)

    def _note_people(self, event: Any) -> None:
        match event:
            case Paused():
                self.pauses[event.scope] = Pause(event.scope, event.by, event.reason, self.now_ms, event.until_ms)
            case Resumed():
                self.pauses.pop(event.scope, None)
            case WindowAdded():
                self.windows[event.window.id] = event.window
            case WindowRemoved():
                self.windows.pop(event.id, None)
            case PersonSeen():
                self.people[event.host] = event.until_ms
            case Approve():
                self.answers.setdefault(event.order, []).append(event)
            case Deny() if self._is_asked(event.order, event.what):
                self.denied[event.order] = event.what
            case TrustRestored():
                self.lowered.pop(event.playbook, None)
                self.unproved.pop(event.playbook, None)
            case DeciderStarted() | ObserverDoubted():
                self.doubt_ms = self.now_ms

    def note_effect(self, event: Event, effect: Effect) -> None:
        """What the core announces. Called in its order, so that at each order the books stand as at its decision."""
        match effect:
            case PhaseChanged():
                self._phase(event, effect)
            case SendOrder(order) if order.id not in self.issued:
                self._issued(order)
            case DrainHost(order) if order.id not in self.issued:
                self.drains[order.id] = None
                self._issued(order)
            case PermitSpent(order):
                self._spent(event, order)
            case ActionEnded():
                self.ends[effect.order] = self.ends.get(effect.order, 0) + 1
                self.out.get(effect.host, {}).pop(effect.order, None)
            case Escalated(why=Why.FLAPPING):
                self.flapping[self.cases[effect.incident].tried] = self.now_ms
            case ApprovalWanted():
                self.asked[effect.order] = effect
                self.withdrawn.pop(effect.incident, None)
                self.answers.pop(effect.order, None)
                self.denied.pop(effect.order, None)
            case Closed():
                self._closed(event, effect)

    def note_reasons(self, reasons: tuple[Reason, ...], effects: tuple[Effect, ...]) -> list[str]:
        """Keep the record of each playbook's proofs. Returns the incidents by which a playbook was demoted now."""
        told = {
            e.incident for e in effects if isinstance(e, Escalated) and e.why is Why.TRUST_DEMOTED and e.severity == "ticket"
        }
        blind = {e.incident for e in effects if isinstance(e, Escalated) and e.why is Why.PROOF_TIMEOUT}
        demoted = []
        for reason in reasons:
            if reason.why in (Why.PROOF_BROKEN, Why.PROOF_TIMEOUT) and reason.incident not in blind:
                self.unproved[reason.playbook] = self.unproved.get(reason.playbook, 0) + 1
            elif reason.why is Why.APPROVAL_CHANGED and "anew" in reason.text:
                self.withdrawn[reason.incident] = None
            elif reason.why in PROVED:
                self.unproved[reason.playbook] = 0
            elif reason.why is Why.HOST_JUDGED:
                verdict = reason.text.partition(":")[0]
                self.verdicts[verdict] = self.verdicts.get(verdict, 0) + 1
            elif reason.why is Why.TRUST_DEMOTED and reason.incident in told:
                demoted.append(reason.incident)
        return demoted

    def trust(self, playbook: Playbook) -> Trust:
        """How far a playbook may go, after demotions."""
        return min(playbook.trust, self.lowered.get(playbook.name, Trust.ACT), key=LADDER.index)

    def demote(self, playbook: Playbook) -> None:
        """One step less, and a new count."""
        self.lowered[playbook.name] = LADDER[max(0, LADDER.index(self.trust(playbook)) - 1)]
        self.unproved[playbook.name] = 0

    def open_cases(self, kind: str) -> Iterator[Case]:
        """The open incidents of a type of check."""
        return (case for case in self.cases.values() if case.kind == kind and not case.run)

    def disturbed(self) -> dict[str, None]:
        """The hosts on which something disruptive is ordered, runs, or is being proved."""
        return dict.fromkeys(c.subject.host for c in self.cases.values() if c.disturbs)

    def missed_ms(self, incident: str) -> dict[str, int]:
        """Which hosts said in the newest round that they do not reach it, and when."""
        words = self.words_of.get(incident, {})
        return {host: word.at_ms for host, word in words.items() if host and word.reach is Reach.NOT_REACHED}

    def _witness(self, event: WitnessSaid) -> None:
        words = self.words_of.setdefault(event.incident, {})
        newest = max((word.round for word in words.values()), default=0)
        if event.round > newest:
            words.clear()
        if event.round >= newest:
            words.setdefault(event.witness, Heard(event.round, self.now_ms, event.reach))

    def cycle(self, order: Order) -> None:
        """A power cycle was ordered."""
        self.cycled[order.host] = (order.id, self.silences.get(order.host, 0))
        self.cycling[order.incident] = order.host

    def size(self, label: str, value: str) -> int:
        """How many hosts a group has; the group of the empty value are those without the label."""
        if value:
            return self.members.get((label, value), 0)
        return sum(1 for labels in self.labels.values() if not labels.get(label))

    def _is_asked(self, order: str, what: str) -> bool:
        """Whether people are asked for just this now: an answer to anything else is none."""
        asked = self.asked.get(order)
        return asked is not None and asked.what == what and asked.incident not in self.withdrawn

    def _is_new(self, event: Any) -> bool:
        if event.outbox and event.seq <= self.seq.get((event.host, event.outbox), 0):
            self.doubled = True
            return False
        if event.outbox:
            self.seq[event.host, event.outbox] = event.seq
        return True

    def _order_told(self, event: OrderStarted | OrderEnded) -> None:
        self.spoken[type(event).__name__, event.order] = None
        if isinstance(event, OrderEnded):
            self.words.setdefault(event.order, End(event.outcome.value, event.boot, event.ended_clock_ms))

    def _observed(self, event: Observed) -> None:
        if not self._is_new(event) or self.boots.get(event.host, [""])[-1] != event.boot:
            return
        subject = Subject(event.host, event.check, event.key)
        self.results[subject] = Result(event.status, event.boot, event.sampled_clock_ms)
        if event.status is Status.CRIT:
            self._saw_bad(subject, _sampled_ms(event))
        elif event.status is Status.OK:
            self.first_bad_ms.pop(subject, None)
            self.oks.setdefault(subject, []).append((event.boot, event.sampled_clock_ms))

    def _saw_bad(self, subject: Subject, sampled_ms: int) -> None:
        self.first_bad_ms.setdefault(subject, sampled_ms)
        self.evidence_ms[subject] = max(sampled_ms, self.evidence_ms.get(subject, 0))

    def _connected(self, event: HostConnected) -> None:
        self.lost.pop(event.host, None)
        boots = self.boots.setdefault(event.host, [])
        if event.boot not in boots:
            boots.append(event.boot)

    def _enrolled(self, event: HostEnrolled) -> None:
        self.labels[event.host] = dict(event.labels)
        for group in event.labels.items():
            self.members[group] = self.members.get(group, 0) + 1

    def _phase(self, event: Event, effect: PhaseChanged) -> None:
        if effect.before is None:
            self._opened(event, effect)
            return
        case = self.cases[effect.incident]
        case.phase = effect.after
        if effect.after not in ACTIVE:
            self.cycling.pop(effect.incident, None)
        if effect.after not in ACTIVE:
            case.disturbs = False
        elif effect.after is Phase.RUNNING and effect.before is not Phase.ORDERED:
            # The host did it alone.
            case.disturbs = case.alone

    def _opened(self, event: Event, effect: PhaseChanged) -> None:
        subject = effect.subject
        run = subject.check == OPERATOR_CHECK
        kind, tried = subject.check, subject
        at = (getattr(event, "host", ""), getattr(event, "check", ""), getattr(event, "key", ""))
        if isinstance(event, Observed | PermitUsed | AlertSaid) and at == (subject.host, subject.check, subject.key):
            # Which alert it is, is what many hosts may have in common.
            kind = event.check if isinstance(event, AlertSaid) else event.check_type
            unit = event.finding.get("unit")
            tried = Subject(subject.host, "", str(unit)) if unit else subject
        if subject.check == STORM_CHECK:
            self.storms[subject.key] = effect.incident
        elif not run:
            self.openings.setdefault(tried, []).append(self.now_ms)
        self.cases[effect.incident] = Case(effect.incident, subject, kind, tried, self.now_ms, effect.after, run)

    def _issued(self, order: Order) -> None:
        self.issued[order.id] = order
        self.of_case.setdefault(order.incident, []).append(order.id)
        if order.cost is Cost.HARMLESS:
            return
        self.out.setdefault(order.host, {})[order.id] = None
        case = self.cases.get(order.incident)
        if case is not None:
            case.disturbs = True

    def _spent(self, event: Event, order: Order) -> None:
        """A host did it alone, then: it counts like an order of that time."""
        case = self.cases[order.incident]
        self.issued[order.id] = order
        self.of_case.setdefault(order.incident, []).append(order.id)
        case.alone = order.cost is not Cost.HARMLESS
        if case.alone and isinstance(event, PermitUsed):
            insort(self.tries.setdefault(case.tried, []), order.issued_ms)
            insort(self.acted.setdefault((order.host, event.playbook), []), order.issued_ms)

    def _closed(self, event: Event, effect: Closed) -> None:
        case = self.cases.pop(effect.incident)
        self.cycling.pop(effect.incident, None)
        self.words_of.pop(effect.incident, None)
        if effect.why in PROVED:
            self.healed += 1
            alone = effect.why is Why.HEALED_ALONE and isinstance(event, Observed)
            self.healed_alone += alone
            self.heals.setdefault(case.tried, []).append(_sampled_ms(event) if alone else self.now_ms)
        for kind in [kind for kind, incident in self.storms.items() if incident == effect.incident]:
            del self.storms[kind]
        if effect.subject.check == MANY_LOST_CHECK:
            self.doubt_ms = self.now_ms


def _sampled_ms(event: Observed | EvidenceConfirmed) -> int:
    """When a sample was taken, on the controller's clock."""
    return event.at_ms - max(0, event.clock_ms - event.sampled_clock_ms)
