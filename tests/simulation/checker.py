"""The watchers: what must never happen, and what must have happened at the end. Their books trust no index of the core."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleetmend_controller.core import invariants
from fleetmend_controller.core.effects import (
    PROVED,
    Acknowledged,
    ActionEnded,
    Closed,
    Grant,
    PermitSpent,
    SendOrder,
    SendPermits,
    Step,
    Why,
)
from fleetmend_controller.core.events import Acknowledge, Event, EvidenceConfirmed, Observed, OrderEnded, Woken
from fleetmend_controller.core.gates.fleet_budget import allowance
from fleetmend_controller.core.gates.paused import scopes
from fleetmend_controller.core.model import Cost, Fleet, Order, Phase, Status, Subject
from fleetmend_controller.core.permits import PERMITS_MAX
from fleetmend_controller.core.policy import Policy
from fleetmend_controller.store import codec

from .guard import Guard

if TYPE_CHECKING:
    from .server import Server
    from .world import World

STAY_OK_MS = 5_000


class Violation(AssertionError):
    """A promise was broken; the text names seed, time and promise."""


@dataclass(slots=True)
class Books:
    """What the checkers noted. Clocks of samples and ends are (boot, boot clock)."""

    issued: dict[str, Order] = field(default_factory=dict)
    effects: dict[str, int] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)
    evidence_ms: dict[Subject, int] = field(default_factory=dict)
    status: dict[Subject, Status] = field(default_factory=dict)
    ended_at: dict[str, tuple[str, int]] = field(default_factory=dict)
    oks: dict[Subject, list[tuple[str, int]]] = field(default_factory=dict)
    seq: dict[str, int] = field(default_factory=dict)
    of_host: dict[str, list[int]] = field(default_factory=dict)
    first_bad_ms: dict[Subject, int] = field(default_factory=dict)
    tries: dict[Subject, list[int]] = field(default_factory=dict)
    epoch_seen: dict[str, int] = field(default_factory=dict)
    running: dict[str, str] = field(default_factory=dict)
    permits: dict[str, tuple[str, str]] = field(default_factory=dict)
    alone: dict[str, tuple[str, str, str, int]] = field(default_factory=dict)
    spent: dict[str, int] = field(default_factory=dict)
    healed: int = 0
    healed_alone: int = 0
    events: int = 0


class Checker:
    """Asks every promise at every step."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.books = Books()
        self.guard = Guard(self)

    def fail(self, promise: str) -> None:
        """End the run with the seed that shows it."""
        raise Violation(f"seed {self.world.seed} at {self.world.time.now_ms} ms: {promise}")

    def before(self, fleet: Fleet, event: Event) -> None:
        """Note what the event brings, as the core will see it: history and doubles do not count as evidence."""
        self.books.events += 1
        self.guard.before(fleet, event)
        if isinstance(event, EvidenceConfirmed):
            self._saw_bad(Subject(event.host, event.check, event.key), event.at_ms - (event.clock_ms - event.sampled_clock_ms))
        elif isinstance(event, Observed):
            host = fleet.hosts.get(event.host)
            if host is not None and event.seq > self.books.seq.get(event.host, 0):
                self.books.seq[event.host] = event.seq
                if host.boot == event.boot:
                    self._observed(event)
        elif isinstance(event, OrderEnded):
            self.books.ended_at.setdefault(event.order, (event.boot, event.ended_clock_ms))

    def after(self, fleet: Fleet, policy: Policy, event: Event, step: Step) -> None:
        """Every invariant of the fleet, and every effect against the books. What led to nothing broke nothing."""
        if not step.effects and not step.reasons and isinstance(event, Observed | EvidenceConfirmed | Woken):
            return
        if isinstance(event, Acknowledge) and any(not isinstance(effect, Acknowledged) for effect in step.effects):
            self.fail(f"that {event.by} took {event.incident} led to {step.effects}")
        wrong = invariants.broken(fleet, policy)
        if wrong:
            self.fail(f"after {type(event).__name__}: {wrong[0]}")
        for effect in step.effects:
            if isinstance(effect, SendOrder) and effect.order.id not in self.books.issued:
                self._issued(fleet, policy, effect.order)
            elif isinstance(effect, SendPermits):
                self._given(fleet, effect)
            elif isinstance(effect, PermitSpent):
                self._spent(effect.order)
            elif isinstance(effect, Closed) and effect.why in PROVED:
                self.books.healed_alone += effect.why is Why.HEALED_ALONE
                self._healed(effect)
            elif isinstance(effect, ActionEnded):
                self.books.ends[effect.order] = self.books.ends.get(effect.order, 0) + 1
                if self.books.ends[effect.order] > 1:
                    self.fail(f"{effect.order} ended twice")
        self.guard.after(fleet, policy, step)

    def effect(self, server: Server, order: Order, epoch: int) -> None:
        """An action begins on a host: at most once, in time, on the right boot, from the newest decider, alone."""
        b = self.books
        b.effects[order.id] = b.effects.get(order.id, 0) + 1
        if b.effects[order.id] > 1:
            self.fail(f"{order.id} ran {b.effects[order.id]} times on {server.id}")
        if order.id not in b.issued:
            self.fail(f"{order.id} runs although it was never journalled")
        if order.boot != server.boot or server.clock_ms() > order.expires_clock_ms:
            self.fail(f"{order.id} runs after its expiry or on another boot")
        if epoch < b.epoch_seen.get(server.id, 0):
            self.fail(f"{order.id} of epoch {epoch} runs after epoch {b.epoch_seen[server.id]} commanded {server.id}")
        b.epoch_seen[server.id] = max(epoch, b.epoch_seen.get(server.id, 0))
        if order.cost is Cost.HARMLESS:
            return
        if server.id in b.running:
            self.fail(f"{order.id} runs on {server.id} while {b.running[server.id]} does")
        b.running[server.id] = order.id

    def alone(self, server: Server, permit: str, held: SendPermits, epoch: int, grant: Grant) -> None:
        """A host begins something without an order: by a permit, once, in time, within its budget, and nothing beside it."""
        b, now_ms = self.books, server.clock_ms()
        if permit in b.alone:
            self.fail(f"{permit} was used twice on {server.id}")
        if b.permits.get(permit) != (server.id, grant.playbook):
            self.fail(f"{permit} is used on {server.id} although it was never given")
        if held.boot != server.boot or now_ms >= held.expires_clock_ms:
            self.fail(f"{permit} is used after its expiry or on another boot")
        if epoch < b.epoch_seen.get(server.id, 0):
            self.fail(f"{permit} of epoch {epoch} is used after epoch {b.epoch_seen[server.id]} commanded {server.id}")
        if server.linked or self.world.time.now_ms - server.away_since_ms < 10_000:
            self.fail(f"{permit} is used although a controller could be asked")
        recent = [
            u for u in b.alone.values() if u[:3] == (server.id, grant.playbook, server.boot) and now_ms - u[3] < grant.window_ms
        ]
        if len(recent) >= PERMITS_MAX:
            self.fail(f"{permit} is one too many on {server.id}: {len(recent)} were used")
        if server.id in b.running:
            self.fail(f"{permit} is used on {server.id} while {b.running[server.id]} runs")
        b.epoch_seen[server.id] = max(epoch, b.epoch_seen.get(server.id, 0))
        b.alone[permit] = (server.id, grant.playbook, server.boot, now_ms)
        b.running[server.id] = permit

    def alone_finished(self, server: Server, permit: str) -> None:
        """What a host did without an order is over."""
        if self.books.running.get(server.id) == permit:
            del self.books.running[server.id]

    def finished(self, server: Server, order: Order) -> None:
        """The action's effect is over."""
        if self.books.running.get(server.id) == order.id:
            del self.books.running[server.id]

    def powered_off(self, server: Server) -> None:
        """Nothing runs on a machine that is off."""
        self.books.running.pop(server.id, None)

    def same_fleet(self, before: Fleet, after: Fleet) -> None:
        """The journal gives exactly the fleet that the process held."""
        held, replayed = codec.encode(before), codec.encode(after)
        if held != replayed:
            parts = [name for name in held if held[name] != replayed[name]]
            self.fail(f"replay differs from memory in {parts}")

    def liveness_ms(self) -> int:
        """Within this time of calm every incident must end: the longest back-off, proofs, order deadlines, rechecks."""
        return 4 * 3_600_000

    def at_rest(self) -> None:
        """After the calm: nothing is half done, what is sick is known, what is well is not called sick."""
        brain = self.world.brain
        for incident in brain.fleet.incidents.values():
            if incident.phase is not Phase.ESCALATED:
                self.fail(f"{incident.id} is {incident.phase.value}, waits for {incident.holds or incident.wake_ms}")
        for server in self.world.servers.values():
            for unit in server.units:
                subject = Subject(server.id, "unit_failed", unit)
                known = subject in brain.fleet.by_subject or subject in brain.fleet.symptom_of
                if unit in server.bad and not known:
                    self.fail(f"{unit} on {server.id} is sick and nobody knows")
                if unit not in server.bad and known and not self.world.swarm.unknown:
                    self.fail(f"{unit} on {server.id} is well and still has an incident")
                alert = Subject(server.id, "alert:UnitDown", unit)
                if unit not in server.bad and (alert in brain.fleet.by_subject or alert in brain.fleet.symptom_of):
                    self.fail(f"the alert about {unit} on {server.id} is over and still has an incident")
        for permit in self.books.alone:
            if self.books.spent.get(permit, 0) != 1:
                self.fail(f"{permit} was used and told of {self.books.spent.get(permit, 0)} times")
        self.same_fleet(brain.fleet, brain.replayed(whole=True))

    def _given(self, fleet: Fleet, given: SendPermits) -> None:
        host = fleet.hosts[given.host]
        for grant in given.grants:
            paused = [p for p in fleet.pauses.values() if p.scope in scopes(host, grant.playbook)]
            if any(p.until_ms is None or p.until_ms > fleet.now_ms for p in paused):
                self.fail(f"{given.host} gets permits although it is paused")
            for permit in grant.permits:
                self.books.permits[permit] = (given.host, grant.playbook)
                if permit in self.books.spent:
                    self.fail(f"{permit} is given again although it was used")

    def _spent(self, order: Order) -> None:
        b = self.books
        b.spent[order.id] = b.spent.get(order.id, 0) + 1
        if b.spent[order.id] > 1:
            self.fail(f"{order.id} counts {b.spent[order.id]} times")
        if order.id not in b.alone:
            self.fail(f"{order.id} counts although it was never used")
        b.issued[order.id] = order

    def _saw_bad(self, subject: Subject, sampled_ms: int) -> None:
        self.books.first_bad_ms.setdefault(subject, sampled_ms)
        self.books.evidence_ms[subject] = max(sampled_ms, self.books.evidence_ms.get(subject, 0))

    def _observed(self, event: Observed) -> None:
        subject = Subject(event.host, event.check, event.key)
        self.books.status[subject] = event.status
        if event.status is Status.CRIT:
            self._saw_bad(subject, event.at_ms - (event.clock_ms - event.sampled_clock_ms))
        elif event.status is Status.OK:
            self.books.first_bad_ms.pop(subject, None)
            self.books.oks.setdefault(subject, []).append((event.boot, event.sampled_clock_ms))

    def _issued(self, fleet: Fleet, policy: Policy, order: Order) -> None:
        b = self.books
        b.issued[order.id] = order
        incident = fleet.incidents.get(order.incident)
        host = fleet.hosts[order.host]
        if incident is None or incident.phase is not Phase.ORDERED:
            self.fail(f"{order.id} without an open incident")
            return
        scopes = {"global", f"host:{host.id}", f"playbook:{incident.playbook}"} | {
            f"group:{k}={v}" for k, v in host.labels.items()
        }
        for pause in fleet.pauses.values():
            if pause.scope in scopes and (pause.until_ms is None or pause.until_ms > fleet.now_ms):
                self.fail(f"{order.id} although {pause.scope} is paused")
        if host.lost_since_ms is not None:
            self.fail(f"{order.id} on a lost host")
        if incident.run is None:
            self._evidence(fleet, policy, order)
        if order.cost is not Cost.HARMLESS:
            self._budget(fleet, policy, order)
            self._tries(fleet, policy, order)

    def _evidence(self, fleet: Fleet, policy: Policy, order: Order) -> None:
        subject = Subject(order.host, order.check, order.key)
        age_ms = fleet.now_ms - self.books.evidence_ms.get(subject, 0)
        if age_ms > policy.evidence_max_age_ms:
            self.fail(f"{order.id} on evidence that is {age_ms} ms old")
        lasted_ms = fleet.now_ms - self.books.first_bad_ms.get(subject, fleet.now_ms)
        if lasted_ms < policy.playbooks[0].for_ms:
            self.fail(f"{order.id} after {lasted_ms} ms of fault, {policy.playbooks[0].for_ms} asked for")
        if self.books.status.get(subject) is not Status.CRIT:
            self.fail(f"{order.id} although the newest result is {self.books.status.get(subject)}")

    def _budget(self, fleet: Fleet, policy: Policy, order: Order) -> None:
        incident = fleet.incidents[order.incident]
        role = fleet.hosts[order.host].labels.get("role", "")
        busy = {
            i.subject.host
            for i in fleet.incidents.values()
            if i.id != order.incident
            and i.phase in (Phase.ORDERED, Phase.RUNNING, Phase.PROVING)
            and fleet.hosts[i.subject.host].labels.get("role", "") == role
            and (i.order is None or i.order.cost is not Cost.HARMLESS)
        }  # fmt: skip
        budget = incident.run.limits.fleet if incident.run else policy.playbooks[0].limits.fleet
        if order.host not in busy and len(busy) >= allowance(fleet, budget, role):
            self.fail(f"{order.id} is one too many: {sorted(busy)} of role {role} are in work")

    def _tries(self, fleet: Fleet, policy: Policy, order: Order) -> None:
        incident = fleet.incidents[order.incident]
        if incident.run is not None:
            return
        limit = policy.playbooks[0].limits.attempts
        times = self.books.tries.setdefault(incident.subject, [])
        recent = [t for t in times if t > fleet.now_ms - limit.window_ms]
        if len(recent) >= limit.max:
            self.fail(f"{order.id} is try {len(recent) + 1} within the window, limit {limit.max}")
        if recent and fleet.now_ms - recent[-1] < limit.backoff_ms * limit.factor ** (len(recent) - 1):
            self.fail(f"{order.id} comes {fleet.now_ms - recent[-1]} ms after try {len(recent)}")
        times.append(fleet.now_ms)
        rate = policy.playbooks[0].limits.per_host
        of_host = self.books.of_host.setdefault(order.host, [])
        of_host.append(fleet.now_ms)
        if sum(1 for t in of_host if t > fleet.now_ms - rate.window_ms) > rate.count:
            self.fail(f"{order.id} is one too many on {order.host}: {rate.count} within {rate.window_ms} ms")

    def _healed(self, effect: Closed) -> None:
        """Two OK samples after the action's end, the second at least the watch time after the first."""
        self.books.healed += 1
        ended = [
            self.books.ended_at[o]
            for o, order in self.books.issued.items()
            if order.incident == effect.incident and o in self.books.ended_at
        ]
        oks = self.books.oks.get(effect.subject, [])
        if not ended:
            # No word of the order ever came: its end is the deadline, which only the core knows.
            return
        boot, clock_ms = ended[-1]
        after = [sampled for of_boot, sampled in oks if of_boot == boot and sampled > clock_ms]
        later = [of_boot for of_boot, _ in oks if of_boot != boot]
        if not later and (not after or after[-1] - after[0] < STAY_OK_MS):
            self.fail(f"{effect.incident} is called healed without proof: action ended at {clock_ms}, ok at {after}")
