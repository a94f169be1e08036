"""From outside the hosts: a pair of Alertmanagers that says all twice, late and out of order, and who takes incidents."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleetmend_controller.core.events import Acknowledge, AlertSaid
from fleetmend_controller.core.model import Status

if TYPE_CHECKING:
    from .host import Server
    from .world import World

ALERT = "alert:UnitDown"
# Prometheus looks so often; what still fires is said again at that pace, in the calm and in quiet worlds less often.
EVERY_MS = 60_000
CALM_EVERY_MS = 1_800_000
RETRY_MS = 5_000
# Longer than the pace: what was said before may arrive after.
DELAY_MS_MAX = 150_000

Place = tuple[str, str]


@dataclass(slots=True)
class Alerting:
    """What is known outside of one unit that is, or was, down: when that began, when it was last said, which word it was."""

    starts_ms: int
    said_ms: int
    number: int = 0
    taken: int = -1


@dataclass(slots=True)
class Outside:
    """Sees units only, whether the host's agent lives or not. Costs nothing while all are up."""

    world: World
    alerts: dict[Place, Alerting] = field(default_factory=dict)
    watched: dict[Place, None] = field(default_factory=dict)

    def broke(self, server: Server, part: str) -> None:
        """A part is sick: Prometheus sees it when it looks next, if it still is by then."""
        place = (server.id, part)
        if self.world.swarm.alerts and part.endswith(".service") and place not in self.watched:
            self.watched[place] = None
            self.world.time.after(self.world.rng.randint(1, EVERY_MS), self._look, server, part)

    def _look(self, server: Server, part: str) -> None:
        place, now_ms = (server.id, part), self.world.time.now_ms
        alert = self.alerts.get(place)
        if part in server.bad:
            if alert is None:
                alert = self.alerts[place] = Alerting(now_ms, now_ms)
                self._say(server, part, alert, Status.CRIT, 0)
            elif now_ms - alert.said_ms >= (CALM_EVERY_MS if self.world.calm or self.world.swarm.quiet else EVERY_MS):
                self._say(server, part, alert, Status.CRIT, 0)
        else:
            del self.watched[place]
            if alert is not None:
                del self.alerts[place]
                self._say(server, part, alert, Status.OK, now_ms)
            return
        self.world.time.after(EVERY_MS + self.world.rng.randint(0, 1_000), self._look, server, part)

    def _say(self, server: Server, part: str, alert: Alerting, status: Status, ends_ms: int) -> None:
        world = self.world
        alert.said_ms = world.time.now_ms
        alert.number += 1
        world.nature.alerts[server.id, part, status, alert.starts_ms, ends_ms] = None
        for _ in range(1 if world.calm else world.rng.choice((1, 2, 2, 3))):
            delay_ms = 1 if world.calm else world.rng.randint(1, DELAY_MS_MAX)
            world.time.after(delay_ms, self._arrive, server, part, alert, alert.number, status, ends_ms)

    def _arrive(self, server: Server, part: str, alert: Alerting, number: int, status: Status, ends_ms: int) -> None:
        """A call that is not answered is made again, until it is."""
        world, brain = self.world, self.world.brain
        stepped = world.swarm.clock_step or world.swarm.wall_step_every_ms
        if stepped and number < alert.taken:
            # After a step of the controller's clock a late word looks like one of an hour later, and is believed.
            return
        unit = {"unit": part} if world.swarm.alerts_name_units else {}
        finding = {"alertname": "UnitDown"} | unit
        now_ms = brain.now_ms()
        said = AlertSaid(now_ms, server.id, ALERT, part, status, finding, "it is down", now_ms, alert.starts_ms, ends_ms)
        if brain.take([said]):
            alert.taken = max(alert.taken, number)
        else:
            world.time.after(RETRY_MS, self._arrive, server, part, alert, number, status, ends_ms)

    def take_something(self) -> None:
        """A person says that an incident is theirs."""
        brain = self.world.brain
        if brain.up and brain.fleet.incidents:
            incident = self.world.rng.choice(list(brain.fleet.incidents))
            brain.take([Acknowledge(brain.now_ms(), incident, self.world.rng.choice(("ann", "bob")))])
