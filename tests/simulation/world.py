"""The whole world of one seed: servers, a bad network, a controller that dies, operators, and the checkers that watch."""

from __future__ import annotations

import random
from typing import Any

from fleetmend_controller.core.model import Phase

from .bound import liveness_ms, storm_ms
from .brain import Brain
from .checker import Checker
from .clockwork import Clockwork
from .desk import Desk
from .gateway import SILENT_MS
from .host import DISK, JOB, ODD, Part, Server, unit
from .nature import Nature
from .neighbours import Neighbours
from .network import Network
from .outside import Outside
from .people import REPAIR_MS_MAX, People
from .policies import STAY_OK_MS
from .swarm import Swarm, of_seed
from .timeline import Timeline
from .trouble import Trouble

HEARTBEAT_MS = 10_000
# Where a host has nothing but held incidents, its evidence is renewed just often enough to stay fresh; in large worlds less
# often: there it is fresh again some time after what held them is over.
HELD_BEAT_MS = 25_000
QUIET_BEAT_MS = 120_000
RELINK_MS = 5_000
# How long an agent that comes up together with everything else has to say so.
SETTLE_MS = 120_000


class World:
    """Everything of one seed. `flaw` names a deliberate defect that the checkers must catch."""

    def __init__(self, seed: int, flaw: str = "", swarm: Swarm | None = None, timeline: Timeline | None = None) -> None:
        self.seed = seed
        self.flaw = flaw
        self.timeline = timeline
        self.rng = random.Random(seed)
        self.swarm = swarm or of_seed(seed, self.rng)
        self.stay_ok_ms = STAY_OK_MS
        self.time: Any = self.make_time()
        self.calm = False
        self.network = Network(self)
        self.checker = Checker(self)
        self.nature = self.make_nature()
        self.people = People(self)
        self.trouble = Trouble(self)
        self.outside = Outside(self)
        self.neighbours = Neighbours(self)
        self.desk = Desk(self)
        self.servers = {server.id: server for server in map(self.make_server, range(self.swarm.hosts))}
        self.everyone = list(self.servers.values())
        self.brain: Any = self.make_brain()

    # What another kind of world makes otherwise.

    def make_time(self) -> Any:
        """Virtual time."""
        return Clockwork()

    def make_nature(self) -> Nature:
        """What is possible."""
        return Nature(self)

    def make_brain(self) -> Any:
        """The controller."""
        return Brain(self)

    def make_server(self, number: int) -> Server:
        """A host."""
        roles = max(4, self.swarm.hosts // 40)
        place = number % roles
        labels = {"role": "db" if place == 3 else "web" if place < 3 else f"web{place}", "rack": f"r{number % 7 % 3}"}
        parts: list[Part] = [unit(f"u{n}.service", symptoms=n == self.swarm.units - 1) for n in range(self.swarm.units)]
        if self.swarm.units > 1:
            parts += [DISK, JOB, ODD]
        drift_ppm = self.rng.randint(-self.swarm.drift_ppm, self.swarm.drift_ppm)
        server = Server(self, f"h-{number}", labels, tuple(parts), drift_ppm, booted_ms=self.time.now_ms - 50_000)
        self.nature.on(server)
        return server

    def faulty(self, flaw: str) -> bool:
        """Whether this world carries the named defect."""
        return self.flaw == flaw

    def say(self, text: str) -> None:
        """A line of the timeline, if anybody reads one."""
        if self.timeline is not None:
            self.timeline.say(self.time.now_ms, text)

    def run(self) -> None:
        """Safety under faults first, then calm, in which everything must end."""
        self.begin()
        self.trouble.begin()
        self.time.run_until(self.time.now_ms + self.swarm.duration_ms)
        self._calm_down()

    def begin(self) -> None:
        """Agents look at everything, then the controller starts."""
        for server in self.everyone:
            server.look_at_all()
        self.brain.start(first=True)

    def settle(self) -> None:
        """The controller is there at once."""

    def let_pass(self, ms: int) -> None:
        """Time goes by: it costs nothing where nothing happens."""
        self.time.run_until(self.time.now_ms + ms)

    def _calm_down(self) -> None:
        self.calm = True
        self.say("calm: nothing more breaks, the network is good, people resume everything")
        if not self.brain.up:
            self.brain.start()
        self.trouble.calm()
        self.settle()
        self.people.calm()
        self._pass(liveness_ms(self.brain.policies, self.people.holds_ms, REPAIR_MS_MAX))
        self.checker.at_rest()
        self.neighbours.wake_all()
        self.people.repair_all()
        self._pass(max(storm_ms(policy) for policy in self.brain.policies))
        self.checker.at_peace()

    def _pass(self, ms: int) -> None:
        """Let time go by, and have everybody look at everything at the end of it."""
        self.let_pass(ms)
        for server in self.everyone:
            server.look_at_all()
        self.time.run_until(self.time.now_ms + SETTLE_MS)

    # Links and heartbeats. A heartbeat that says nothing new is a fact of time: who is linked was heard now.

    def link(self, server: Server) -> None:
        """Hello, if there is somebody to say it to."""
        if server.linked or not (server.reachable and self.brain.up):
            return
        server.linked = True
        server.session += 1
        server.heard_ms = self.time.now_ms
        self.brain.gateway.connected(server)

    def relink(self) -> None:
        """The controller is there again: agents come back one after the other."""
        for server in self.everyone:
            self.time.after(1 if self.calm else self.rng.randint(1, RELINK_MS), self.link, server)

    def unlink(self, server: Server) -> None:
        """A stream ends."""
        if server.linked:
            server.linked = False
            server.heard_ms = self.time.now_ms
            self.brain.gateway.ended[server.id] = self.neighbours.how_it_ended(server)
            self.time.after(SILENT_MS, self.brain.gateway.unheard, server)

    def attend(self, server: Server, first_ms: int = HEARTBEAT_MS) -> None:
        """Something is going on at this host: from now on each of its heartbeats counts, until all is quiet again."""
        if first_ms < HEARTBEAT_MS:
            self.time.after(first_ms, self._tell, server)
        if not server.attended:
            server.attended = True
            self.time.after(HEARTBEAT_MS, self._beat, server)

    def _tell(self, server: Server) -> None:
        """One heartbeat, with the poll before it."""
        if server.reachable and self.brain.up and server.linked:
            server.look_at_all()
            self.brain.gateway.heartbeat(server)

    def _beat(self, server: Server) -> None:
        """A heartbeat with the poll before it, and the resend of what is not acknowledged."""
        pace_ms = 0
        if server.reachable and self.brain.up and server.linked:
            self._tell(server)
            if not self.faulty("not_resent"):
                server.send()
            pace_ms = self._pace_ms(server)
        server.attended = bool(pace_ms)
        if pace_ms:
            self.time.after(pace_ms, self._beat, server)

    def _pace_ms(self, server: Server) -> int:
        """When the next heartbeat can matter; 0 when none does before something happens."""
        if server.outbox or "unknown" in server.told.values():
            return HEARTBEAT_MS
        fleet, pace_ms = self.brain.fleet, 0
        for incident_id in fleet.by_host.get(server.id, {}):
            incident = fleet.incidents[incident_id]
            if incident.phase is Phase.ESCALATED:
                continue
            blind = any(hold.startswith(("evidence_fresh:", "observer:")) for hold in incident.holds)
            if incident.phase is not Phase.HELD or blind or not incident.holds:
                return HEARTBEAT_MS
            pace_ms = QUIET_BEAT_MS if self.swarm.quiet else HELD_BEAT_MS
        return pace_ms
