"""What hosts can see of each other, servers that die for good, and the controller's own hands that switch them on again."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from fleetmend_controller.core.effects import AskWitness
from fleetmend_controller.core.events import OrderEnded, OrderStarted, WitnessSaid
from fleetmend_controller.core.inquiry import CONTROLLER, Reach
from fleetmend_controller.core.model import Order, Outcome, Phase

if TYPE_CHECKING:
    from .server import Server
    from .world import World

SLOW_MS_MAX = 15_000
BMC_MS_MAX = 8_000


class Neighbours:
    """Has chance of its own, so that the worlds of the seeds stay what they were.

    `shy` is how often a witness says nothing at all; `islands` are live servers that reach no other one. `deeds` is the durable
    book of what the controller did itself: None while it is under way.
    """

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.rng = random.Random(seed * 2 + 7)
        self.racks = self.rng.choice((0, 0, 2, 4))
        self.shy = self.rng.choice((0.0, 0.3, 0.9))
        self.death_every_ms = self.rng.choice((0, 200_000, 600_000))
        self.island_every_ms = self.rng.choice((0, 0, 300_000))
        self.islands: set[str] = set()
        self.dead: set[str] = set()
        self.deeds: dict[str, Outcome | None] = {}

    def labels(self, number: int) -> dict[str, str]:
        """The rack of a server, if there are racks."""
        return {"rack": f"r{number % self.racks}"} if self.racks else {}

    def begin(self) -> None:
        """Set death and isolation going."""
        self._every(self.death_every_ms, self._die)
        self._every(self.island_every_ms, self._isolate)

    def calm(self) -> None:
        """People switch on what is off and mend the network."""
        self.islands.clear()
        for host in list(self.dead):
            self._switch_on(self.world.servers[host])

    def ask(self, wish: AskWitness) -> None:
        """A witness looks, if the question reaches it, it feels like it, and its answer reaches the controller."""
        rng, world = self.rng, self.world
        if wish.witness == CONTROLLER:
            self._say(wish, Reach.UNABLE, rng.randint(1, 3_000))
            return
        if not world.calm and rng.random() < self.shy:
            return
        delay_ms = 1 if world.calm else rng.choice((5, 3_000, SLOW_MS_MAX))
        world.time.after(delay_ms, lambda: self._look(wish))

    def act(self, order: Order) -> None:
        """The controller's own deed: written down first, done once, and of a deed whose end was lost nobody knows."""
        brain = self.world.brain
        if order.id in self.deeds and not self.world.faulty("deeds_forgotten"):
            outcome = self.deeds[order.id]
            if outcome is not None:
                self._ended(order, outcome)
            return
        if brain.now_ms() > order.expires_ms:
            self._ended(order, Outcome.EXPIRED)
            return
        self.deeds[order.id] = None
        server = self.world.servers[order.host]
        self.world.checker.deed(server, order)
        life = brain.life
        brain.take([OrderStarted(brain.now_ms(), order.host, order.id)])

        def done() -> None:
            works = self.rng.random() < 0.8
            if works:
                self._cycle(server)
            if life == brain.life and brain.up:
                self.deeds[order.id] = Outcome.DONE if works else Outcome.FAILED
                self._ended(order, Outcome.DONE if works else Outcome.FAILED)

        self.world.time.after(self.rng.randint(10, BMC_MS_MAX), done)

    def recover(self) -> None:
        """After a start of the controller: what was under way is unknown now, what was not begun is begun."""
        for incident in list(self.world.brain.fleet.incidents.values()):
            order = incident.order
            if order is None or not order.here or incident.phase not in (Phase.ORDERED, Phase.RUNNING):
                continue
            if order.id in self.deeds:
                self.deeds[order.id] = self.deeds[order.id] or Outcome.UNKNOWN
            self.act(order)

    def _look(self, wish: AskWitness) -> None:
        witness, lost = self.world.servers[wish.witness], self.world.servers[wish.host]
        if not (witness.up and witness.agent_up and witness.linked) or witness.partitioned:
            return
        if self._reaches(witness, lost):
            reach = Reach.REACHED
        elif wish.control and self._reaches(witness, self.world.servers[wish.control]):
            reach = Reach.NOT_REACHED
        else:
            reach = Reach.UNABLE
        self._say(wish, reach, 1 if self.world.calm else self.rng.choice((1, 1, 9_000)))

    def _reaches(self, one: Server, other: Server) -> bool:
        return one.up and other.up and not self.islands & {one.id, other.id}

    def _say(self, wish: AskWitness, reach: Reach, delay_ms: int) -> None:
        def arrive() -> None:
            brain = self.world.brain
            event = WitnessSaid(brain.now_ms(), wish.host, wish.incident, wish.witness, wish.round, reach, reach.value)
            brain.take([event] if self.world.calm or self.rng.random() < 0.9 else [event, event])

        self.world.time.after(delay_ms, arrive)

    def _ended(self, order: Order, outcome: Outcome) -> None:
        brain = self.world.brain
        host = brain.fleet.hosts[order.host]
        clock_ms = brain.now_ms() + host.clock_offset_ms
        brain.take([OrderEnded(brain.now_ms(), order.host, order.id, outcome, "", "", host.boot, clock_ms, clock_ms)])

    def _die(self) -> None:
        server = self.rng.choice(list(self.world.servers.values()))
        if server.up:
            self.dead.add(server.id)
            server.switch_off()

    def _cycle(self, server: Server) -> None:
        if server.up:
            self.dead.add(server.id)
            server.switch_off()
        self.world.time.after(self.rng.randint(5_000, 60_000), lambda: self._switch_on(server))

    def _switch_on(self, server: Server) -> None:
        if server.id in self.dead:
            self.dead.discard(server.id)
            self.world.boot(server)

    def _isolate(self) -> None:
        host = self.rng.choice(list(self.world.servers))
        self.islands.add(host)
        self.world.time.after(self.rng.randint(1_000, 200_000), lambda: self.islands.discard(host))

    def _every(self, mean_ms: int, act) -> None:
        if not mean_ms:
            return

        def fire() -> None:
            if not self.world.calm:
                act()
                self.world.time.after(self.rng.randint(1, 2 * mean_ms), fire)

        self.world.time.after(self.rng.randint(1, 2 * mean_ms), fire)
