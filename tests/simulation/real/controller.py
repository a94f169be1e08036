"""The product's controller under virtual time: decider, journal, timers, self-watch, silence, link service, intake, sealer.

Left out are gRPC itself, enrolment, certificates, gauges, and the admin service: people's acts are handed to the decider.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import Connection

from fleetmend.v1 import link_pb2
from fleetmend_controller.clock import Clock
from fleetmend_controller.core.effects import ApprovalWanted, AskWitness, Effect, Escalated, SendPermits, Step
from fleetmend_controller.core.events import Event, HostEnrolled, PolicyLoaded
from fleetmend_controller.core.model import Fleet, Order, Subject
from fleetmend_controller.core.policy import Policy
from fleetmend_controller.decider import ledger
from fleetmend_controller.decider.loop import Decider
from fleetmend_controller.decider.perform import Performer
from fleetmend_controller.decider.ports import JournalUnavailable
from fleetmend_controller.gateway import authz
from fleetmend_controller.gateway.hostconfig import HostConfigs
from fleetmend_controller.gateway.intake import PRESENCE_EVERY_MS
from fleetmend_controller.gateway.limiter import Limiter
from fleetmend_controller.gateway.link_service import LinkParts, LinkService
from fleetmend_controller.gateway.orders import Sealer
from fleetmend_controller.gateway.sessions import Sessions
from fleetmend_controller.gateway.silence import Silence
from fleetmend_controller.pki.names import Caller, Kind
from fleetmend_controller.pki.registry import HostRecord
from fleetmend_controller.rules import RuleSet
from fleetmend_controller.store.engine import StoreUnavailable

from .executor import MASTER
from .store import LifeStore
from .strand import Killed
from .wire import Aborted, Context, Wire

if TYPE_CHECKING:
    from .world import RealWorld

HEARTBEAT_MS = 10_000
SILENT_AFTER_MS = 30_000
START_GRACE_MS = 30_000
TICK_S = 1.0
STALL_MS_MAX = 10_000
TRY_MS, TRIES = 50, 400


class WatchedPerformer(Performer):
    """Performs; people hear of what they are told, and the process may die between two effects."""

    world: RealWorld

    def perform(self, step: Step) -> None:
        """As the real one."""
        for effect in step.effects:
            if self.world.brain.dies_between():
                raise Killed
            self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        super()._perform(effect)
        if isinstance(effect, Escalated):
            self.world.people.told(effect)
        elif isinstance(effect, ApprovalWanted):
            self.world.people.asked(effect)


class Life:
    """One life of the controller's process: all that a death takes with it. It is the decider's gateway, too."""

    def __init__(self, world: RealWorld) -> None:
        self.world = world
        self.tasks: dict[asyncio.Task[None], None] = {}
        self.wires: dict[Wire, None] = {}
        self.serving = False
        self.clock = Clock(world.brain.wall_ns, lambda: world.time.now_ms * 1_000_000)
        self.store = LifeStore(world.disk)
        metrics: Any = world.metrics
        self.decider = Decider(self.store, MASTER, world.compile, metrics, self.clock.now_ms, self.clock)
        performer = WatchedPerformer(metrics, self.decider._timers)
        performer.world = world
        performer.on_compare = self.decider._cohorts.compare
        self.decider._performer = performer
        self.sessions = Sessions(metrics, self.clock.now_ms)
        self.silence = Silence(SILENT_AFTER_MS)
        self.sealer = Sealer(MASTER)
        self.service = LinkService(self._parts(metrics))

    def _parts(self, metrics: Any) -> LinkParts:
        async def announce(_host: str = "") -> None:
            """Every host is known from the beginning."""

        def nothing(*_: object, **__: object) -> None:
            """Gauges, facts and touches are not looked at here."""

        clock = self.clock
        registry: Any = SimpleNamespace(announce=announce, get=self.world.records.get, touch=nothing)
        gauges: Any = SimpleNamespace(begin=nothing, statuses=nothing, heartbeat=nothing, hide=nothing, show=nothing)
        inventory: Any = SimpleNamespace(offer=lambda *_: ())
        witnesses: Any = SimpleNamespace(answered=lambda *_: "")
        configs = HostConfigs(lambda: self.decider.rules, lambda: self.decider.epoch, self.sealer, clock.wall_ms)
        return LinkParts(
            registry, self.sessions, self.silence, self.decider, gauges, inventory, configs, self.sealer,
            metrics, Limiter(5, 60_000), Limiter(1, PRESENCE_EVERY_MS), witnesses, HEARTBEAT_MS, clock.now_ms, clock.wall_ms,
        )  # fmt: skip

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """A task of this process."""
        task = self.world.time.spawn(work)
        self.tasks[task] = None
        task.add_done_callback(lambda done: self.tasks.pop(done, None))

    async def start(self, seen: list[str]) -> None:
        """A process that cannot start ends, and is started again."""
        try:
            await self._start(seen)
        except (StoreUnavailable, JournalUnavailable):
            self.world.brain.crash("at its start: the journal takes no rows")

    async def _start(self, seen: list[str]) -> None:
        """Recover, bring table and fleet together, serve."""
        # Before anything new is decided: the journal gives what the checkers saw being committed.
        self.world.checker.same_fleet(self.world.disk.replica, self.world.memory.replayed())
        recovered = await self.decider.start("controller", self)
        if not recovered.policy:
            await self.decider.load_rules(self.world.rules[self.world.brain.policies[0].digest], "seed")
        missing = [r for r in self.world.records.values() if r.id not in self.decider.fleet.hosts]
        if missing:
            await self.decider.submit([HostEnrolled(self.clock.now_ms(), r.id, r.name, dict(r.labels)) for r in missing])
        self.silence.expect(seen, self.clock.now_ms(), START_GRACE_MS)
        self.silence.known_silent(h.id for h in self.decider.fleet.hosts.values() if h.lost_since_ms is not None)
        self.serving = True
        self.spawn(self._tick())
        self.spawn(self._watch())

    async def submit(self, event: Event) -> None:
        """What a person does; it is refused while the journal takes nothing."""
        with contextlib.suppress(JournalUnavailable):
            if isinstance(event, PolicyLoaded):
                await self.decider.load_rules(self.world.rules[event.digest], event.by)
            else:
                await self.decider.submit([event])

    async def _watch(self) -> None:
        """A decider that ends by itself has a defect: nobody else is in charge here."""
        await self.decider.died.wait()
        self.world.time.fail(RuntimeError(self.decider.failure))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            silent = self.silence.look(self.clock.now_ms())
            if not silent:
                continue
            try:
                await self.decider.submit(silent)
            except JournalUnavailable:
                self.silence.untold(silent)

    def serve(self, wire: Wire) -> None:
        """An agent dialled."""
        self.wires[wire] = None
        self.spawn(self._serve(wire))

    async def _serve(self, wire: Wire) -> None:
        authz._caller.set(Caller(Kind.AGENT, wire.machine.id))
        machine = wire.machine
        machine.session += 1
        machine.linked, machine.wire = True, wire
        with contextlib.suppress(Aborted, JournalUnavailable):
            await self.service.Link(wire.requests(), Context(wire))
        wire.down.end()
        self.wires.pop(wire, None)
        if machine.wire is wire:
            machine.linked = False

    def die(self) -> None:
        """kill -9."""
        self.serving = self.store.alive = False
        for wire in self.wires:
            wire.down.end()
            wire.machine.linked = False
        for task in (*self.tasks, *self.decider._tasks, *self.decider._cohorts._tasks):
            task.cancel()

    # What the decider asks of a gateway.

    def send_order(self, order: Order, epoch: int) -> None:
        """Seal and send."""
        self.world.nature.sent(order)
        session = self.sessions.get(order.host)
        if session is not None:
            session.send(link_pb2.LinkResponse(order=self.sealer.order(order, epoch)))

    def send_permits(self, permits: SendPermits, epoch: int) -> None:
        """Seal and send."""
        session = self.sessions.get(permits.host)
        if session is not None and session.boot == permits.boot:
            session.send(link_pb2.LinkResponse(permits=self.sealer.permits(permits, epoch)))

    def request_check(self, subject: Subject) -> None:
        """Ask for a fresh result."""
        session = self.sessions.get(subject.host)
        if session is not None:
            session.send(link_pb2.LinkResponse(check_now=link_pb2.CheckNow(check=subject.check, key=subject.key)))

    def ask_witness(self, wish: AskWitness) -> None:
        """Nobody looks at others here: what becomes of that is in the other worlds."""

    def close_host(self, host: str, reason: str) -> None:
        """No host is removed here."""

    def rules_changed(self) -> None:
        """All versions of the rules have the same checks and declarations."""


class RealBrain:
    """What the rest of the simulation takes for the controller: it lives, dies and comes back."""

    def __init__(self, world: RealWorld) -> None:
        self.world = world
        self.policies: tuple[Policy, ...] = world.policies
        self.up = False
        self.life = 0
        self.wall_skew_ms = 0
        self.troubled_ms = 0
        self.current: Life | None = None
        self.memory = world.memory
        self.doom = ""

    @property
    def fleet(self) -> Fleet:
        """As the living one has it, or as the journal has it."""
        return self.current.decider.fleet if self.current is not None and self.current.serving else self.world.disk.replica

    def wall_ns(self) -> int:
        """The wall clock of the controller's machine."""
        return (self.world.time.now_ms + self.wall_skew_ms) * 1_000_000

    def now_ms(self) -> int:
        """The controller's clock."""
        return self.current.clock.now_ms() if self.current is not None else self.world.disk.replica.now_ms

    def later(self, *_: object) -> bool:
        """It never stands still here; see the other worlds."""
        return False

    def start(self, first: bool = False) -> None:
        """A new process."""
        if self.up:
            return
        self.life += 1
        self.up = True
        if self.world.swarm.clock_step and not first:
            self.wall_skew_ms += self.world.rng.choice((0, 0, 5_000, 3_600_000, -600_000))
        self.doom = ""
        self.current = Life(self.world)
        self.world.say(f"controller starts, life {self.life}")
        self.current.spawn(self.current.start([] if first else list(self.world.records)))

    def crash(self, why: str = "") -> None:
        """kill -9. The journal stays."""
        if not self.up or self.current is None:
            return
        self.up = False
        self.world.say(f"controller dies {why}".rstrip())
        self.current.die()
        self.world.time.after(self.world.rng.randint(200, 20_000), self.start)

    def draw_doom(self, points: tuple[str, ...]) -> str:
        """Where, around this commit, the process dies."""
        swarm, rng = self.world.swarm, self.world.rng
        deadly = swarm.controller_crash_every_ms and not self.world.calm and rng.random() < swarm.dies
        self.doom = rng.choice(points) if deadly else ""
        return self.doom

    def may_stand_still(self, orders: list[Order]) -> None:
        """It only seems to die: what it ordered comes later, under its epoch, when another one is in charge."""
        world = self.world
        deadly = world.swarm.controller_crash_every_ms and not world.calm and orders and self.current is not None
        if not deadly or world.rng.random() >= world.swarm.stands_still:
            return
        life = self.current
        self.crash("or stands still")
        for order in orders:
            world.time.after(world.rng.randint(1_000, STALL_MS_MAX), self._awake, life, replace(order), TRIES)

    def _awake(self, life: Life, order: Order, tries: int) -> None:
        """Over the stream that it still holds, once another decider is heard over a newer one."""
        machine, world = self.world.servers[order.host], self.world
        if not machine.linked:
            if tries:
                world.time.after(TRY_MS, self._awake, life, order, tries - 1)
            return
        world.time.after(world.rng.randint(1, world.swarm.delay_ms), self._arrive, life, order)

    def _arrive(self, life: Life, order: Order) -> None:
        machine, epoch = self.world.servers[order.host], life.decider.epoch
        if machine.agent is not None and machine.reachable:
            self.world.say(f"a decider that stood still sends {order.id} under epoch {epoch}")
            self.world.nature.sent(order)
            machine.agent.take(life.sealer.order(order, epoch))

    def dies_between(self) -> bool:
        """Whether this is the effect before which it dies."""
        if self.doom != "between effects" or self.world.rng.random() < 0.5:
            return False
        self.crash(self.doom)
        return True

    def take(self, events: list[Event]) -> bool:
        """People's acts."""
        life = self.current
        for event in events if self.up and life is not None and life.serving else ():
            life.spawn(life.submit(event))
        return self.up

    def recovered(self, connection: Connection) -> Fleet:
        """By the product's own recovery."""
        return ledger.recover(connection, MASTER, lambda documents: self.world.compile(documents).policy).fleet

    def step_wall(self, by_ms: int) -> None:
        """The controller notices by itself."""
        self.wall_skew_ms += by_ms
        self.world.say(f"the controller's wall clock steps by {by_ms} ms")

    def stall(self, ms: int) -> None:
        """See `later`."""

    def fill_disk(self, ms: int) -> None:
        """The journal takes no rows for a while."""
        if not self.world.disk.full:
            self.world.disk.full = True
            self.troubled_ms = self.world.time.now_ms + ms
            self.world.say(f"the controller's disk is full for {ms} ms")
            self.world.time.after(ms, self.free_disk)

    def free_disk(self) -> None:
        """The controller notices by itself."""
        self.world.disk.full = False


def rules_of(policy: Policy, base: RuleSet) -> RuleSet:
    """A version of the rules as the decider holds it; its only document names it."""
    return RuleSet(
        policy.digest, {"rules": policy.digest}, policy, base.checks, base.declarations, base.check_types
    )  # fmt: skip


def record_of(host: str, labels: Mapping[str, str]) -> HostRecord:
    """A host as the registry holds it."""
    return HostRecord(host, host, dict(labels), host, 0, "", 0)
