"""What hosts that fail together share and the others lack: the product's own comparison, over the simulated hosts' traits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetmend_controller.cohort import common_cause, difference, label_traits
from fleetmend_controller.core.effects import CompareHosts
from fleetmend_controller.core.events import CommonCause
from fleetmend_controller.decider.cohorts import split

if TYPE_CHECKING:
    from .world import World

GATHER_MS = 1_000
LABELS = ("rack", "role")


class Comparison:
    """Answers a moment later, or never: the controller may die meanwhile, or the comparison fail."""

    def __init__(self, world: World) -> None:
        self.world = world

    def wanted(self, effect: CompareHosts, life: int) -> None:
        """The core asks."""
        if self.world.rng.random() < 0.9:
            self.world.time.after(GATHER_MS, self._compared, effect, life)

    def _compared(self, effect: CompareHosts, life: int) -> None:
        brain = self.world.brain
        if life != brain.life or not brain.up:
            return
        sides = split(brain.fleet, effect.fault, lambda _labels: ())
        failing, healthy = ([self._traits(host) for host in side] for side in (sides.failing, sides.healthy))
        found = difference(failing, healthy)
        storm = brain.fleet.outbreaks.get(effect.fault)
        told = tuple(d.text() for d in (found if storm is not None else common_cause(failing, found)))
        if effect.incident != storm.incident if storm is not None else not told:
            return
        brain.take([CommonCause(brain.now_ms(), effect.fault, tuple(sides.failing), told)])

    def _traits(self, host: str) -> dict[str, str]:
        server = self.world.servers[host]
        return {**label_traits(server.labels, LABELS), "packages.libshop": server.release}
