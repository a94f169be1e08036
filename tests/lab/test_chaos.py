"""Controller, agents and executors are killed at random instants under a stream of faults; afterwards every promise is kept.

FLEETMEND_CHAOS_S says for how long (600 is the long run), FLEETMEND_CHAOS_SEED which chances: faults, victims and instants
follow from it, what happens in between does not.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.fleet import CommandFailed, Fleet, wait
from tests.tools.promises import broken_promises, budgets_are_kept

CHAOS_S = float(os.environ.get("FLEETMEND_CHAOS_S", "60"))
SEED = int(os.environ.get("FLEETMEND_CHAOS_SEED", "1"))
CALM_S = 240.0
# A fault, and the unit or the mount point that it breaks.
FAULTS = {
    "unit-killed": "shop.service",
    "unit-stopped": "shop.service",
    "service-hangs": "shop.service",
    "service-frozen": "shop.service",
    "mount-gone": "srv-cache.mount",
    "filesystem-full": "/srv/cache",
}
# The lab declares that this unit is never started again: its loss goes to people. Until they are done nobody can say how full
# it is, and an incident about that is held.
MOUNTS = {"/srv/cache": "srv-cache.mount"}
HOSTS_AT_ONCE = 2
PLAYBOOK = "restart-unit"
RULES = Path(__file__).parents[2] / "deploy" / "lab" / "rules"


@dataclass
class Storm:
    """What was broken and killed so far."""

    fleet: Fleet
    chance: random.Random
    injected: list[tuple[str, str]] = field(default_factory=list)
    killed: dict[str, int] = field(default_factory=dict)
    paused: bool = False

    def kill(self, host: str, unit: str) -> None:
        """SIGKILL to whatever runs of a unit now: at some instants systemd is just about to start it again."""
        self.fleet.tries(host, "systemctl", "kill", "--signal=KILL", unit)
        self.killed[unit] = self.killed.get(unit, 0) + 1

    def break_something(self) -> None:
        """One more fault on one more host."""
        host, fault = self.chance.choice(self.fleet.agents), self.chance.choice(sorted(FAULTS))
        self.fleet.lab("fault", fault, "--host", host)
        self.injected.append((fault, host))

    def kill_controller(self) -> None:
        """The one that decides."""
        self.kill("ctl", "fleetmend-controller.service")

    def kill_agent(self) -> None:
        """The eyes of one host."""
        self.kill(self.chance.choice(self.fleet.agents), "fleetmend-agent.service")

    def kill_executor(self) -> None:
        """The hands of one host, in the middle of what they do if they do something."""
        self.kill(self.chance.choice(self.fleet.agents), "fleetmend-executor.service")

    def pause_or_resume(self) -> None:
        """A person changes their mind. The controller may be dead just now: then nothing changes."""
        words = ("resume", "global") if self.paused else ("pause", "global", "--reason", "a person looks")
        if self.fleet.tries("ctl", "fleetmend", *words).returncode == 0:
            self.paused = not self.paused

    def rage(self, seconds: float) -> None:
        """Faults all the time, and in between kills at instants that nobody chose."""
        blows: list[tuple[float, Callable[[], None]]] = [
            (3.0, self.break_something),
            (1.0, self.kill_controller),
            (1.0, self.kill_agent),
            (1.0, self.kill_executor),
            (0.3, self.pause_or_resume),
        ]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            weights = [weight for weight, _ in blows]
            self.chance.choices([blow for _, blow in blows], weights)[0]()
            time.sleep(self.chance.uniform(0.0, 2.0))

    def left(self) -> str:
        """What is not over, in the product's own words: for whoever reads why the test failed."""
        ids = [i["id"] for i in self.fleet.incidents() if i["phase"] != "escalated"]
        told = [f"{each}: {self.fleet.ctl('explain', each)['headline']}" for each in ids]
        sick = sorted(f"{fault} on {host}" for fault, host in set(self.injected) if not self.fleet.well(fault, host))
        return "\n".join(["not over:", *told, "not well:", *sick])

    def _unit(self, incident_id: str) -> str:
        return str(self.fleet.story(incident_id)["finding"].get("unit", ""))

    def all_over(self) -> bool:
        """Every incident ended, and every fault is gone or in the hands of people."""
        try:
            incidents = self.fleet.incidents()
            escalated = [i for i in incidents if i["phase"] == "escalated"]
            given_up = {(i["host_name"], self._unit(i["id"]) or i["key"]) for i in escalated}
        except CommandFailed:
            return False
        waiting = (i for i in incidents if i["phase"] != "escalated")
        if any(i["phase"] != "held" or (i["host_name"], MOUNTS.get(i["key"], "")) not in given_up for i in waiting):
            return False
        return all(
            {(host, FAULTS[fault]), (host, MOUNTS.get(FAULTS[fault], ""))} & given_up or self.fleet.well(fault, host)
            for fault, host in set(self.injected)
        )


def tighten(fleet: Fleet, percent: int) -> None:
    """Gives the playbooks of the lab a fleet budget that bites."""
    folder = "/etc/fleetmend/rules/playbooks"
    fleet.shell("ctl", f"sed -i 's/percent: [0-9]*, at_most: 10/percent: {percent}, at_most: 10/' {folder}/*.yaml")
    fleet.run("ctl", "systemctl", "reload", "fleetmend-controller.service")


def test_whoever_is_killed_whenever_every_promise_is_kept(fleet: Fleet):
    first = fleet.journal()[-1].seq
    storm = Storm(fleet, random.Random(SEED))
    tighten(fleet, 67)
    try:
        storm.rage(CHAOS_S)
        if storm.paused:
            wait(lambda: fleet.tries("ctl", "fleetmend", "resume", "global").returncode == 0, "the pause to end", 60)
        try:
            wait(storm.all_over, "every fault to be healed or handed over", timeout_s=CALM_S, every_s=2.0)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{storm.left()}") from error
    finally:
        tighten(fleet, 100)
        fleet.repair()
    evidence = fleet.evidence(first)
    begun = list(evidence.records("begin"))
    print(f"\n{len(storm.injected)} faults, kills {storm.killed}, {len(evidence.orders)} orders, {len(begun)} begun")
    assert broken_promises(evidence) == []
    assert budgets_are_kept(evidence, HOSTS_AT_ONCE) == []
    assert begun, "nothing was healed: the test shows nothing"
    assert min(storm.killed.get(f"fleetmend-{part}.service", 0) for part in ("controller", "agent", "executor")) > 0
    fleet.rest(120)
