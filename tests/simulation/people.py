"""The people around the fleet: they pause, announce maintenance, log in, run things, answer late or not at all, and repair."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetmend_controller.core.effects import ApprovalWanted, Escalated, Why
from fleetmend_controller.core.events import (
    Approve,
    Deny,
    Event,
    Paused,
    PersonSeen,
    PolicyLoaded,
    Resumed,
    RunRequested,
    TrustRestored,
    WindowAdded,
    WindowRemoved,
)
from fleetmend_controller.core.incidents import HOST_LOST_CHECK
from fleetmend_controller.core.model import Window
from fleetmend_controller.core.storms import STORM_CHECK

from .outside import ALERT

if TYPE_CHECKING:
    from .world import World

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
# How long people take to repair by hand what they were told of.
REPAIR_MS_MAX = 30 * MINUTE_MS
# A person who was seen is believed to be there this long.
PRESENCE_MS = 15 * MINUTE_MS
WINDOW_MS_MAX = 10 * MINUTE_MS
DAILY_MS = HOUR_MS
NAMES = ("ann (admin)", "ann (responder)", "bob (responder)", "cat (responder)")
ANSWER_MS = (1_000, 20_000, 400_000, 1_200_000)


class People:
    """What persons do, each act an event."""

    # What they announced lasts so long at most once they announce no more.
    holds_ms = max(PRESENCE_MS, WINDOW_MS_MAX)

    def __init__(self, world: World) -> None:
        self.world = world
        self.count = 0

    def submit(self, event: Event) -> None:
        """Through the CLI: it is refused while the controller is away."""
        self.world.brain.take([event])

    @property
    def now_ms(self) -> int:
        """The controller's clock: what operators write is by it."""
        return self.world.brain.now_ms()

    def _number(self) -> int:
        self.count += 1
        return self.count

    def pause_something(self) -> None:
        """An operator pauses for a while, or resumes."""
        rng, pauses = self.world.rng, self.world.brain.fleet.pauses
        server = rng.choice(self.world.everyone)
        scope = rng.choice(("global", f"host:{server.id}", f"group:role={server.labels['role']}", "playbook:restart"))
        if scope in pauses:
            self.submit(Resumed(self.now_ms, scope, "ann"))
            return
        # A large fleet is not left paused for days.
        until = self.now_ms + rng.randint(1_000, 2 * HOUR_MS if self.world.swarm.quiet else 300_000)
        until = until if self.world.swarm.quiet else rng.choice((None, until))
        self.submit(Paused(self.now_ms, scope, "ann", "because", until))

    def announce(self) -> None:
        """Maintenance: once or daily, of hosts or of a group; or an end of one."""
        rng, windows = self.world.rng, self.world.brain.fleet.windows
        if windows and rng.random() < 0.3:
            self.submit(WindowRemoved(self.now_ms, rng.choice(list(windows)), "ann"))
            return
        server = rng.choice(self.world.everyone)
        label = rng.choice(sorted(server.labels))
        terms, hosts = rng.choice(((((label, (server.labels[label],)),), ()), ((), (server.id,))))
        start_ms, repeat = self.now_ms + rng.choice((0, 0, 60_000, 300_000)), ""
        length_ms = rng.randint(MINUTE_MS, WINDOW_MS_MAX)
        if rng.random() < 0.2:
            start_ms, length_ms = self.now_ms, DAILY_MS
            hour, minute = divmod((self.now_ms // MINUTE_MS + rng.randint(0, 10)) % (24 * 60), 60)
            repeat = f"daily {hour:02d}:{minute:02d} UTC"
        window = Window(f"w-{self._number()}", terms, hosts, start_ms, start_ms + length_ms, repeat, "ann", "new kernel")
        self.submit(WindowAdded(self.now_ms, window))

    def log_in(self) -> None:
        """Somebody works on a host; its agent says so."""
        server = self.world.rng.choice(self.world.everyone)
        server.person_until_ms = self.world.time.now_ms + PRESENCE_MS
        if server.linked and not self.world.brain.later(self.log_in):
            self.submit(PersonSeen(self.now_ms, server.id, "root on pts/0", self.now_ms + PRESENCE_MS))

    def reload(self) -> None:
        """Another version of the playbooks."""
        self.submit(PolicyLoaded(self.now_ms, self.world.rng.choice(self.world.brain.policies).digest, "ann"))

    def run_something(self) -> None:
        """An operator orders something by hand: evidence, a restart, or what cannot be undone."""
        rng = self.world.rng
        server = rng.choice(self.world.everyone)
        part = rng.choice(server.parts).name
        unit, mount = (("unit", part),), (("mount", part), ("keep", "none"))
        # Real executors have no folder to clear.
        last = ("restart_unit", unit, "disruptive") if self.world.swarm.real else ("clear_directory", mount, "destructive")
        action, params, cost = rng.choice((
            ("collect_evidence", unit, "harmless"),
            ("restart_unit", unit, "disruptive"),
            ("restart_unit", unit, "disruptive"),
            last,
        ))  # fmt: skip
        myself = cost == "destructive" and rng.random() < 0.3
        by = rng.choice(NAMES)
        name = f"run-{self._number()}"
        self.submit(RunRequested(self.now_ms, server.id, action, params, cost, 30_000, by, name, myself))

    def told(self, effect: Escalated) -> None:
        """Whoever is paged for a storm repairs what it holds; of the rest now and then something."""
        rng, time = self.world.rng, self.world.time
        if effect.why is Why.STORM and effect.subject.check == STORM_CHECK:
            time.after(rng.randint(MINUTE_MS, REPAIR_MS_MAX), self.repair_type, effect.subject.key)
        elif effect.why is Why.TRUST_DEMOTED and rng.random() < 0.7:
            time.after(rng.randint(MINUTE_MS, REPAIR_MS_MAX), self._restore, effect.incident)
        elif effect.subject.check == HOST_LOST_CHECK and effect.subject.host in self.world.servers:
            self.world.neighbours.people_come(self.world.servers[effect.subject.host])
        elif effect.subject.host in self.world.servers and rng.random() < 0.3:
            time.after(rng.randint(MINUTE_MS, REPAIR_MS_MAX), self.repair, effect.subject.host, effect.subject.key)

    def _restore(self, _incident: str) -> None:
        for name, standing in list(self.world.brain.fleet.standing.items()):
            if standing.lowered is not None:
                self.submit(TrustRestored(self.now_ms, name, "ann"))

    def asked(self, effect: ApprovalWanted) -> None:
        """Some answer, in their own time, what they were shown; now and then somebody says no."""
        rng = self.world.rng
        self.world.nature.shown[effect.order, effect.what] = None
        for name in rng.sample(NAMES, rng.randint(0, len(NAMES))):
            no = rng.random() < 0.1
            self.world.time.after(rng.randint(1, rng.choice(ANSWER_MS)), self._answer, effect.order, effect.what, name, no)

    def _answer(self, order: str, what: str, name: str, no: bool) -> None:
        if no:
            self.submit(Deny(self.now_ms, order, name, "no", what))
        else:
            self.submit(Approve(self.now_ms, order, name, what))

    def repair_type(self, check_type: str) -> None:
        """By hand, everything that checks of this type call sick; of an alert, the units that it is about."""
        check_type = "unit_failed" if check_type == ALERT else check_type
        for server in self.world.everyone:
            if check_type == HOST_LOST_CHECK:
                self.world.neighbours.switch_on(server)
            for part in server.parts:
                if any(kind == check_type for _, kind in part.checks):
                    self.repair(server.id, part.name)

    def repair(self, host: str, part: str) -> None:
        """By hand; a machine that is off stays as it is."""
        server = self.world.servers[host]
        if server.up and server.is_sick(part):
            self.world.say(f"a person repairs {part} on {host}")
            self.world.trouble.recover(server, part)

    def repair_all(self) -> None:
        """By hand, all that is sick."""
        for server in self.world.everyone:
            for part in server.parts:
                self.repair(server.id, part.name)

    def calm(self) -> None:
        """Operators resume everything, withdraw what repeats, and look whether there is a storm that nobody told them of."""
        fleet = self.world.brain.fleet
        for scope in list(fleet.pauses):
            self.submit(Resumed(self.now_ms, scope, "ann"))
        for window in list(fleet.windows.values()):
            if window.repeat or window.start_ms > self.now_ms:
                self.submit(WindowRemoved(self.now_ms, window.id, "ann"))
        for check_type in fleet.outbreaks:
            self.world.time.after(self.world.rng.randint(MINUTE_MS, REPAIR_MS_MAX), self.repair_type, check_type)
