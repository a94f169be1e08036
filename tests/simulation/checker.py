"""The watchers: what must never happen, and what must have happened at the end."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fleetmend_controller.core import invariants
from fleetmend_controller.core.effects import (
    PROVED,
    Acknowledged,
    ApprovalWanted,
    Closed,
    DrainHost,
    PermitSpent,
    PhaseChanged,
    SendOrder,
    SendPermits,
    Step,
    Why,
)
from fleetmend_controller.core.events import Acknowledge, AlertSaid, Event, EvidenceConfirmed, Observed, Woken
from fleetmend_controller.core.matching import substitute
from fleetmend_controller.core.model import (
    ActionStep,
    Ceiling,
    Cost,
    Fleet,
    Incident,
    Order,
    Phase,
    Playbook,
    Status,
    Storm,
    Subject,
    Trust,
)
from fleetmend_controller.core.orders import POWER_CYCLE, REBOOT
from fleetmend_controller.core.permits import is_permit
from fleetmend_controller.core.policy import MatchAnswer, Policy

from . import bound, sweep, twin
from .books import Books, Case
from .outside import ALERT
from .watch import lost
from .watch.gates import WATCHES, Asked
from .watch.hands import Hands
from .watch.storms import Storms

if TYPE_CHECKING:
    from .host import Part, Record, Server
    from .world import World

# The whole fleet is looked through after so many events that led to something, what they touched after each.
SWEEP_EVENTS = 100
# Within this time a fault is known, if host, link and controller stay up: the poll, and reports again and again.
FOUND_MS = 300_000
# So soon real agents see that somebody mended something: two polls in a row must say so.
SEEN_MS = 60_000
# So many repairs in a row that were not proved cost trust.
UNPROVED_MAX = 3
# A journal up to here is also read back from its first row at the end.
REREAD_ROWS_MAX = 3_000


JOURNALLED = {
    "started": "OrderStarted",
    "ended": "OrderEnded",
    "permit began": "PermitUsed",
    "permit ended": "OrderEnded",
}


class Violation(AssertionError):
    """A promise was broken; the text names seed, time and promise."""


def _only_by_role(playbook: Playbook) -> Playbook:
    """With the one label whose groups every version bounds."""
    limits = replace(playbook.limits, fleet=replace(playbook.limits.fleet, also=()))
    return replace(playbook, limits=limits)


class Checker:
    """Asks every promise at every step."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.books = Books()
        self.effects: dict[str, int] = {}
        self.running: dict[str, str] = {}
        self.by: dict[str, Playbook] = {}
        self.epochs: dict[str, int] = {}
        self.hands = Hands(self)
        self.lost = lost.Lost(self)
        self._generous: Policy | None = None
        self._storms: Storms | None = None
        self._since_sweep = 0

    def fail(self, promise: str) -> None:
        """End the run with the seed that shows it."""
        raise Violation(f"seed {self.world.seed} at {self.world.time.now_ms} ms: {promise}")

    @property
    def generous(self) -> Policy:
        """All versions of the rules in one: what none of them allows is wrong whichever is in force."""
        if self._generous is None:
            policies = self.world.brain.policies
            most = Ceiling(100, max(p.ceiling.at_least for p in policies), max(p.ceiling.at_most for p in policies))
            books = tuple(_only_by_role(playbook) for policy in policies for playbook in policy.playbooks)
            of = [policy.storm for policy in policies] + [b.limits.storm for b in books if b.limits.storm is not None]
            storm = Storm("role", max(s.percent for s in of), min(s.within_ms for s in of), max(s.hosts for s in of))
            self._generous = replace(policies[0], playbooks=books, ceiling=most, storm=storm)
        return self._generous

    @property
    def storms(self) -> Storms:
        """Made when the rules of the world are known."""
        if self._storms is None:
            self._storms = Storms(self.books, self.generous.storm)
        return self._storms

    def before(self, event: Event) -> None:
        """Note what the event brings."""
        self.books.note(event)

    def after(self, fleet: Fleet, policy: Policy, event: Event, step: Step) -> None:
        """Every effect against the books, and the invariants of what it touched. What led to nothing broke nothing."""
        if not step.effects and not step.reasons and isinstance(event, Observed | EvidenceConfirmed | Woken):
            return
        # That somebody was quiet for long enough is said at whatever comes next.
        if self.books.doubled and (step.effects or any(r.why is not Why.FLAPPING_OVER for r in step.reasons)):
            self.fail(f"{type(event).__name__} {event} was taken before, and leads to something again")
        if isinstance(event, Acknowledge) and any(not isinstance(effect, Acknowledged) for effect in step.effects):
            self.fail(f"that {event.by} took {event.incident} led to {step.effects}")
        if isinstance(event, AlertSaid):
            self._said(event, step)
        self._trust(step)
        for effect in step.effects:
            if isinstance(effect, Closed):
                self._closed(event, effect)
            new = isinstance(effect, SendOrder | DrainHost) and effect.order.id not in self.books.issued
            self.books.note_effect(event, effect)
            text = "" if isinstance(effect, Closed) else self.storms.watch(event, effect)
            if text:
                self.fail(text)
            if new and isinstance(effect, SendOrder | DrainHost):
                self._issued(fleet, policy, effect.order)
            elif isinstance(effect, ApprovalWanted):
                self._asked(fleet, effect)
            elif isinstance(effect, SendPermits):
                self.hands.give(fleet, policy, effect)
            elif isinstance(effect, PermitSpent):
                self._spent(fleet, effect.order)
        self._sweep(fleet, event, step)

    def _said(self, event: AlertSaid, step: Step) -> None:
        """What was over before is no fault when it is said late."""
        subject = Subject(event.host, event.check, event.key)
        late = event.status is Status.CRIT and event.starts_ms < self.books.alerts_over_ms.get(subject, 0)
        opened = any(isinstance(e, PhaseChanged) and e.before is None and e.subject == subject for e in step.effects)
        if late and opened:
            self.fail(f"an alert about {event.key} of {event.host} opens an incident, and was over before")

    def _trust(self, step: Step) -> None:
        """A playbook whose proofs fail one after the other may do less from then on, if it may do anything."""
        for incident_id in self.books.note_reasons(step.reasons, step.effects):
            self.books.demote(self.by[incident_id])
        for name, count in self.books.unproved.items():
            if count >= UNPROVED_MAX and self.books.lowered.get(name) is not Trust.OBSERVE:
                self.fail(f"{name} keeps its trust after {count} repairs that were not proved")

    def was_away(self, now_ms: int) -> None:
        """The controller stood still, or its clock was set: what it knew from before is no evidence."""
        self.books.doubt_ms = max(self.books.doubt_ms, now_ms)

    def _sweep(self, fleet: Fleet, event: Event, step: Step) -> None:
        self._since_sweep += 1
        if self._since_sweep >= max(SWEEP_EVENTS, 2 * len(fleet.hosts)):
            self.sweep(fleet)
            return
        wrong = sweep.broken(fleet, step)
        if wrong:
            self.fail(f"after {type(event).__name__}: {wrong}")

    def sweep(self, fleet: Fleet) -> None:
        """Every invariant of the whole fleet."""
        self._since_sweep = 0
        wrong = invariants.broken(fleet, self.generous, (*invariants.ALWAYS, invariants.budgets_are_kept))
        if wrong:
            self.fail(wrong[0])

    # Orders, from the gates to the end.

    def _issued(self, fleet: Fleet, policy: Policy, order: Order) -> None:
        """An order is given: it has an open incident, its playbook's step and parameters, and no gate against it."""
        case, incident = self.books.cases.get(order.incident), fleet.incidents.get(order.incident)
        if case is None or case.phase is not Phase.ORDERED or incident is None:
            self.fail(f"{order.id} without an open incident")
            return
        playbook = incident.run or self._match(policy, fleet, incident)
        if playbook is None or playbook != (incident.run or incident.book):
            self.fail(f"{order.id} by {incident.playbook}, the rules in force say {playbook and playbook.name}")
            return
        step = playbook.steps[incident.step]
        if not isinstance(step, ActionStep) or (step.action, step.cost) != (order.action, order.cost):
            self.fail(f"{order.id} is not step {incident.step} of {playbook.name}")
            return
        self.by[order.incident] = playbook
        asked = Asked(self.books, order, case, playbook, step, policy, self.generous.storm)
        for watch in (*lost.WATCHES.values(), *WATCHES.values()):
            text = watch(asked)
            if text:
                self.fail(f"{order.id} {text}")
        self._count(order, case, playbook)

    def _spent(self, fleet: Fleet, order: Order) -> None:
        """A host did something alone, and its playbook answers for it."""
        self.hands.spend(order)
        incident = fleet.incidents.get(order.incident)
        if incident is not None and incident.order is order and incident.book is not None:
            self.by[order.incident] = incident.book

    @staticmethod
    def _match(policy: Policy, fleet: Fleet, incident: Incident) -> Playbook | None:
        host = fleet.hosts[incident.subject.host]
        for playbook in policy.playbooks:
            condition = policy.conditions.get(playbook.name)
            fits = condition is None or condition(host, incident).answer is MatchAnswer.YES
            if playbook.answers(incident.subject.check, incident.check_type) and fits:
                return playbook
        return None

    def _count(self, order: Order, case: Case, playbook: Playbook) -> None:
        if order.action == POWER_CYCLE:
            self.books.cycle(order)
        if order.cost is not Cost.HARMLESS:
            self.books.tries.setdefault(case.tried, []).append(self.books.now_ms)
            self.books.acted.setdefault((order.host, playbook.name), []).append(self.books.now_ms)

    def _asked(self, fleet: Fleet, effect: ApprovalWanted) -> None:
        """Remember what is shown to people with this digest."""
        incident = fleet.incidents[effect.incident]
        playbook = incident.run or incident.book
        step = playbook.steps[incident.step] if playbook is not None else None
        if playbook is None or not isinstance(step, ActionStep):
            self.fail(f"people are asked for {effect.order}, which no step would give")
            return
        shown = (playbook.name, step.action, substitute(step, incident), step.cost)
        self.books.contents[effect.order, effect.what] = shown

    def effect(self, server: Server, order: Order, epoch: int) -> None:
        """An action begins on a host: at most once, in time, on the right boot, from the newest decider, alone."""
        self.effects[order.id] = self.effects.get(order.id, 0) + 1
        if self.effects[order.id] > 1:
            self.fail(f"{order.id} ran {self.effects[order.id]} times on {server.id}")
        if order.id not in self.books.issued:
            self.fail(f"{order.id} runs although it was never journalled")
        if order.id in self.books.words or any(r.order == order.id and r.kind == "ended" for r in server.outbox):
            self.fail(f"{order.id} runs although its end was told already")
        if order.boot != server.boot or server.clock_ms() > order.expires_clock_ms:
            self.fail(f"{order.id} runs after its expiry or on another boot")
        if epoch < self.epochs.get(server.id, 0):
            self.fail(f"{order.id} of epoch {epoch} runs after epoch {self.epochs[server.id]} commanded {server.id}")
        self.commanded(server, epoch)
        if order.id in self.books.drains and server.id not in self.world.desk.hook.out:
            self.fail(f"{order.id} runs on {server.id}, which is still in service")
        if order.cost is Cost.HARMLESS:
            return
        if server.id in self.running:
            self.fail(f"{order.id} runs on {server.id} while {self.running[server.id]} does")
        self.running[server.id] = order.id

    def commanded(self, server: Server, epoch: int) -> None:
        """A decider of this epoch is obeyed there: none of an earlier one is from now on."""
        self.epochs[server.id] = max(epoch, self.epochs.get(server.id, 0))

    def finished(self, server: Server, order: Order) -> None:
        """The action's effect is over."""
        if self.running.get(server.id) == order.id:
            del self.running[server.id]

    def powered_off(self, server: Server) -> None:
        """Nothing runs on a machine that is off."""
        self.running.pop(server.id, None)

    def acknowledged(self, server: Server, records: list[Record]) -> None:
        """What an agent may forget is in the journal."""
        for record in records:
            kind = JOURNALLED.get(record.kind, "")
            if self.world.nature.late and self._is_past(record):
                continue
            if kind and (kind, record.order) not in self.books.spoken:
                self.fail(f"{server.id} may forget that {record.order} {record.kind}, and the journal does not hold it")

    def _is_past(self, record: Record) -> bool:
        """Nobody waits for a word of this order any more: the real gateway rejects it, and has it acknowledged."""
        order = self.books.issued.get(record.order)
        return order is not None and order.incident not in self.books.cases

    def _closed(self, event: Event, effect: Closed) -> None:
        text = self.storms.watch(event, effect)
        if text:
            self.fail(text)
        if effect.why in PROVED:
            self._healed(effect)

    # Proof.

    def _healed(self, effect: Closed) -> None:
        """The action is known to have run, and two OK samples came after it, the second at least the watch time after."""
        case = self.books.cases[effect.incident]
        alone = effect.why is Why.HEALED_ALONE
        orders = [order for order in self.books.of_case.get(effect.incident, []) if is_permit(order) is alone]
        last = self.books.issued.get(orders[-1]) if orders else None
        if last is not None and last.action in (REBOOT, POWER_CYCLE):
            text = lost.proved_by_another_boot(self.books, case, last)
            if text:
                self.fail(f"{effect.incident} {text}")
            # The other boot is its end: the word of the old one may never come.
            return
        end = self.books.words.get(orders[-1]) if orders else None
        if end is None or end.outcome != "done":
            self.fail(f"{effect.incident} is called healed, and the end of {orders[-1:]} is {end}")
            return
        boots = self.books.boots[case.subject.host]
        later = boots[boots.index(end.boot) :]
        clocks: dict[str, list[int]] = {}
        for boot, clock_ms in self.books.oks.get(effect.subject, []):
            if boot in later and (boot != end.boot or clock_ms > end.clock_ms):
                clocks.setdefault(boot, []).append(clock_ms)
        if all(max(each) - min(each) < self.world.stay_ok_ms for each in clocks.values()):
            self.fail(f"{effect.incident} is called healed without proof: action ended at {end}, ok at {clocks}")
        self._no_other_check_fails(case, end.boot, end.clock_ms)

    def _no_other_check_fails(self, case: Case, boot: str, clock_ms: int) -> None:
        """From one failure to another is no recovery."""
        if case.tried == case.subject:
            return
        for subject, result in self.books.results.items():
            same = subject.host == case.subject.host and subject.key == case.tried.key and subject != case.subject
            if same and result.status.value == "crit" and result.boot == boot and result.clock_ms > clock_ms:
                self.fail(f"{case.id} is called healed while {subject.check} of {subject.key} fails since the action")

    # Replay, and the end.

    def same_fleet(self, before: Fleet, after: Fleet) -> None:
        """The journal gives exactly the fleet that the process held."""
        parts = twin.differing(before, after)
        if parts:
            self.fail(f"replay differs from memory in {parts}")

    def at_rest(self) -> None:
        """After the calm: nothing is half done, what is sick is known, what is well is not called sick."""
        brain = self.world.brain
        self.sweep(brain.fleet)
        waiting = bound.waits_for(brain.fleet)
        if waiting:
            self.fail(f"{len(waiting)} incidents have not ended in all that calm:\n  " + "\n  ".join(waiting))
        for server in self.world.servers.values():
            for part in server.parts if server.up else ():
                self._known(server, part)
        self.hands.at_rest()
        # Of what a host did alone beside an order of ours nobody waits for the end.
        open_orders = [o for o in self.books.issued if o not in self.books.ends and not is_permit(o)]
        if open_orders:
            self.fail(f"{open_orders} have no end")
        doubled = [o for o, count in self.books.ends.items() if count > 1 or o not in self.books.issued]
        if doubled:
            self.fail(f"{doubled} ended twice, or were never given")

    def at_peace(self) -> None:
        """After people repaired everything: nothing is open any more, and the journal tells the same."""
        brain = self.world.brain
        left = [f"{i.id} ({i.subject.host} {i.subject.check} {i.subject.key})" for i in brain.fleet.incidents.values()]
        if left:
            self.fail(f"all is well, and {', '.join(left)} are open")
        self.lost.at_peace()
        self.sweep(brain.fleet)
        self.same_fleet(brain.fleet, brain.memory.replayed())
        if len(brain.memory.journal) <= REREAD_ROWS_MAX:
            self.same_fleet(brain.fleet, brain.memory.replayed_from_text())

    def expect(self, server: Server, part: Part) -> None:
        """A part just broke: if nothing comes between, the controller knows it within a bound."""
        brain, since_ms = self.world.brain, self.world.time.now_ms
        self.world.time.after(FOUND_MS, self._found, server, part, since_ms, (server.session, brain.life))

    def _found(self, server: Server, part: Part, since_ms: int, before: tuple[int, int]) -> None:
        brain = self.world.brain
        heard = server.linked and brain.up and before == (server.session, brain.life) and brain.troubled_ms < since_ms
        if heard and server.sick_since.get(part.name) == since_ms and not self._knows(server, part):
            self.fail(f"{part.name} on {server.id} is sick for {FOUND_MS} ms, and the controller takes it for well")

    def _knows(self, server: Server, part: Part) -> list[Subject]:
        fleet = self.world.brain.fleet
        subjects = (Subject(server.id, check, part.name) for check, _ in part.checks)
        return [s for s in subjects if s in fleet.by_subject or s in fleet.symptom_of]

    def _known(self, server: Server, part: Part) -> None:
        fleet, alert = self.world.brain.fleet, Subject(server.id, ALERT, part.name)
        known = self._knows(server, part)
        if server.is_sick(part.name) and not known:
            self.fail(f"{part.name} on {server.id} is sick and nobody knows")
        seen = not self.world.nature.late or self.world.time.now_ms - server.well_since.get(part.name, 0) > SEEN_MS
        known = known or alert in fleet.by_subject or alert in fleet.symptom_of
        if not server.is_sick(part.name) and known and seen:
            self.fail(f"{part.name} on {server.id} is well and still has an incident")
