"""The people around the fleet: they pause, announce maintenance, log in, run things, answer late or not at all, and repair."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetmend_controller.core.effects import ApprovalWanted, Escalated, Why
from fleetmend_controller.core.events import (
    CommonCause,
    Paused,
    PolicyLoaded,
    Resumed,
    RunRequested,
)
from fleetmend_controller.core.storms import STORM_CHECK

if TYPE_CHECKING:
    from .world import World

MINUTE_MS = 60_000
COMPARE_MS = 1_000
# How long people take to repair by hand what they were told of.
REPAIR_MS_MAX = 30 * MINUTE_MS


class People:
    """What persons do, each act an event."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.runs = 0
        self.holds_ms = 0

    def pause_something(self) -> None:
        """An operator pauses for a while, or resumes."""
        rng, brain = self.world.rng, self.world.brain
        host = rng.choice(list(self.world.servers))
        scope = rng.choice(("global", f"host:{host}", "group:role=web", "playbook:restart"))
        if scope in brain.fleet.pauses:
            brain.take([Resumed(brain.now_ms(), scope, "ann")])
            return
        until = rng.choice((None, brain.now_ms() + rng.randint(1_000, 300_000)))
        brain.take([Paused(brain.now_ms(), scope, "ann", "because", until)])

    def reload(self) -> None:
        """Another version of the playbooks."""
        brain = self.world.brain
        brain.take([PolicyLoaded(brain.now_ms(), self.world.rng.choice(brain.policies).digest, "ann")])

    def run_something(self) -> None:
        """An operator orders a restart by hand."""
        self.runs += 1
        rng, brain = self.world.rng, self.world.brain
        server = rng.choice(list(self.world.servers.values()))
        what = (("unit", server.parts[0].name),)
        name = f"run-{self.runs}"
        brain.take([RunRequested(brain.now_ms(), server.id, "restart_unit", what, "disruptive", 30_000, "ann", name)])

    def told(self, effect: Escalated) -> None:
        """Whoever is paged for a storm repairs what it holds; of the rest now and then something."""
        rng, time = self.world.rng, self.world.time
        if effect.why is Why.STORM and effect.subject.check == STORM_CHECK:
            time.after(rng.randint(MINUTE_MS, REPAIR_MS_MAX), self.repair_type, effect.subject.key)
        elif effect.subject.host in self.world.servers and rng.random() < 0.3:
            time.after(rng.randint(MINUTE_MS, REPAIR_MS_MAX), self.repair, effect.subject.host, effect.subject.key)

    def asked(self, effect: ApprovalWanted) -> None:
        """Somebody is asked to approve."""
        self.world.nature.shown[effect.order, effect.what] = None

    def compare(self, check_type: str, life: int) -> None:
        """What the failing hosts share and the others lack; nothing is found here."""
        self.world.time.after(COMPARE_MS, self._compared, check_type, life)

    def _compared(self, check_type: str, life: int) -> None:
        brain = self.world.brain
        if life != brain.life or not brain.up:
            return
        incidents = (i for i in brain.fleet.incidents.values() if i.check_type == check_type)
        sick = tuple(dict.fromkeys(i.subject.host for i in incidents if i.subject.host in brain.fleet.hosts))
        brain.take([CommonCause(brain.now_ms(), check_type, sick, ())])

    def repair_type(self, check_type: str) -> None:
        """By hand, everything that checks of this type call sick."""
        for server in self.world.servers.values():
            for part in server.parts:
                if any(kind == check_type for _, kind in part.checks):
                    self.repair(server.id, part.name)

    def repair(self, host: str, part: str) -> None:
        """By hand; a machine that is off stays as it is."""
        server = self.world.servers[host]
        if server.up and part in server.bad:
            self.world.say(f"a person repairs {part} on {host}")
            self.world.trouble.recover(server, part)

    def repair_all(self) -> None:
        """By hand, all that is sick."""
        for server in self.world.servers.values():
            for part in list(server.bad):
                self.repair(server.id, part)

    def calm(self) -> None:
        """Operators resume everything, and look whether there is a storm that nobody told them of."""
        brain = self.world.brain
        for scope in list(brain.fleet.pauses):
            brain.take([Resumed(brain.now_ms(), scope, "ann")])
        for check_type in brain.fleet.outbreaks:
            self.world.time.after(self.world.rng.randint(MINUTE_MS, REPAIR_MS_MAX), self.repair_type, check_type)
