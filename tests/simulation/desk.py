"""What the controller does itself: power cycles by a management board, and draining by a hook. Its rows outlive it."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fleetmend_controller.core.effects import DrainHost, UndrainHost
from fleetmend_controller.core.events import Drained, Event, OrderEnded, OrderStarted, Undrained
from fleetmend_controller.core.model import Order, Outcome, Phase
from fleetmend_controller.core.orders import POWER_CYCLE

if TYPE_CHECKING:
    from .host import Server
    from .world import World

RETRY_MS = 1_000
BOARD_MS = (50, 3_000, 20_000)
# Longer than any order waits for its board.
BOARD_SLOW_MS = 45_000
HOOK_MS = (10, 2_000, 90_000)
UNDRAIN_PAUSE_MS, UNDRAIN_PAUSE_MS_MAX = 1_000, 300_000
UNDRAIN_TOLD_AT = 3


class Board:
    """The management boards of all hosts: slow, or saying no, or yes for nothing; some requests arrive twice."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world = world
        self.rng = rng

    def press(self, server: Server) -> tuple[int, Outcome]:
        """How long the answer takes, and what it is."""
        world, rng = self.world, self.rng
        if world.calm:
            world.time.after(BOARD_MS[0], world.neighbours.reset, server)
            return BOARD_MS[0], Outcome.DONE
        delay_ms = BOARD_SLOW_MS if rng.random() < world.swarm.board_slow else rng.choice(BOARD_MS)
        if rng.random() < world.swarm.board_fails:
            outcome = rng.choice((Outcome.FAILED, Outcome.UNKNOWN, Outcome.DONE))
            if outcome is Outcome.UNKNOWN and rng.random() < 0.5:
                # Its answer was lost, not its deed.
                world.time.after(delay_ms, world.neighbours.reset, server)
            return delay_ms, outcome
        world.time.after(delay_ms, world.neighbours.reset, server)
        if rng.random() < world.swarm.doubled:
            world.time.after(delay_ms + rng.randint(1, 20_000), world.neighbours.reset, server)
        return delay_ms, Outcome.DONE


