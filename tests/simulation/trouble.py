"""What goes wrong, at random times: parts break, processes die, machines boot, the network parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .host import Server
    from .world import World

# A part that breaks is seen by a signal within a second; a signal that is missed, by the poll.
SIGNAL_MS = 1_000
POLL_MS = 30_000
PARTITION_MS_MAX = 120_000
CUT_OFF_MS_MAX = 600_000


class Trouble:
    """Draws when and where."""

    def __init__(self, world: World) -> None:
        self.world = world

    def begin(self) -> None:
        """Everything that the swarm has."""
        swarm, world = self.world.swarm, self.world
        for mean_ms, act in (
            (swarm.fault_every_ms, self.break_something),
            (swarm.partition_every_ms, self._partition),
            (swarm.agent_crash_every_ms, self._crash_agent),
            (swarm.reboot_every_ms, self.reboot),
            (swarm.disk_full_every_ms, self._fill_disk),
            (swarm.death_every_ms, world.neighbours.die),
            (swarm.agent_death_every_ms, world.neighbours.kill_agent),
            (swarm.island_every_ms, world.neighbours.isolate),
        ):
            self._every(-(-mean_ms // swarm.hosts), self._somewhere, act)
        for mean_ms, happens in (
            (swarm.controller_crash_every_ms, world.brain.crash),
            (swarm.pause_every_ms, world.people.pause_something),
            (swarm.reload_every_ms, world.people.reload),
            (swarm.run_every_ms, world.people.run_something),
            (swarm.window_every_ms, world.people.announce),
            (swarm.presence_every_ms, world.people.log_in),
            (swarm.cut_off_every_ms, self._break_cut_off),
            (swarm.take_every_ms, world.outside.take_something),
            (swarm.cut_every_ms, self._cut),
            (swarm.release_every_ms, self._bad_release),
            (swarm.wall_step_every_ms, self._step_wall),
            (swarm.stall_every_ms, self._stall),
            (swarm.journal_full_every_ms, self._fill_journal),
        ):
            self._every(mean_ms, happens)
        if swarm.mass_fault:
            world.time.after(swarm.duration_ms // 2, self._break_together)

    def _every(self, mean_ms: int, act: Callable[..., object], *args: object) -> None:
        if mean_ms:
            self.world.time.after(self.world.rng.randint(1, 2 * mean_ms), self._fire, mean_ms, act, args)

    def _fire(self, mean_ms: int, act: Callable[..., object], args: tuple[object, ...]) -> None:
        if self.world.calm:
            return
        act(*args)
        self._every(mean_ms, act, *args)

    def _somewhere(self, act: Callable[[Server], None]) -> None:
        act(self.world.rng.choice(self.world.everyone))

    def break_something(self, server: Server) -> None:
        """One part of one host breaks; it may recover by itself soon."""
        if not server.up:
            return
        rng, swarm = self.world.rng, self.world.swarm
        part = rng.choice(server.parts)
        if rng.random() < swarm.cursed:
            server.cursed[part.name] = None
        self.fail(server, part.name)
        if rng.random() < swarm.flap:
            self.world.time.after(rng.randint(100, 20_000), self.recover, server, part.name)

    def fail(self, server: Server, name: str) -> None:
        """A part is sick from now on."""
        rng = self.world.rng
        server.bad[name] = None
        server.grown += 1
        self.world.say(f"{server.id} {name} breaks")
        self.world.outside.broke(server, name)
        server.hands.stir()
        part = next(p for p in server.parts if p.name == name)
        missed = rng.random() < self.world.swarm.missed
        if not (missed and self.world.faulty("never_polls")):
            self.world.time.after(rng.randint(1, POLL_MS if missed else SIGNAL_MS), server.look, part)
        if name not in server.sick_since:
            server.sick_since[name] = self.world.time.now_ms
            self.world.checker.expect(server, part)

    def _break_together(self) -> None:
        """The same part of all hosts of a small fleet, or of one group of a large one."""
        everyone = self.world.everyone
        label, value = self.world.rng.choice(sorted(self.world.rng.choice(everyone).labels.items()))
        for server in everyone:
            if server.up and (not self.world.swarm.quiet or server.labels[label] == value):
                self.fail(server, server.parts[0].name)

    def recover(self, server: Server, name: str) -> None:
        """A part is well again."""
        if not server.is_sick(name):
            return
        server.well(name)
        server.cursed.pop(name, None)
        self.world.say(f"{server.id} {name} is well again")
        server.look(next(p for p in server.parts if p.name == name))

    def _partition(self, server: Server, most_ms: int = PARTITION_MS_MAX) -> None:
        if server.partitioned:
            return
        self.world.say(f"{server.id} is cut off")
        server.partitioned = True
        self.world.unlink(server)
        self.world.time.after(self.world.rng.randint(1_000, most_ms), self._heal, server)

    def _heal(self, server: Server) -> None:
        server.partitioned = False
        self.world.link(server)

    def _cut(self) -> None:
        """Most of the fleet is out of reach at once: rather a fault near the controller than of all those hosts."""
        self.world.say("most hosts are cut off together")
        for server in self.world.everyone:
            if self.world.rng.random() < 0.7:
                self._partition(server)

    def _break_cut_off(self) -> None:
        """A host is out of reach, and something breaks there meanwhile."""
        server = self.world.rng.choice(self.world.everyone)
        self._partition(server, CUT_OFF_MS_MAX)
        self.world.time.after(self.world.rng.randint(1, 30_000), self._break_first, server)

    def _bad_release(self) -> None:
        """Some hosts get another version of a package, and what uses it breaks there soon."""
        rng, world = self.world.rng, self.world
        version = f"1.{world.time.now_ms}"
        chosen = [s for s in world.everyone if rng.random() < min(0.25, 12 / len(world.everyone))]
        world.say(f"{len(chosen)} hosts get release {version}")
        for server in chosen:
            server.release = version
            world.time.after(rng.randint(1, 30_000), self._break_first, server)

    def _break_first(self, server: Server) -> None:
        if server.up and not self.world.calm:
            self.fail(server, server.parts[0].name)

    def _step_wall(self) -> None:
        self.world.brain.step_wall(self.world.rng.choice((-7_200_000, -8_000, 8_000, 3_600_000)))

    def _stall(self) -> None:
        self.world.brain.stall(self.world.rng.choice((2_000, 8_000, 60_000)))

    def _fill_journal(self) -> None:
        self.world.brain.fill_disk(self.world.rng.randint(1_000, 120_000))

    def _fill_disk(self, server: Server) -> None:
        if server.up:
            server.fill_disk(self.world.rng.randint(5_000, 300_000))

    def _crash_agent(self, server: Server) -> None:
        if server.up and server.agent_up:
            self.world.say(f"{server.id} agent dies")
            server.crash_agent(lambda: self.agent_back(server))

    def agent_back(self, server: Server) -> None:
        """An agent starts again on a host that is on."""
        if server.up and not server.agent_up:
            server.agent_up = True
            server.look_at_all()
            server.hands.ask_executor()
            server.hands.stir()
            self.world.link(server)

    def reboot(self, server: Server) -> None:
        """A host goes off and on again."""
        if server.up:
            self.world.say(f"{server.id} goes off")
            server.power_off(lambda: self.booted(server))

    def booted(self, server: Server) -> None:
        """A host that was off is on."""
        server.power_on()
        self.world.say(f"{server.id} is up again as {server.boot}")
        server.look_at_all()
        server.hands.ask_executor()
        self.world.link(server)

    def calm(self) -> None:
        """No partition lasts, and every disk has space again."""
        self.world.brain.free_disk()
        self.world.neighbours.calm()
        for server in self.world.everyone:
            server.free_disk()
            if server.partitioned:
                self._heal(server)
