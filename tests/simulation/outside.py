"""From outside the hosts: a pair of Alertmanagers that says everything twice, late and out of order, and people at work."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from fleetmend_controller.core.events import Acknowledge, AlertSaid
from fleetmend_controller.core.model import Status

if TYPE_CHECKING:
    from .server import Server
    from .world import World

CHECK = "alert:UnitDown"
EVERY_MS = 60_000
RETRY_MS = 5_000
# Longer than the pace: what was said before may arrive after.
DELAY_MS_MAX = 150_000


class Outside:
    """Has chance of its own, so that the worlds of the seeds stay what they were."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.rng = random.Random(seed * 2 + 1)
        self.alerts = self.rng.random() < 0.5
        self.people_every_ms = self.rng.choice((0, 20_000, 120_000))
        self.names_units = self.rng.random() < 0.5
        self.since_ms: dict[tuple[str, str], int] = {}

    def begin(self) -> None:
        """Set both going."""
        if self.alerts:
            for server in self.world.servers.values():
                for unit in server.units:
                    self._look(server, unit)
        if self.people_every_ms:
            self._take()

    def _look(self, server: Server, unit: str) -> None:
        """Prometheus sees what is, whether the host's agent lives or not; Alertmanager says it each minute."""
        place, now_ms = (server.id, unit), self.world.time.now_ms
        if unit in server.bad:
            starts_ms = self.since_ms.setdefault(place, now_ms)
            self._say(server, unit, Status.CRIT, starts_ms, 0)
        elif place in self.since_ms:
            self._say(server, unit, Status.OK, self.since_ms.pop(place), now_ms)
        self.world.time.after(EVERY_MS + self.rng.randint(0, 1_000), lambda: self._look(server, unit))

    def _say(self, server: Server, unit: str, status: Status, starts_ms: int, ends_ms: int) -> None:
        copies = 1 if self.world.calm else self.rng.choice((1, 2, 2, 3))
        for _ in range(copies):
            # After a step of the controller's clock a late word looks like one of an hour later: then it is believed.
            most_ms = EVERY_MS // 2 if self.world.swarm.clock_step else DELAY_MS_MAX
            delay_ms = 1 if self.world.calm else self.rng.randint(1, most_ms)
            self.world.time.after(delay_ms, lambda: self._arrive(server, unit, status, starts_ms, ends_ms))

    def _arrive(self, server: Server, unit: str, status: Status, starts_ms: int, ends_ms: int) -> None:
        """A call that is not answered is made again, until it is."""
        brain = self.world.brain
        finding = {"alertname": "UnitDown"} | ({"unit": unit} if self.names_units else {})
        said = AlertSaid(
            brain.now_ms(), server.id, CHECK, unit, status, finding, "it is down", brain.now_ms(), starts_ms, ends_ms
        )
        life, up = brain.life, brain.up
        brain.take([said])
        if not up or not brain.up or brain.life != life:
            self.world.time.after(RETRY_MS, lambda: self._arrive(server, unit, status, starts_ms, ends_ms))

    def _take(self) -> None:
        brain = self.world.brain
        if brain.up and brain.fleet.incidents:
            incident = self.rng.choice(list(brain.fleet.incidents))
            brain.take([Acknowledge(brain.now_ms(), incident, self.rng.choice(("ann", "bob")))])
        if not self.world.calm:
            self.world.time.after(self.rng.randint(1, 2 * self.people_every_ms), self._take)
