"""The whole world of one seed: servers, a bad network, a controller that dies, operators, and the checkers that watch."""

from __future__ import annotations

import random
from typing import Any

from fleetmend_controller.core.model import Order

from .brain import Brain
from .checker import Checker
from .clockwork import Clockwork
from .neighbours import Neighbours
from .outside import Outside
from .server import Record, Server
from .swarm import Swarm, draw

HEARTBEAT_MS = 10_000
# In the calm nothing happens on a healthy host: its heartbeats are told less often to save time, within the limit of silence.
CALM_BEAT_MS = 25_000
SILENT_MS = 30_000
RESEND_MS = 10_000


class Network:
    """Loses, delays, doubles and reorders."""

    def __init__(self, world: World) -> None:
        self.world = world

    def _fates(self) -> list[int]:
        w = self.world
        if w.calm:
            return [1]
        if w.rng.random() < w.swarm.loss:
            return []
        copies = 2 if w.rng.random() < w.swarm.doubled else 1
        return [w.rng.randint(1, w.swarm.delay_ms) for _ in range(copies)]

    def to_controller(self, server: Server, records: list[Record]) -> None:
        """A report; what is in flight when a partition begins arrives or not like any other."""
        sent_clock, boot = server.clock_ms(), server.boot
        for delay in self._fates():
            self.world.time.after(delay, lambda: self.world.brain.report(server, records, sent_clock, boot))

    def ack(self, server: Server, seq: int) -> None:
        """The controller's acknowledgement."""
        for delay in self._fates():
            self.world.time.after(delay, lambda: server.acked(seq))

    def order(self, server: Server, order: Order, epoch: int) -> None:
        """An order on its way to a host."""
        # A decider that stalls between commit and send is late by more than the network: until the next one commands already.
        late = 1 if self.world.calm else self.world.rng.choice((1, 1, 1, 8))
        for delay in self._fates():
            self.world.time.after(delay * late, lambda: None if server.partitioned else server.receive_order(order, epoch))

    def check(self, server: Server, unit: str) -> None:
        """A wish for a fresh result."""
        for delay in self._fates():
            self.world.time.after(delay, lambda: None if server.partitioned else server.look(unit, requested=True))


class World:
    """Everything of one seed. `flaw` names a deliberate defect that the checkers must catch."""

    def __init__(self, seed: int, flaw: str = "", swarm: Swarm | None = None, near: tuple[tuple[str, Any], ...] = ()) -> None:
        self.seed = seed
        self.flaw = flaw
        self.rng = random.Random(seed)
        self.swarm = swarm or draw(self.rng)
        self.time = Clockwork()
        self.calm = False
        self.network = Network(self)
        self.checker = Checker(self)
        units = tuple(f"u{n}.service" for n in range(self.swarm.units))
        self.servers = {
            f"h-{n}": Server(self, f"h-{n}", units, booted_ms=self.time.now_ms - 50_000) for n in range(self.swarm.hosts)
        }
        self.neighbours = Neighbours(self, seed)
        for name, value in near:
            setattr(self.neighbours, name, value)
        self.brain = Brain(self)
        self.outside = Outside(self, seed)

    def faulty(self, flaw: str) -> bool:
        """Whether this world carries the named defect."""
        return self.flaw == flaw

    def run(self) -> None:
        """Safety under faults first, then calm, in which everything must end."""
        self.brain.start(first=True)
        for server in self.servers.values():
            self._link(server)
            self._every(self.swarm.fault_every_ms, lambda s=server: self._break(s))
            self._every(self.swarm.partition_every_ms, lambda s=server: self._partition(s))
            self._every(self.swarm.agent_crash_every_ms, lambda s=server: self._crash_agent(s))
            self._every(self.swarm.reboot_every_ms, lambda s=server: self._reboot(s))
            self._beat(server)
        self._every(self.swarm.controller_crash_every_ms, self.brain.crash)
        self._every(self.swarm.pause_every_ms, self.brain.pause_something)
        self._every(self.swarm.reload_every_ms, self.brain.reload)
        self._every(self.swarm.run_every_ms, self.brain.run_something)
        self.outside.begin()
        self.neighbours.begin()
        if self.swarm.mass_fault:
            self.time.after(self.swarm.duration_ms // 2, lambda: [self._break(s) for s in self.servers.values()])  # type: ignore[func-returns-value]
        self.time.run_until(self.time.now_ms + self.swarm.duration_ms)
        self._calm_down()

    def _calm_down(self) -> None:
        self.calm = True
        self.brain.calm()
        self.neighbours.calm()
        for server in self.servers.values():
            server.partitioned = False
        self.time.run_until(self.time.now_ms + self.checker.liveness_ms())
        for server in self.servers.values():
            server.look_at_all()
        self.time.run_until(self.time.now_ms + 120_000)
        self.checker.at_rest()

    def _every(self, mean_ms: int, act) -> None:
        if not mean_ms:
            return

        def fire() -> None:
            if self.calm:
                return
            act()
            self.time.after(self.rng.randint(1, 2 * mean_ms), fire)

        self.time.after(self.rng.randint(1, 2 * mean_ms), fire)

    def _break(self, server: Server) -> None:
        if not server.up:
            return
        unit = self.rng.choice(server.units)
        server.bad.add(unit)
        if self.rng.random() < self.swarm.cursed:
            server.cursed.add(unit)
        self.time.after(self.rng.randint(1, 1_000), lambda: server.look(unit))
        if self.rng.random() < self.swarm.flap:
            self.time.after(self.rng.randint(100, 20_000), lambda: self._recover(server, unit))

    def _recover(self, server: Server, unit: str) -> None:
        server.bad.discard(unit)
        server.cursed.discard(unit)
        server.look(unit)

    def _partition(self, server: Server) -> None:
        if server.partitioned:
            return
        server.partitioned = True
        server.linked = False
        self.time.after(self.rng.randint(1_000, 120_000), lambda: self._heal(server))

    def _heal(self, server: Server) -> None:
        server.partitioned = False
        self._link(server)

    def _crash_agent(self, server: Server) -> None:
        if server.up and server.agent_up:
            server.crash_agent(lambda: self._agent_back(server))

    def _agent_back(self, server: Server) -> None:
        if server.up:
            server.agent_up = True
            self._link(server)

    def _reboot(self, server: Server) -> None:
        if not server.up:
            return

        server.reboot(lambda: self.boot(server))

    def boot(self, server: Server) -> None:
        """A server that was off is up again."""
        if server.up or server.id in self.neighbours.dead:
            return
        server.up = server.agent_up = True
        server.boot_number += 1
        server.booted_ms = self.time.now_ms
        server.bad &= server.cursed
        self._link(server)

    def _link(self, server: Server) -> None:
        if server.up and server.agent_up and not server.partitioned and self.brain.up:
            server.linked = True
            self.brain.connected(server)

    def _beat(self, server: Server) -> None:
        """Heartbeats, the poll, resends and reconnects, all on one beat."""
        if server.up and server.agent_up and not server.partitioned and self.brain.up:
            if not server.linked:
                self._link(server)
            self.brain.heartbeat(server)
            server.look_at_all()
            if not self.faulty("not_resent"):
                server.send()
        idle = self.calm and not server.bad and not server.outbox
        self.time.after(CALM_BEAT_MS if idle else HEARTBEAT_MS, lambda: self._beat(server))