class Hook:
    """Somebody's load balancer. `out` are the hosts that it holds out of service, whatever it answered."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world = world
        self.rng = rng
        self.out: dict[str, None] = {}

    def call(self, what: str, host: str) -> tuple[int, bool]:
        """How long the answer takes and whether it is a yes. It acts at the start of a call, at its end, or not at all."""
        rng, world = self.rng, self.world
        world.nature.hooked[host] = None
        if world.calm:
            self._act(what, host)
            return 1, True
        delay_ms = rng.choice(HOOK_MS)
        fails = rng.random() < world.swarm.hook_fails
        if not fails or rng.random() < 0.5:
            # A call that nobody waits for any more is not answered, but may have been heard.
            life = world.brain.life
            world.time.after(rng.choice((0, delay_ms)), self._heard, what, host, life)
        return delay_ms, not fails

    def _heard(self, what: str, host: str, life: int) -> None:
        if self.world.brain.up and self.world.brain.life == life:
            self._act(what, host)

    def _act(self, what: str, host: str) -> None:
        self.world.say(f"the hook hears: {what} {host}")
        if what == "drain":
            self.out[host] = None
        else:
            self.out.pop(host, None)


@dataclass(slots=True)
class Desk:
    """`rows` is durable: an order that was begun, and its end if it is known. The rest is gone with each life of the process.

    `tasks` are under way, `cycling` wait for their turn at the boards; the first of them has it. `calls` is what waits until
    the hook was called for the same host.
    """

    world: World
    rng: random.Random = field(init=False)
    board: Board = field(init=False)
    hook: Hook = field(init=False)
    rows: dict[str, Outcome | None] = field(default_factory=dict)
    tasks: dict[str, None] = field(default_factory=dict)
    cycling: deque[Order] = field(default_factory=deque)
    calls: dict[str, deque[tuple[Callable[..., None], tuple[Any, ...]]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Chance of its own."""
        self.rng = random.Random(f"desk {self.world.seed}")
        self.board = Board(self.world, self.rng)
        self.hook = Hook(self.world, self.rng)

    # Lives.

    def forget(self) -> None:
        """A new process."""
        self.tasks, self.calls = {}, {}
        self.cycling.clear()

    def recover(self) -> None:
        """What an earlier life left."""
        fleet = self.world.brain.fleet
        for incident in list(fleet.incidents.values()) if self.world.brain.up else ():
            order = incident.order
            if order is None or incident.phase not in (Phase.ORDERED, Phase.RUNNING):
                continue
            if order.drain:
                self.drains(DrainHost(order))
            elif order.here:
                self.take(order)
        for host in list(fleet.drained):
            self.drains(UndrainHost(host))

    def _soon(self, ms: int, act: Callable[..., None], *args: Any) -> None:
        """Later in this life, if it lasts."""
        self.world.time.after(ms, self._still, self.world.brain.life, act, args)

    def _still(self, life: int, act: Callable[..., None], args: tuple[Any, ...]) -> None:
        brain = self.world.brain
        if life == brain.life and brain.up and not brain.later(act, *args):
            act(*args)

    def _submit(self, event: Event, then: Callable[..., None], *args: Any) -> None:
        """Tell the decider; go on only once its journal holds it."""
        brain = self.world.brain
        life = brain.life
        if brain.later(self._submit, event, then, *args):
            return
        if brain.take([event]):
            then(*args)
        elif brain.up and life == brain.life:
            self._soon(RETRY_MS, self._submit, event, then, *args)

    # Deeds.

    def take(self, order: Order) -> None:
        """Do it, unless it was done, is being done, or may have been done."""
        if order.id in self.tasks:
            return
        self.tasks[order.id] = None
        if order.id in self.rows and not self.world.faulty("deeds_forgotten"):
            self.rows[order.id] = self.rows[order.id] or Outcome.UNKNOWN
            self._tell(order, self.rows[order.id] or Outcome.UNKNOWN)
        elif order.action == POWER_CYCLE:
            self.cycling.append(order)
            if len(self.cycling) == 1:
                self._begin(order)
        else:
            self._in_turn(order.host, self._begin, order)

    def _in_turn(self, host: str, act: Callable[..., None], *args: Any) -> None:
        """Now, or when nobody calls the hook for this host any more."""
        if host in self.calls:
            self.calls[host].append((act, args))
        else:
            self.calls[host] = deque()
            act(*args)

    def _let_go(self, host: str) -> None:
        if self.calls[host]:
            act, args = self.calls[host].popleft()
            act(*args)
        else:
            del self.calls[host]

    def _begin(self, order: Order) -> None:
        brain, world = self.world.brain, self.world
        if brain.now_ms() >= order.expires_ms:
            self._tell(order, Outcome.EXPIRED)
            return
        if brain.full:
            self._soon(RETRY_MS, self._begin, order)
            return
        self.rows[order.id] = None
        world.nature.begun_here(order)
        # It may die anywhere between the row and the deed.
        if world.swarm.controller_crash_every_ms and not world.calm and self.rng.random() < world.swarm.dies:
            brain.crash("between row and deed")
            return
        self._submit(OrderStarted(brain.now_ms(), order.host, order.id), self._do, order)

    def _do(self, order: Order) -> None:
        world = self.world
        incident = world.brain.fleet.incidents.get(order.incident)
        if incident is None or incident.order is None or incident.order.id != order.id:
            self._end(order, Outcome.REFUSED)
            return
        world.say(f"the controller begins {order.id}: {order.action} {order.host}")
        world.checker.lost.deed(order)
        if order.action == POWER_CYCLE:
            delay_ms, outcome = self.board.press(world.servers[order.host])
        else:
            delay_ms, yes = self.hook.call(order.action, order.host)
            outcome = Outcome.DONE if yes else Outcome.FAILED
        if delay_ms > order.timeout_ms:
            delay_ms, outcome = order.timeout_ms, Outcome.UNKNOWN
        self._soon(delay_ms, self._end, order, outcome)

    def _end(self, order: Order, outcome: Outcome) -> None:
        if self.world.brain.full:
            self._soon(RETRY_MS, self._end, order, outcome)
            return
        self.rows[order.id] = outcome
        self._tell(order, outcome)

    def _tell(self, order: Order, outcome: Outcome) -> None:
        brain = self.world.brain
        if self.cycling and self.cycling[0].id == order.id:
            self.cycling.popleft()
            if self.cycling:
                self._soon(0, self._begin, self.cycling[0])
        clock_ms = brain.now_ms() + brain.fleet.hosts[order.host].clock_offset_ms
        ended = OrderEnded(brain.now_ms(), order.host, order.id, outcome, "", "", order.boot, clock_ms, clock_ms)
        self.world.nature.ended_here(order, outcome)
        self._submit(ended, self._told, order)

    def _told(self, order: Order) -> None:
        self._over(order.id)
        if order.action != POWER_CYCLE and order.host in self.calls:
            self._let_go(order.host)

    def _over(self, key: str) -> None:
        self.tasks.pop(key, None)

    # Draining.

    def drains(self, wish: DrainHost | UndrainHost) -> None:
        """Take a host out of service before its order is sent, or give it back until that is done."""
        key = f"drain {wish.order.id}" if isinstance(wish, DrainHost) else f"undrain {wish.host}"
        if key in self.tasks:
            return
        self.tasks[key] = None
        if isinstance(wish, DrainHost):
            self._in_turn(wish.order.host, self._drain, wish.order, key)
        else:
            self._in_turn(wish.host, self._undrain, wish.host, key, 0)

    def _drain(self, order: Order, key: str) -> None:
        incident = self.world.brain.fleet.incidents.get(order.incident)
        if incident is None or incident.order is None or incident.order.id != order.id:
            self._called(order.host, key)
            return
        delay_ms, yes = self.hook.call("drain", order.host)
        self._soon(delay_ms, self._drained, order, key, yes)

    def _drained(self, order: Order, key: str, yes: bool) -> None:
        brain = self.world.brain
        self._submit(Drained(brain.now_ms(), order.host, order.id, yes, ""), self._called, order.host, key)

    def _called(self, host: str, key: str) -> None:
        self._over(key)
        self._let_go(host)

    def _undrain(self, host: str, key: str, failures: int) -> None:
        if not self._is_free(host) or self.world.faulty("never_undrained"):
            self._called(host, key)
            return
        delay_ms, yes = self.hook.call("undrain", host)
        self._soon(delay_ms, self._undrained, host, key, 0 if yes else failures + 1)

    def _undrained(self, host: str, key: str, failures: int) -> None:
        told = Undrained(self.world.brain.now_ms(), host, not failures, "")
        if not failures:
            self._submit(told, self._called, host, key)
        elif failures == UNDRAIN_TOLD_AT:
            self._submit(told, self._pause, host, key, failures)
        else:
            self._pause(host, key, failures)

    def _pause(self, host: str, key: str, failures: int) -> None:
        self._let_go(host)
        pause_ms = min(UNDRAIN_PAUSE_MS * 2**failures, UNDRAIN_PAUSE_MS_MAX)
        self._soon(pause_ms, self._in_turn, host, self._undrain, host, key, failures)

    def _is_free(self, host: str) -> bool:
        fleet = self.world.brain.fleet
        held = any(fleet.incidents[i].drained for i in fleet.by_host.get(host, {}))
        return host in fleet.drained and not held
