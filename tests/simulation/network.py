"""The way between hosts and controller. It loses, delays, doubles and reorders; in the calm it does nothing of that.

With a stream goes what is still in it: nothing of an earlier one arrives on the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetmend_controller.core.effects import SendPermits
from fleetmend_controller.core.model import Order

if TYPE_CHECKING:
    from .host import Record, Server
    from .world import World


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
        """A report."""
        sent_clock, boot, session = server.clock_ms(), server.boot, server.session
        for delay in self._fates():
            self.world.time.after(delay, self._report, server, session, records, sent_clock, boot)

    def _report(self, server: Server, session: int, records: list[Record], sent_clock: int, boot: str) -> None:
        if session == server.session:
            self.world.brain.gateway.report(server, records, sent_clock, boot)

    def ack(self, server: Server, last: Record) -> None:
        """The controller's acknowledgement."""
        for delay in self._fates():
            self.world.time.after(delay, server.acked, last.box, last.seq)

    def order(self, server: Server, order: Order, epoch: int) -> None:
        """An order on its way to a host."""
        for delay in self._fates():
            self.world.time.after(delay, self._deliver, server, server.session, order, epoch)

    def late_order(self, server: Server, order: Order, epoch: int) -> None:
        """An order of a decider that stood still: it comes by whatever way is open."""
        for delay in self._fates():
            self.world.time.after(delay, self._deliver, server, 0, order, epoch)

    def permits(self, server: Server, given: SendPermits, epoch: int) -> None:
        """A set of permits on its way to a host."""
        for delay in self._fates():
            self.world.time.after(delay, self._hand_on, server, server.session, given, epoch)

    def late_permits(self, server: Server, given: SendPermits, epoch: int) -> None:
        """The same of a decider that stood still."""
        for delay in self._fates():
            self.world.time.after(delay, self._hand_on, server, 0, given, epoch)

    def check(self, server: Server, check: str, key: str) -> None:
        """A wish for a fresh result. A stream that lives loses none: for a fault that is over nobody asks again."""
        for delay in self._fates() or (self.world.swarm.delay_ms,):
            self.world.time.after(delay, self._ask, server, server.session, check, key)

    @staticmethod
    def _deliver(server: Server, session: int, order: Order, epoch: int) -> None:
        if not server.partitioned and session in (0, server.session):
            server.receive_order(order, epoch)

    @staticmethod
    def _hand_on(server: Server, session: int, given: SendPermits, epoch: int) -> None:
        if server.reachable and session in (0, server.session):
            server.hands.take(given, epoch)

    @staticmethod
    def _ask(server: Server, session: int, check: str, key: str) -> None:
        if not server.partitioned and session == server.session:
            server.asked(check, key)
