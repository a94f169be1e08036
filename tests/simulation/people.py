"""The simulated people: they approve late, twice, or what was shown before; they deny; they mend what a storm is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetmend_controller.core.effects import ApprovalWanted, CompareHosts
from fleetmend_controller.core.events import Approve, CommonCause, Deny

if TYPE_CHECKING:
    from .world import World

LOOK_EVERY_MS = 120_000
NAMES = ("ann (admin)", "ann (responder)", "bob (responder)", "cat (responder)")


class People:
    """Whoever answers pages and questions."""

    def __init__(self, world: World) -> None:
        self.world = world

    def begin(self) -> None:
        """Look at the fleet now and then, also in the calm: somebody must end a storm."""
        self.world.time.after(self.world.rng.randint(1, LOOK_EVERY_MS), self._look)

    def asked(self, wanted: ApprovalWanted) -> None:
        """Some answer, in their own time, what they were shown."""
        rng = self.world.rng
        for name in rng.sample(NAMES, rng.randint(0, len(NAMES))):
            late_ms = rng.choice((1_000, 20_000, 400_000, 900_000))
            self.world.time.after(rng.randint(1, late_ms), lambda name=name: self._answer(wanted, name))

    def compare(self, asked: CompareHosts) -> None:
        """The comparison of hosts comes a moment later, finds something or not, or never comes."""
        rng = self.world.rng
        if rng.random() < 0.3:
            return
        lines = ("label rack is r7: nearly all",) if rng.random() < 0.5 else ()
        self.world.time.after(rng.randint(1_000, 9_000), lambda: self._compared(asked.fault, lines))

    def _compared(self, fault: str, lines: tuple[str, ...]) -> None:
        brain = self.world.brain
        failing = {i.subject.host: None for i in brain.fleet.incidents.values() if i.fault == fault}
        brain.take([CommonCause(brain.now_ms(), fault, tuple(failing), lines)])

    def _answer(self, wanted: ApprovalWanted, name: str) -> None:
        brain = self.world.brain
        if self.world.rng.random() < 0.1:
            brain.take([Deny(brain.now_ms(), wanted.order, name, "no", wanted.what)])
        else:
            brain.take([Approve(brain.now_ms(), wanted.order, name, wanted.what)])

    def _look(self) -> None:
        if self.world.brain.up and self.world.brain.fleet.outbreaks and self.world.rng.random() < 0.7:
            for server in self.world.servers.values():
                for unit in sorted(server.bad):
                    self.world.recover(server, unit)
        self.world.time.after(LOOK_EVERY_MS, self._look)
