"""What hosts see of each other: who dies for good, whose agent does, who is an island, and what witnesses say of the lost.

Chance of its own, so that the rest of a seed's world depends on it as little as possible.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from fleetmend_controller.core.effects import AskWitness
from fleetmend_controller.core.events import WitnessSaid
from fleetmend_controller.core.inquiry import CONTROLLER, Reach, Stream

if TYPE_CHECKING:
    from .host import Server
    from .world import World

PROBE_MS = (5, 3_000, 4_500)
# An answer that takes longer than the core waits says nothing.
ANSWER_MS = (1, 1, 50, 9_000)
AGENT_DEAD_MS_MAX = 1_200_000
ISLAND_MS_MAX = 300_000
BOOT_MS = (5_000, 90_000)
PEOPLE_MS = (60_000, 1_800_000)


class Neighbours:
    """`islands` are hosts that live and reach no other one, nor are reached; `dead` are off, and do not boot by themselves."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rng = random.Random(f"neighbours {world.seed}")
        self.islands: dict[str, None] = {}
        self.dead: dict[str, None] = {}

    # What befalls hosts.

    def die(self, server: Server) -> None:
        """The power is gone, or the kernel hangs: it does not come back by itself."""
        if server.up:
            self.world.say(f"{server.id} dies")
            self.dead[server.id] = None
            server.power_off(None)

    def kill_agent(self, server: Server) -> None:
        """The agent dies for long, and the host lives."""
        if server.up and server.agent_up:
            self.world.say(f"{server.id} agent is gone")
            server.crash_agent(None)
            self.world.time.after(self.rng.randint(60_000, AGENT_DEAD_MS_MAX), self._agent_back, server, server.life)

    def _agent_back(self, server: Server, life: int) -> None:
        if server.life == life:
            self.world.trouble.agent_back(server)

    def isolate(self, server: Server) -> None:
        """Its neighbours and it do not reach each other; the way to the controller is another one."""
        if server.id not in self.islands:
            self.world.say(f"{server.id} is an island")
            self.islands[server.id] = None
            self.world.time.after(self.rng.randint(1_000, ISLAND_MS_MAX), self._join, server.id)

    def _join(self, host: str) -> None:
        self.islands.pop(host, None)

    def reset(self, server: Server) -> None:
        """By its board: off if it is on, and then it boots."""
        if server.up:
            server.power_off(None)
        self.world.say(f"{server.id} is switched on by its board")
        self.dead[server.id] = None
        self.world.time.after(self.rng.randint(*BOOT_MS), self.switch_on, server)

    def switch_on(self, server: Server) -> None:
        """A dead host boots."""
        if self.dead.pop(server.id, "") is None and not server.up:
            self.world.trouble.booted(server)

    def people_come(self, server: Server) -> None:
        """Somebody will walk to it and press the button."""
        self.world.time.after(self.rng.randint(*PEOPLE_MS), self.switch_on, server)

    def calm(self) -> None:
        """No host stays an island, agents start again, and people come for the dead; for one of them only at the very end."""
        self.islands.clear()
        for server in self.world.everyone:
            if server.up and not server.agent_up:
                self.world.trouble.agent_back(server)
        for host in list(self.dead)[1:]:
            self.people_come(self.world.servers[host])

    def wake_all(self) -> None:
        """At the very end."""
        for host in list(self.dead):
            self.switch_on(self.world.servers[host])

    # Witnesses.

    def how_it_ended(self, server: Server) -> Stream:
        """What the gateway saw of the stream of a host that is not linked any more."""
        return Stream.ENDED if server.up and not server.agent_up else Stream.QUIET

    def ask(self, wish: AskWitness) -> None:
        """The question goes out. It may be lost, and a witness may say nothing at all."""
        if wish.witness == CONTROLLER:
            self._say(wish, self._seen_from_here(wish), self.rng.choice(PROBE_MS))
            return
        witness = self.world.servers[wish.witness]
        lost = not self.world.calm and self.rng.random() < self.world.swarm.shy
        if witness.linked and not lost:
            self.world.time.after(self.rng.choice(PROBE_MS), self._look, wish, witness, witness.session)

    def _look(self, wish: AskWitness, witness: Server, session: int) -> None:
        if not witness.reachable or witness.session != session:
            return
        # Having looked is one thing, being heard another.
        if self.reaches(witness, self.world.servers[wish.host]):
            reach = Reach.REACHED
        elif wish.control and self.reaches(witness, self.world.servers[wish.control]):
            reach = Reach.NOT_REACHED
        else:
            reach = Reach.UNABLE
        self._say(wish, reach, 1 if self.world.calm else self.rng.choice(ANSWER_MS))

    def reaches(self, one: Server, other: Server) -> bool:
        """Whether one host reaches another; now and then it is wrong about that."""
        misled = not self.world.calm and self.rng.random() < self.world.swarm.misled
        return other.up and not misled and one.id not in self.islands and other.id not in self.islands

    def _seen_from_here(self, wish: AskWitness) -> Reach:
        """The controller's own look takes the way that the host's stream takes."""
        if self.rng.random() < 0.2:
            return Reach.UNABLE
        server = self.world.servers[wish.host]
        return Reach.REACHED if server.up and not server.partitioned else Reach.NOT_REACHED

    def _say(self, wish: AskWitness, reach: Reach, delay_ms: int) -> None:
        self.world.nature.witnessed(wish, reach)
        times = 1 if self.world.calm or self.rng.random() >= self.world.swarm.doubled else 2
        for _ in range(times):
            self.world.time.after(delay_ms, self._arrive, wish, reach)

    def _arrive(self, wish: AskWitness, reach: Reach) -> None:
        """What the journal does not take is not said again: its time ends, and counts for nothing."""
        brain = self.world.brain
        if not brain.later(self._arrive, wish, reach):
            said = WitnessSaid(brain.now_ms(), wish.host, wish.incident, wish.witness, wish.round, reach, reach.value)
            brain.take([said])
