"""The watchers: what must never happen, and what must have happened at the end. Their books trust no index of the core."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleetmend_controller.core import invariants
from fleetmend_controller.core.effects import Acknowledged, ActionEnded, Closed, SendOrder, Step, Why
from fleetmend_controller.core.events import Acknowledge, Event, EvidenceConfirmed, Observed, OrderEnded, WitnessSaid, Woken
from fleetmend_controller.core.gates.fleet_budget import allowance
from fleetmend_controller.core.inquiry import Reach
from fleetmend_controller.core.model import Cost, Fleet, Order, Phase, Status, Subject
from fleetmend_controller.core.orders import POWER_CYCLE, REBOOT
from fleetmend_controller.core.policy import Policy
from fleetmend_controller.store import codec

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
    words: dict[str, list[tuple[int, str, Reach]]] = field(default_factory=dict)
    cycles: int = 0
    healed: int = 0
    events: int = 0


class Checker:
    """Asks every promise at every step."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.books = Books()

    def fail(self, promise: str) -> None:
        """End the run with the seed that shows it."""
        raise Violation(f"seed {self.world.seed} at {self.world.time.now_ms} ms: {promise}")

    def before(self, fleet: Fleet, event: Event) -> None:
        """Note what the event brings, as the core will see it: history and doubles do not count as evidence."""
        self.books.events += 1
        if isinstance(event, EvidenceConfirmed):
            self._saw_bad(Subject(event.host, event.check, event.key), event.at_ms - (event.clock_ms - event.sampled_clock_ms))
        elif isinstance(event, Observed):
            host = fleet.hosts.get(event.host)
            if host is not None and event.seq > self.books.seq.get(event.host, 0):
                self.books.seq[event.host] = event.seq
                if host.boot == event.boot:
                    self._observed(event)
        elif isinstance(event, WitnessSaid):
            self.books.words.setdefault(event.host, []).append((event.at_ms, event.witness, event.reach))
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
            elif isinstance(effect, Closed) and effect.why is Why.HEALED:
                self._healed(effect)
            elif isinstance(effect, ActionEnded):
                self.books.ends[effect.order] = self.books.ends.get(effect.order, 0) + 1
                if self.books.ends[effect.order] > 1:
                    self.fail(f"{effect.order} ended twice")

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

    def deed(self, server: Server, order: Order) -> None:
        """The controller itself begins to act: once for an order, and on one server at a time."""
        b = self.books
        b.effects[order.id] = b.effects.get(order.id, 0) + 1
        b.cycles += 1
        if b.effects[order.id] > 1 or order.id not in b.issued:
            self.fail(f"{order.id} was done {b.effects[order.id]} times to {server.id}")

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
        self.same_fleet(brain.fleet, brain.replayed(whole=True))

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
        if order.action == POWER_CYCLE:
            self._surely_dead(fleet, policy, order)
            return
        if host.lost_since_ms is not None:
            self.fail(f"{order.id} on a lost host")
        if incident.run is None:
            self._evidence(fleet, policy, order)
        if order.cost is not Cost.HARMLESS:
            self._budget(fleet, policy, order)
            self._tries(fleet, policy, order)

    def _surely_dead(self, fleet: Fleet, policy: Policy, order: Order) -> None:
        """Two witnesses who do not share a rack missed it a moment ago, and none has reached it since."""
        racks = {host.labels.get("rack", "") for host in fleet.hosts.values()}
        fresh = [(w, r) for at, w, r in self.books.words.get(order.host, []) if fleet.now_ms - at <= policy.evidence_max_age_ms]
        last = dict(fresh)
        missed = [w for w, reach in last.items() if w and reach is Reach.NOT_REACHED]
        distinct = {fleet.hosts[w].labels.get("rack", "") for w in missed} if len(racks) > 1 else set(missed)
        if len(distinct) < 2:
            self.fail(f"{order.id} although only {missed} missed {order.host} lately")
        busy = [i.id for i in fleet.incidents.values() if i.order and i.order.action == POWER_CYCLE and i.id != order.incident]
        if busy:
            self.fail(f"{order.id} while {busy} are not over")
        if len(fleet.lost) >= max(3, len(fleet.hosts) * policy.lost_share_percent // 100):
            self.fail(f"{order.id} although {len(fleet.lost)} of {len(fleet.hosts)} hosts are lost")

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
        if effect.subject.check == "host_lost":
            return
        last = [order for order in self.books.issued.values() if order.incident == effect.incident][-1]
        if last.action == REBOOT and not any(boot != last.boot for boot, _ in oks):
            self.fail(f"{effect.incident} is called healed by a reboot that nobody saw the end of")
        if not ended:
            # No word of the order ever came: its end is the deadline, which only the core knows.
            return
        boot, clock_ms = ended[-1]
        after = [sampled for of_boot, sampled in oks if of_boot == boot and sampled > clock_ms]
        later = [of_boot for of_boot, _ in oks if of_boot != boot]
        if not later and (not after or after[-1] - after[0] < STAY_OK_MS):
            self.fail(f"{effect.incident} is called healed without proof: action ended at {clock_ms}, ok at {after}")
