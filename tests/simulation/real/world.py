"""A world of the product's own processes: decider, journal, link service, agent and executor under one virtual time."""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

from fleetmend_controller.core.model import Phase
from fleetmend_controller.core.policy import Policy
from fleetmend_controller.decider import loop as decider_loop
from fleetmend_controller.http.metrics import Metrics
from fleetmend_controller.rules import CheckSpec, Declaration, RuleSet, SelectedCheck, Selector, UnitRule

from ..host import JOB, ODD, Server, unit
from ..nature import Nature
from ..policies import policies
from ..swarm import Swarm
from ..timeline import Timeline
from ..world import World
from .agent import urandom_from
from .controller import RealBrain, record_of, rules_of
from .executor import patched
from .loop import LoopClock
from .machine import Machine
from .store import Disk, Memory
from .wire import Wire

CHECK_EVERY_MS = 10_000
SNAPSHOT_ROWS = 150
# In the calm this is looked for again and again: whether anything is still under way.
LOOK_MS = 30_000
# Once nothing is, so much more shows whether it stays so.
QUIET_MS = 90_000
# So long the controller may take to be there once all is well.
READY_S_MAX = 60
METRICS = Metrics()
SHM = Path("/dev/shm")


class RealWorld(World):
    """Everything of one seed. Files lie in a folder that goes with it."""

    def __init__(self, seed: int, flaw: str = "", swarm: Swarm | None = None, timeline: Timeline | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fm-sim-", dir=SHM if SHM.is_dir() else None))
        self.metrics = METRICS
        super().__init__(seed, flaw, swarm, timeline)

    # What differs from the other worlds, in the order in which it is made.

    def make_time(self) -> LoopClock:
        """Virtual time of an event loop."""
        return LoopClock()

    def make_nature(self) -> Nature:
        """Events are judged when they are committed, a moment after they were true."""
        return Nature(self, late=True)

    def make_server(self, number: int) -> Server:
        """A machine, and what the rules say of it."""
        labels = {"role": "db" if number == 2 else "web", "rack": f"r{number % 2}"}
        parts = [unit(f"u{n}.service", symptoms=n == 1) for n in range(self.swarm.units)]
        parts += [JOB, ODD] if self.swarm.units > 1 else []
        drift_ppm = self.rng.randint(-self.swarm.drift_ppm, self.swarm.drift_ppm)
        made = Machine(
            self, f"h-{number}", labels, tuple(parts), drift_ppm, booted_ms=self.time.now_ms - 50_000
        )  # fmt: skip
        self.nature.on(made)
        return made

    def make_brain(self) -> Any:
        """The controller's lives."""
        self.policies = policies(self.flaw, self.swarm)
        base = self._rules(self.policies[0])
        self.rules = {policy.digest: rules_of(policy, base) for policy in self.policies}
        self.records = {server.id: record_of(server.id, server.labels) for server in self.everyone}
        self.disk = Disk(self)
        self.memory = Memory(self, self.disk)
        return RealBrain(self)

    def _rules(self, policy: Policy) -> RuleSet:
        """The checks of all hosts, and what may be touched there."""
        machine = self.everyone[0]
        names = dict(check for part in machine.parts for check in part.checks)
        confirm = 2 if self.swarm.confirm else 1
        specs = [CheckSpec(name, kind, {}, CHECK_EVERY_MS, 5_000, confirm, confirm) for name, kind in sorted(names.items())]
        checks = tuple(SelectedCheck(Selector(), spec) for spec in specs)
        units = {part.name: UnitRule("running", "allowed") for part in machine.parts}
        declared = Declaration("all", "ann", Selector(), units, (), (), ())
        return RuleSet("", {}, policy, checks, (declared,), names)

    def policy_of(self, digest: str) -> Policy:
        """A version of the rules; before any was loaded there are none."""
        return self.rules[digest].policy if digest else self.compile({}).policy

    def compile(self, documents: Mapping[str, str]) -> RuleSet:
        """As the product compiles documents."""
        digest = documents.get("rules", "")
        if digest:
            return self.rules[digest]
        return RuleSet("", {}, Policy("", (), {}, self.policies[0].gates), (), (), {})

    def quiet(self, *_: object, **__: object) -> None:
        """Nobody listens to the log."""

    # Links are the agents' own business.

    def dial(self, machine: Machine) -> Wire | None:
        """An agent dials."""
        life = self.brain.current
        if not (self.brain.up and life is not None and life.serving and machine.reachable):
            return None
        wire = Wire(self, machine)
        life.serve(wire)
        return wire

    def link(self, server: Server) -> None:
        """The agent starts, or what a partition held up arrives."""
        assert isinstance(server, Machine)
        if server.up and server.agent_up and server.agent is None:
            server.begin_agent()
        elif server.wire is not None:
            server.wire.release()

    def unlink(self, server: Server) -> None:
        """A partition: both ends find out for themselves."""
        assert isinstance(server, Machine)
        if server.wire is not None:
            server.wire.noticed()

    def attend(self, server: Server, first_ms: int = 0) -> None:
        """Real agents keep their own time."""

    def run(self) -> None:
        """With the executor's doors patched, and silence in the log."""
        before = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        try:
            with ExitStack() as stack:
                stack.enter_context(contextlib.chdir(self.folder))
                stack.enter_context(patched(self.flaw))
                stack.enter_context(mock.patch("fleetmend_agent.outbox.os", urandom_from(self)))
                stack.enter_context(mock.patch("fleetmend_agent.agent.chance", self.rng.random))
                stack.enter_context(mock.patch.object(decider_loop, "SNAPSHOT_ROWS", SNAPSHOT_ROWS))
                super().run()
        finally:
            logging.disable(before)
            self.close()

    def begin(self) -> None:
        """Processes start in any order."""
        self.brain.start(first=True)
        for server in self.everyone:
            self.time.after(self.rng.randint(1, 3_000), self.link, server)

    def settle(self) -> None:
        """The controller may still be starting, or not have noticed that its disk has space again."""
        for _ in range(READY_S_MAX):
            self.time.run_until(self.time.now_ms + 1_000)
            life = self.brain.current
            if self.brain.up and life is not None and life.serving and life.decider.writable:
                return
        self.checker.fail("the controller does not come back although nothing is wrong any more")

    def let_pass(self, ms: int) -> None:
        """Real processes cost their beats: no longer than anything is under way."""
        until_ms = self.time.now_ms + ms
        quiet_ms = 0
        while self.time.now_ms < until_ms and quiet_ms < QUIET_MS:
            self.time.run_until(self.time.now_ms + LOOK_MS)
            quiet_ms = quiet_ms + LOOK_MS if self._is_quiet() else 0

    def _is_quiet(self) -> bool:
        waiting = any(i.phase is not Phase.ESCALATED for i in self.brain.fleet.incidents.values())
        boxes = all(m.agent is not None and not m.agent.outbox.depth for m in self.everyone)  # type: ignore[attr-defined]
        return self.brain.up and boxes and not waiting and not self.brain.fleet.outbreaks

    def close(self) -> None:
        """Everything ends; nothing is left of it."""
        for machine in self.everyone:
            assert isinstance(machine, Machine)
            machine.executor.die()
            machine._kill_agent()
        if self.brain.current is not None:
            self.brain.current.die()
        self.time.close()
        self.disk.close()
        shutil.rmtree(self.folder)
