"""The simulated decider: the production core with a process around it that can die at every point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fleetmend_controller.clock import Clock
from fleetmend_controller.core.effects import (
    ApprovalWanted,
    AskWitness,
    CompareHosts,
    DrainHost,
    Escalated,
    RequestCheck,
    SendOrder,
    SendPermits,
    Step,
    UndrainHost,
    WakeAt,
    WakeHostAt,
)
from fleetmend_controller.core.events import (
    DeciderStarted,
    Event,
    HostEnrolled,
    HostWoken,
    ObserverDoubted,
    PolicyLoaded,
    Woken,
)
from fleetmend_controller.core.flow import advance
from fleetmend_controller.core.model import Fleet
from fleetmend_controller.core.policy import Policy
from fleetmend_controller.decider.doubt import SelfWatch

from .comparison import Comparison
from .gateway import Gateway
from .memory import Memory
from .policies import policies

if TYPE_CHECKING:
    from .world import World

STALL_MS_MAX = 25_000
POINTS = ("before commit", "after commit", "between effects")


class Brain:
    """What survives a crash is its memory: the journal."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.policies: tuple[Policy, ...] = policies(world.flaw, world.swarm)
        self.policy = self.policies[0]
        self.fleet = Fleet()
        self.memory = Memory(self.policies, snapshot_rows=max(300, 2 * world.swarm.hosts))
        self.gateway = Gateway(world)
        self.comparison = Comparison(world)
        self.up = False
        self.full = self.refusing = False
        self.stalled_until_ms = 0
        self.troubled_ms = 0
        self.epoch = 0
        self.life = 0
        self.wall_skew_ms = 0
        self._set_clock()

    def _set_clock(self) -> None:
        """The product's own clocks, over virtual time: the wall may step, the other one not."""
        time, ns = self.world.time, 1_000_000
        self.clock = Clock(lambda: (time.now_ms + self.wall_skew_ms) * ns, lambda: time.now_ms * ns)
        self.self_watch = SelfWatch(self.clock.now_ms, self.clock.wall_ahead_ms)

    def now_ms(self) -> int:
        """The controller's clock: it may step from one life to the next, but never back behind the journal."""
        return self.clock.now_ms()

    def later(self, act: Callable[..., object], *args: Any) -> bool:
        """Whether the process stands still: then this happens once it goes on."""
        waits = self.up and self.world.time.now_ms < self.stalled_until_ms
        if waits:
            self.world.time.at(self.stalled_until_ms, self._go_on, self.life, act, args)
        return waits

    def _go_on(self, life: int, act: Callable[..., object], args: tuple[Any, ...]) -> None:
        if life == self.life and self.up:
            act(*args)

    # Lives.

    def start(self, first: bool = False) -> None:
        """Replay the journal, take the lease, begin."""
        if self.up:
            return
        self.life += 1
        self.up, self.full, self.refusing = True, False, False
        if self.world.swarm.clock_step and not first:
            self.wall_skew_ms += self.world.rng.choice((0, 0, 5_000, 3_600_000, -600_000))
        held, self.fleet = self.fleet, self.memory.replayed()
        if not first:
            self.world.checker.same_fleet(held, self.fleet)
        self._set_clock()
        self.clock.never_before(self.fleet.now_ms)
        self.epoch = self.fleet.epoch + 1
        self.world.say(f"controller starts with epoch {self.epoch}")
        self.gateway.start()
        self.world.desk.forget()
        self.take([DeciderStarted(self.now_ms(), self.epoch)])
        if first:
            self.take([PolicyLoaded(self.now_ms(), self.policy.digest, "seed")])
        self._reconcile()
        self._reset_timers()
        self.world.desk.recover()
        self.gateway.open()

    def _reconcile(self) -> None:
        """What the host table has and the journal has not: a crash came between both."""
        missing = [s for s in self.world.everyone if s.id not in self.fleet.hosts]
        self.take([HostEnrolled(self.now_ms(), s.id, s.id, dict(s.labels)) for s in missing])

    def _reset_timers(self) -> None:
        for incident in list(self.fleet.incidents.values()) if self.up else ():
            if incident.wake_ms is not None:
                self._wake_at(incident.id, incident.wake_ms)
        for host in list(self.fleet.hosts.values()) if self.up else ():
            if host.permits.due_ms is not None:
                self._wake_host_at(host.id, host.permits.due_ms)

    def crash(self, why: str = "") -> None:
        """kill -9. The journal stays."""
        if not self.up:
            return
        self.up = False
        self.stalled_until_ms = 0
        self.world.say(f"controller dies {why}".rstrip())
        for server in self.world.everyone:
            server.linked = False
        self.world.time.after(self.world.rng.randint(200, 20_000), self.start)

    # Decisions.

    def take(self, events: list[Event]) -> bool:
        """Decide, journal, perform; a crash may come before the commit, after it, or between two effects. True if taken."""
        if not self.up or not events:
            return self.up
        if self.later(self.take, events):
            return False
        if self.full:
            self._refused(events)
            return False
        rng, world, life = self.world.rng, self.world, self.life
        deadly = world.swarm.controller_crash_every_ms and not world.calm
        point = rng.choice(POINTS) if deadly and rng.random() < world.swarm.dies else ""
        if point == "before commit":
            if world.faulty("effect_before_commit"):
                self._leak(events)
            self.crash(point)
            return False
        effects = [effect for event in events for effect in self._decide(event).effects]
        self.memory.keep(self.fleet, self.policy)
        if point == "after commit":
            self.crash(point)
            return False
        sends = [effect for effect in effects if isinstance(effect, SendOrder | SendPermits)]
        orders = any(isinstance(effect, SendOrder) for effect in sends)
        if deadly and orders and not point and rng.random() < world.swarm.stands_still:
            self.crash("or stands still")
            world.time.after(rng.randint(1_000, STALL_MS_MAX), self._awake, sends, self.epoch)
            return False
        for effect in effects[: rng.randint(0, len(effects))] if point else effects:
            self._perform(effect)
        if point:
            self.crash(point)
        return self.up and life == self.life

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

    def _refused(self, events: list[Event]) -> None:
        """The journal takes no row: what was decided on top is thrown away. After that nothing is decided before it does."""
        if self.refusing:
            return
        self.refusing, policy = True, self.policy
        for event in events:
            if isinstance(event, PolicyLoaded):
                policy = next(p for p in self.policies if p.digest == event.digest)
            step = advance(self.fleet, event, policy)
            if self.world.faulty("effect_after_refusal"):
                for effect in step.effects:
                    self._perform(effect)
        self.fleet = self.memory.replayed()

    def _leak(self, events: list[Event]) -> None:
        """The flaw of a decider that sends first and writes later."""
        for event in events:
            for effect in advance(self.fleet, event, self.policy).effects:
                self._perform(effect)
        self.fleet = self.memory.replayed()

    def _awake(self, sends: list[SendOrder | SendPermits], epoch: int) -> None:
        """It was not dead but stood still: it goes on where it was, and another is in charge by now."""
        for effect in sends:
            if isinstance(effect, SendPermits):
                self.world.network.late_permits(self.world.servers[effect.host], effect, epoch)
                continue
            if effect.order.here:
                # It writes a row first, and there its epoch counts.
                continue
            self.world.say(f"a decider that stood still sends {effect.order.id} under epoch {epoch}")
            self.world.nature.sent(effect.order)
            self.world.network.late_order(self.world.servers[effect.order.host], replace(effect.order), epoch)

    # Effects.

    def _perform(self, effect: Any) -> None:
        match effect:
            case SendOrder(order) if order.here:
                self.world.desk.take(replace(order))
            case AskWitness():
                self.world.neighbours.ask(effect)
            case DrainHost(order):
                self.world.desk.drains(DrainHost(replace(order)))
            case UndrainHost():
                self.world.desk.drains(effect)
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
            case WakeHostAt(host, at_ms):
                self._wake_host_at(host, at_ms)
            case SendPermits(host):
                server = self.world.servers[host]
                if server.linked and server.boot == effect.boot:
                    self.world.network.permits(server, effect, self.epoch)
            case Escalated():
                self.world.people.told(effect)
            case ApprovalWanted():
                self.world.people.asked(effect)
            case CompareHosts():
                self.comparison.wanted(effect, self.life)

    def _wake_at(self, incident: str, at_ms: int) -> None:
        if not self.world.faulty("timers_lost"):
            ahead_ms = self.now_ms() - self.world.time.now_ms
            self.world.time.at(at_ms - ahead_ms, self._wake, incident, self.life)

    def _wake(self, incident: str, life: int) -> None:
        found = self.fleet.incidents.get(incident)
        if life != self.life or not self.up or self.full or found is None:
            return
        # Of several wishes only the newest counts; an earlier one that passed is none.
        if found.wake_ms is not None and found.wake_ms <= self.now_ms():
            self.take([Woken(self.now_ms(), incident)])

    def _wake_host_at(self, host: str, at_ms: int) -> None:
        ahead_ms = self.now_ms() - self.world.time.now_ms
        self.world.time.at(at_ms - ahead_ms, self._wake_host, host, self.life)

    def _wake_host(self, host: str, life: int) -> None:
        found = self.fleet.hosts.get(host)
        if life != self.life or not self.up or self.full or found is None:
            return
        if found.permits.due_ms is not None and found.permits.due_ms <= self.now_ms():
            self.take([HostWoken(self.now_ms(), host)])

    # What befalls the process, apart from death.

    def step_wall(self, by_ms: int) -> None:
        """Somebody sets the machine's clock while the controller runs: it notices within a second."""
        if self.later(self.step_wall, by_ms):
            return
        self.self_watch.look()
        self.wall_skew_ms += by_ms
        self.world.say(f"the controller's wall clock steps by {by_ms} ms")
        self._doubt()

    def stall(self, ms: int) -> None:
        """The process stands still for a while; what arrives waits."""
        if not self.up or self.stalled_until_ms > self.world.time.now_ms:
            return
        self.self_watch.look()
        self.stalled_until_ms = self.troubled_ms = self.world.time.now_ms + ms
        self.world.say(f"the controller stands still for {ms} ms")
        # Asked for first, so it is the first thing that happens then.
        self.world.time.at(self.stalled_until_ms, self._doubt)

    def _doubt(self) -> None:
        found = self.self_watch.look() if self.up and not self.full else []
        if found:
            self.world.checker.was_away(self.now_ms())
        if found and not self.world.faulty("never_doubts"):
            self.take([ObserverDoubted(self.now_ms(), "; ".join(doubt.text for doubt in found))])

    def fill_disk(self, ms: int) -> None:
        """The journal takes no rows for a while."""
        if self.up and not self.full:
            self.full = True
            self.troubled_ms = self.world.time.now_ms + ms
            self.world.say(f"the controller's disk is full for {ms} ms")
            self.world.time.after(ms, self._disk_freed, self.life)

    def _disk_freed(self, life: int) -> None:
        if life == self.life:
            self.free_disk()

    def free_disk(self) -> None:
        """The fleet is read back, its timers are set anew, and what was known is doubted."""
        if not (self.up and self.full) or self.later(self.free_disk):
            return
        self.full = self.refusing = False
        self.troubled_ms = self.world.time.now_ms
        self.fleet = self.memory.replayed()
        self.world.say("the controller's disk has space again")
        self.take([ObserverDoubted(self.now_ms(), "the journal took no rows")])
        self._reset_timers()
        self.gateway.catch_up()
