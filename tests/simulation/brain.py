"""The simulated controller: the production core and journal form, with a process around it that can die at every point."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from fleetmend_controller.core.alerts import ALERT_PREFIX
from fleetmend_controller.core.effects import AskWitness, RequestCheck, SendOrder, Step, WakeAt
from fleetmend_controller.core.events import (
    DeciderStarted,
    Event,
    EvidenceConfirmed,
    HostConnected,
    HostEnrolled,
    HostSilent,
    Observed,
    OrderEnded,
    OrderStarted,
    Paused,
    PolicyLoaded,
    Resumed,
    RunRequested,
    Woken,
)
from fleetmend_controller.core.flow import advance
from fleetmend_controller.core.model import Fleet, Phase, Status, Subject
from fleetmend_controller.core.policy import Policy
from fleetmend_controller.store import codec

from .policies import policies

if TYPE_CHECKING:
    from .server import Record, Server
    from .world import World


SNAPSHOT_ROWS = 300


class Brain:
    """Gateway and decider. `journal` is what survives a crash: the text of each event."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.policies: tuple[Policy, ...] = policies(world.flaw)
        self.policy = self.policies[0]
        self.fleet = Fleet()
        self.journal: list[str] = []
        self.snapshot: tuple[int, str, str] = (0, "", "")
        self.up = False
        self.epoch = 0
        self.life = 0
        self.silent: set[str] = set()
        self.heard_ms: dict[str, int] = {}
        self.skew_ms = 0
        self.runs = 0

    def now_ms(self) -> int:
        """The controller's clock: steps with the swarm's leave, but never back within one life."""
        return self.world.time.now_ms + self.skew_ms

    def start(self, first: bool = False) -> None:
        """Replay the journal, take the lease, begin."""
        self.life += 1
        self.up = True
        if self.world.swarm.clock_step and not first:
            self.skew_ms += self.world.rng.choice((0, 0, 5_000, 3_600_000))
        held, self.fleet = self.fleet, self.replayed()
        if not first:
            self.world.checker.same_fleet(held, self.fleet)
        self.epoch = self.fleet.epoch + 1
        self.heard_ms = {}
        self.silent = {h.id for h in self.fleet.hosts.values() if h.lost_since_ms is not None}
        self.take([DeciderStarted(self.now_ms(), self.epoch)])
        if first:
            self.take([PolicyLoaded(self.now_ms(), self.policy.digest, "seed")])
        self._reconcile()
        for incident in self.fleet.incidents.values():
            if incident.wake_ms is not None:
                self._wake_at(incident.id, incident.wake_ms)
        if self.up:
            self.world.neighbours.recover()

    def _reconcile(self) -> None:
        """What the host table has and the journal has not: a crash came between both."""
        racks = self.world.neighbours.labels
        labels = {h: {"role": "web" if n % 4 else "db", **racks(n)} for n, h in enumerate(self.world.servers)}
        missing = [h for h in labels if h not in self.fleet.hosts]
        if missing:
            self.take([HostEnrolled(self.now_ms(), h, h, labels[h]) for h in missing])

    def replayed(self, whole: bool = False) -> Fleet:
        """The fleet that the newest snapshot and the journal after it give; `whole`: from the first row."""
        row, digest, text = (0, "", "") if whole else self.snapshot
        fleet = codec.decode(Fleet, json.loads(text)) if text else Fleet()
        policy = next((p for p in self.policies if p.digest == digest), self.policies[0])
        for line in self.journal[row:]:
            event = codec.decode_event(json.loads(line))
            if isinstance(event, PolicyLoaded):
                policy = next(p for p in self.policies if p.digest == event.digest)
            advance(fleet, event, policy)
        return fleet

    def crash(self) -> None:
        """kill -9. The journal stays."""
        if not self.up:
            return
        self.up = False
        for server in self.world.servers.values():
            server.linked = False
        self.world.time.after(self.world.rng.randint(200, 20_000), self.start)

    def take(self, events: list[Event]) -> None:
        """Decide, journal, perform; a crash may come before the commit, after it, or between two effects."""
        if not self.up:
            return
        rng, swarm = self.world.rng, self.world.swarm
        deadly = swarm.controller_crash_every_ms and not self.world.calm and rng.random() < 0.01
        point = rng.choice(("before commit", "after commit", "between effects")) if deadly else ""
        if point == "before commit":
            if self.world.faulty("effect_before_commit"):
                self._leak(events)
            self.crash()
            return
        steps: list[Step] = []
        for event in events:
            if isinstance(event, PolicyLoaded):
                self.policy = next(p for p in self.policies if p.digest == event.digest)
            self.world.checker.before(self.fleet, event)
            step = advance(self.fleet, event, self.policy)
            if not (isinstance(event, Woken) and self.world.faulty("timers_not_journalled")):
                self.journal.append(codec.dumps(codec.encode_tagged(event)))
            self.world.checker.after(self.fleet, self.policy, event, step)
            steps.append(step)
        if len(self.journal) - self.snapshot[0] > SNAPSHOT_ROWS and not self.world.flaw:
            self.snapshot = (len(self.journal), self.policy.digest, codec.dumps(codec.encode(self.fleet)))
        if point == "after commit":
            self.crash()
            return
        effects = [effect for step in steps for effect in step.effects]
        if point == "between effects":
            effects = effects[: rng.randint(0, len(effects))]
        for effect in effects:
            self._perform(effect)
        if point == "between effects":
            self.crash()

    def _leak(self, events: list[Event]) -> None:
        """The flaw of a decider that sends first and writes later."""
        for event in events:
            for effect in advance(self.fleet, event, self.policy).effects:
                self._perform(effect)
        self.fleet = self.replayed()

    def _perform(self, effect: object) -> None:
        match effect:
            case SendOrder(order) if order.here:
                self.world.neighbours.act(replace(order))
            case AskWitness():
                self.world.neighbours.ask(effect)
            case SendOrder(order):
                server = self.world.servers[order.host]
                if server.linked:
                    self.world.network.order(server, replace(order), self.epoch)
            case RequestCheck(subject):
                server = self.world.servers[subject.host]
                if server.linked and not subject.check.startswith(ALERT_PREFIX):
                    self.world.network.check(server, subject.key)
            case WakeAt(incident, at_ms):
                self._wake_at(incident, at_ms)

    def _wake_at(self, incident: str, at_ms: int) -> None:
        life = self.life

        def wake() -> None:
            if life == self.life and self.up and incident in self.fleet.incidents:
                self.take([Woken(self.now_ms(), incident)])

        self.world.time.at(at_ms - self.skew_ms, wake)

    def connected(self, server: Server) -> None:
        """Hello."""
        self.silent.discard(server.id)
        self.heard_ms[server.id] = self.now_ms()
        self.take([HostConnected(self.now_ms(), server.id, server.boot, server.clock_ms())])
        if not self.up:
            return
        held = [
            i.subject for i in self.fleet.incidents.values() if i.subject.host == server.id and i.check_type == "unit_failed"
        ]
        for subject in held:
            # The agent's snapshot after Welcome: a record like any other, kept until it is acknowledged.
            server.look(subject.key, requested=True)
        if not self.world.faulty("not_resent"):
            server.send()

    def heartbeat(self, server: Server) -> None:
        """A heartbeat; who was not heard for long is silent."""
        self.heard_ms[server.id] = self.now_ms()
        for unit, status in list(server.told.items()):
            if status == "crit" and self._wants(Subject(server.id, "unit_failed", unit)):
                self.take(
                    [
                        EvidenceConfirmed(
                            self.now_ms(), server.id, "unit_failed", unit, server.boot, server.clock_ms(), server.clock_ms()
                        )
                    ]
                )
        for host, heard in list(self.heard_ms.items()):
            if self.up and self.now_ms() - heard > 30_000 and host not in self.silent:
                self.silent.add(host)
                self.world.servers[host].linked = False
                self.take([HostSilent(self.now_ms(), host, self.now_ms() - heard)])

    def _wants(self, subject: Subject) -> bool:
        incident = self.fleet.incidents.get(self.fleet.by_subject.get(subject, ""))
        return (
            incident is not None
            and incident.phase in (Phase.OPEN, Phase.HELD)
            and self.now_ms() - incident.evidence_ms > 10_000
        )

    def report(self, server: Server, records: list[Record], sent_clock: int, boot: str) -> None:
        """A report arrives, perhaps late or twice."""
        if not self.up or not server.linked:
            return
        at_ms = self.now_ms()
        events: list[Event] = []
        for r in records:
            box = f"box-{server.id}"
            clock = sent_clock if r.boot == boot else r.clock_ms
            if r.kind == "observation":
                finding = {"unit": r.unit}
                events.append(
                    Observed(
                        at_ms,
                        server.id,
                        "unit_failed",
                        "unit_failed",
                        r.unit,
                        Status(r.status),
                        finding,
                        r.status,
                        r.boot,
                        r.clock_ms,
                        clock,
                        box,
                        r.seq,
                    )
                )
            elif r.kind == "started":
                events.append(OrderStarted(at_ms, server.id, r.order, box, r.seq))
            else:
                events.append(
                    OrderEnded(at_ms, server.id, r.order, r.outcome, r.refusal, "", r.boot, r.clock_ms, clock, "", box, r.seq)
                )
        if self.world.faulty("early_ack"):
            server.acked(records[-1].seq)
        self.take(events)
        if self.up:
            self.world.network.ack(server, records[-1].seq)

    def pause_something(self) -> None:
        """An operator pauses for a while, or resumes."""
        rng = self.world.rng
        scope = rng.choice(("global", f"host:{rng.choice(list(self.world.servers))}", "group:role=web", "playbook:restart"))
        if scope in self.fleet.pauses:
            self.take([Resumed(self.now_ms(), scope, "ann")])
            return
        until = rng.choice((None, self.now_ms() + rng.randint(1_000, 300_000)))
        self.take([Paused(self.now_ms(), scope, "ann", "because", until)])

    def reload(self) -> None:
        """Another version of the playbooks."""
        self.take([PolicyLoaded(self.now_ms(), self.world.rng.choice(self.policies).digest, "ann")])

    def run_something(self) -> None:
        """An operator orders a restart by hand."""
        self.runs += 1
        host = self.world.rng.choice(list(self.world.servers))
        unit = self.world.rng.choice(self.world.servers[host].units)
        self.take(
            [
                RunRequested(
                    self.now_ms(), host, "restart_unit", (("unit", unit),), "disruptive", 30_000, "ann", f"run-{self.runs}"
                )
            ]
        )

    def calm(self) -> None:
        """Operators resume everything."""
        if not self.up:
            self.start()
        for scope in list(self.fleet.pauses):
            self.take([Resumed(self.now_ms(), scope, "ann")])
