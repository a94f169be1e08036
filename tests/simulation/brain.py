"""The simulated controller: the production core with a process around it that can die at every point."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fleetmend_controller.core.effects import (
    ApprovalWanted,
    CompareHosts,
    Escalated,
    RequestCheck,
    SendOrder,
    Step,
    WakeAt,
)
from fleetmend_controller.core.events import (
    DeciderStarted,
    Event,
    EvidenceConfirmed,
    HostConnected,
    HostEnrolled,
    HostSilent,
    PolicyLoaded,
    Woken,
)
from fleetmend_controller.core.flow import advance
from fleetmend_controller.core.model import Fleet, Phase, Status, Subject
from fleetmend_controller.core.policy import Policy

from .intake import Seen, Sent, translate
from .memory import Memory
from .policies import policies

if TYPE_CHECKING:
    from .host import Record, Server
    from .world import World

SILENT_MS = 30_000
EVIDENCE_OLD_MS = 10_000
STALL_MS_MAX = 25_000


class Brain:
    """Gateway and decider. What survives a crash is its memory: the journal."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.policies: tuple[Policy, ...] = policies(world.flaw, world.swarm.storms)
        self.policy = self.policies[0]
        self.fleet = Fleet()
        self.memory = Memory(self.policies, snapshot_rows=max(300, 2 * world.swarm.hosts))
        self.up = False
        self.epoch = 0
        self.life = 0
        self.silent: dict[str, None] = {}
        self.seen: dict[str, Seen] = {}
        self.skew_ms = 0

    def now_ms(self) -> int:
        """The controller's clock: steps with the swarm's leave, but never back within one life."""
        return self.world.time.now_ms + self.skew_ms

    def start(self, first: bool = False) -> None:
        """Replay the journal, take the lease, begin."""
        if self.up:
            return
        self.life += 1
        self.up = True
        if self.world.swarm.clock_step and not first:
            self.skew_ms += self.world.rng.choice((0, 0, 5_000, 3_600_000))
        held, self.fleet = self.fleet, self.memory.replayed()
        if not first:
            self.world.checker.same_fleet(held, self.fleet)
        self.epoch = self.fleet.epoch + 1
        self.world.say(f"controller starts with epoch {self.epoch}")
        self.seen = {}
        for server in self.world.servers.values():
            server.heard_ms = self.world.time.now_ms
        self.silent = {h.id: None for h in self.fleet.hosts.values() if h.lost_since_ms is not None}
        self.take([DeciderStarted(self.now_ms(), self.epoch)])
        if first:
            self.take([PolicyLoaded(self.now_ms(), self.policy.digest, "seed")])
        self._reconcile()
        for incident in self.fleet.incidents.values():
            if incident.wake_ms is not None:
                self._wake_at(incident.id, incident.wake_ms)
        if self.up:
            self.world.relink()
            self.world.time.after(SILENT_MS, self._expected, self.life)

    def _reconcile(self) -> None:
        """What the host table has and the journal has not: a crash came between both."""
        missing = [s for s in self.world.servers.values() if s.id not in self.fleet.hosts]
        if missing:
            self.take([HostEnrolled(self.now_ms(), s.id, s.id, dict(s.labels)) for s in missing])

    def crash(self, why: str = "") -> None:
        """kill -9. The journal stays."""
        if not self.up:
            return
        self.up = False
        self.world.say(f"controller dies {why}".rstrip())
        for server in self.world.servers.values():
            server.linked = False
        self.world.time.after(self.world.rng.randint(200, 20_000), self.start)

    def take(self, events: list[Event]) -> None:
        """Decide, journal, perform; a crash may come before the commit, after it, or between two effects."""
        if not self.up or not events:
            return
        rng, world = self.world.rng, self.world
        deadly = world.swarm.controller_crash_every_ms and not world.calm and rng.random() < world.crash_chance
        point = rng.choice(("before commit", "after commit", "between effects")) if deadly else ""
        if point == "before commit":
            if world.faulty("effect_before_commit"):
                self._leak(events)
            self.crash(point)
            return
        steps = [self._decide(event) for event in events]
        self.memory.keep(self.fleet, self.policy)
        if point == "after commit":
            self.crash(point)
            return
        effects = [effect for step in steps for effect in step.effects]
        done = rng.randint(0, len(effects)) if point == "between effects" else len(effects)
        for effect in effects[:done]:
            self._perform(effect)
        if point == "between effects":
            self.crash(point)
            world.time.after(rng.randint(1_000, STALL_MS_MAX), self._awake, effects[done:], self.epoch)

    def _awake(self, effects: list[Any], epoch: int) -> None:
        """It was not dead but stood still: it goes on where it was, and another is in charge by now."""
        for effect in effects:
            if isinstance(effect, SendOrder):
                self.world.say(f"a decider that stood still sends {effect.order.id} under epoch {epoch}")
                self.world.nature.sent(effect.order)
                self.world.network.order(self.world.servers[effect.order.host], replace(effect.order), epoch)

    def _decide(self, event: Event) -> Step:
        self.world.nature.possible(event)
        if isinstance(event, PolicyLoaded):
            self.policy = next(p for p in self.policies if p.digest == event.digest)
        self.world.checker.before(event)
        step = advance(self.fleet, event, self.policy)
        if not (isinstance(event, Woken) and self.world.faulty("timers_not_journalled")):
            self.memory.journal.append(event)
        if self.world.timeline is not None:
            self.world.timeline.event(self.world.time.now_ms, event, step)
        self.world.checker.after(self.fleet, self.policy, event, step)
        return step

    def _leak(self, events: list[Event]) -> None:
        """The flaw of a decider that sends first and writes later."""
        for event in events:
            for effect in advance(self.fleet, event, self.policy).effects:
                self._perform(effect)
        self.fleet = self.memory.replayed()

    def _perform(self, effect: Any) -> None:
        match effect:
            case SendOrder(order):
                server = self.world.servers[order.host]
                self.world.nature.sent(order)
                if server.linked:
                    self.world.network.order(server, replace(order), self.epoch)
            case RequestCheck(subject):
                server = self.world.servers.get(subject.host)
                if server is not None and server.linked:
                    self.world.network.check(server, subject.check, subject.key)
            case WakeAt(incident, at_ms):
                self._wake_at(incident, at_ms)
            case Escalated():
                self.world.people.told(effect)
            case ApprovalWanted():
                self.world.people.asked(effect)
            case CompareHosts(_, check_type):
                self.world.people.compare(check_type, self.life)

    def _wake_at(self, incident: str, at_ms: int) -> None:
        if not self.world.faulty("timers_lost"):
            self.world.time.at(at_ms - self.skew_ms, self._wake, incident, self.life)

    def _wake(self, incident: str, life: int) -> None:
        found = self.fleet.incidents.get(incident)
        if life != self.life or not self.up or found is None:
            return
        # Of several wishes only the newest counts; an earlier one that passed is none.
        if found.wake_ms is not None and found.wake_ms <= self.now_ms():
            self.take([Woken(self.now_ms(), incident)])

    def connected(self, server: Server) -> None:
        """Hello."""
        self.seen[server.id] = Seen(self._sick_of(server))
        self.silent.pop(server.id, None)
        self.take([HostConnected(self.now_ms(), server.id, server.boot, server.clock_ms())])
        if self.up and not self.world.faulty("not_resent"):
            server.send()

    def heartbeat(self, server: Server) -> None:
        """A heartbeat names what is not OK, with its newest sample."""
        for (check, key), status in list(server.told.items()):
            known = self.seen[server.id].statuses.get((check, key)) if self.up and server.id in self.seen else None
            if status == known == "crit" and self._wants(Subject(server.id, check, key)):
                sampled, clock = server.sampled[check, key], server.clock_ms()
                self.take([EvidenceConfirmed(self.now_ms(), server.id, check, key, server.boot, sampled, clock)])

    def _wants(self, subject: Subject) -> bool:
        incident = self.fleet.incidents.get(self.fleet.by_subject.get(subject, ""))
        waits = incident is not None and incident.phase in (Phase.OPEN, Phase.HELD)
        return waits and self.now_ms() - incident.evidence_ms > EVIDENCE_OLD_MS

    def unheard(self, server: Server) -> None:
        """Perhaps the heartbeats of a host stopped so long ago that it is lost."""
        silent_ms = self.world.time.now_ms - server.heard_ms
        gone = self.up and not server.linked and silent_ms >= SILENT_MS and server.id not in self.silent
        if gone and server.id in self.fleet.hosts:
            self.silent[server.id] = None
            self.take([HostSilent(self.now_ms(), server.id, silent_ms)])

    def _expected(self, life: int) -> None:
        """Hosts that were seen in an earlier life and do not come back in time."""
        for server in self.world.servers.values() if life == self.life else ():
            self.unheard(server)

    def report(self, server: Server, records: list[Record], sent_clock: int, boot: str) -> None:
        """A report arrives, perhaps late or twice."""
        if not self.up or not server.linked:
            return
        seen = self.seen[server.id]
        if self.world.faulty("early_ack"):
            server.acked(records[-1].seq)
        fresh = [record for record in records if record.seq > seen.taken]
        done = translate(server, fresh, Sent(self.now_ms(), sent_clock, boot), seen, list(self._sick_of(server)))
        life = self.life
        self.take(done.events)
        if self.up and life == self.life:
            seen.statuses.update(done.statuses)
            seen.taken = max(seen.taken, records[-1].seq)
            self.world.network.ack(server, records[-1].seq)

    def _sick_of(self, server: Server) -> dict[tuple[str, str], str]:
        """The subjects that the decider holds for sick, with what their checks last said."""
        found: dict[tuple[str, str], str] = {}
        for incident_id in self.fleet.by_host.get(server.id, {}):
            incident = self.fleet.incidents[incident_id]
            if incident.status is not Status.OK:
                found[incident.subject.check, incident.subject.key] = incident.status.value
            found.update(dict.fromkeys(((s.check, s.key) for s in incident.symptoms), Status.CRIT.value))
        return found
