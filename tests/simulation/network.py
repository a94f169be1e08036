"""The way between hosts and controller. It loses, delays, doubles and reorders; in the calm it does nothing of that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetmend_controller.core.model import Order

if TYPE_CHECKING:
    from .host import Record, Server
    from .world import World

# A decider that stalls between commit and send is late by more than the network: until the next one commands already.
STALL_FACTOR = 8


class Network:
    """Decides the fate of each message."""

    def __init__(self, world: World) -> None:
        self.world = world

    def _fates(self) -> tuple[int, ...]:
        """The delays of the copies that arrive."""
        w = self.world
        if w.calm:
            return (1,)
        if w.rng.random() < w.swarm.loss:
            return ()
        first = w.rng.randint(1, w.swarm.delay_ms)
        return (first, w.rng.randint(1, w.swarm.delay_ms)) if w.rng.random() < w.swarm.doubled else (first,)

    def to_controller(self, server: Server, records: list[Record]) -> None:
        """A report; what is in flight when a partition begins arrives or not like any other."""
        brain, sent_clock, boot = self.world.brain, server.clock_ms(), server.boot
        for delay in self._fates():
            self.world.time.after(delay, brain.report, server, records, sent_clock, boot)

    def ack(self, server: Server, seq: int) -> None:
        """The controller's acknowledgement."""
        for delay in self._fates():
            self.world.time.after(delay, server.acked, seq)

    def order(self, server: Server, order: Order, epoch: int) -> None:
        """An order on its way to a host."""
        late = STALL_FACTOR if not self.world.calm and self.world.rng.random() < 0.25 else 1
        for delay in self._fates():
            self.world.time.after(delay * late, self._deliver, server, order, epoch)

    def check(self, server: Server, check: str, key: str) -> None:
        """A wish for a fresh result."""
        for delay in self._fates():
            self.world.time.after(delay, self._ask, server, check, key)

    @staticmethod
    def _deliver(server: Server, order: Order, epoch: int) -> None:
        if not server.partitioned:
            server.receive_order(order, epoch)

    @staticmethod
    def _ask(server: Server, check: str, key: str) -> None:
        if not server.partitioned:
            server.asked(check, key)
