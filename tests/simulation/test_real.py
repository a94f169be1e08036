"""Worlds of the product's own processes: they are drawn, much befalls them, and broken executors in them are caught."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from fleetmend_agent.agent import Agent
from fleetmend_controller.core.events import Approve, Event, EvidenceConfirmed, Observed, OrderStarted
from fleetmend_controller.core.model import Status
from fleetmend_controller.decider.loop import Decider
from fleetmend_controller.gateway.link_service import LinkService
from fleetmend_executor.orders import Desk

from .checker import Violation
from .flaws import IN_THE_EXECUTOR, Flaw
from .nature import Impossible
from .real.world import RealWorld
from .swarm import Swarm
from .timeline import Timeline
from .worlds import REAL_EVERY, kind_of, real_swarm, world_of

SEEDS_MAX = 250
REAL_SEEDS = [seed for seed in range(SEEDS_MAX) if kind_of(seed) == "real"]
# What they must show, in the words of the timeline.
BEFALLS = (
    "controller dies before commit",
    "controller dies after commit",
    "controller dies between effects",
    "a decider that stood still sends",
    "agent dies",
    "executor dies before it takes",
    "executor dies after the effect",
    "goes off",
    "is cut off",
    "h-0 disk is full",
    "the controller's disk is full",
    "closed: healed",
    "closed: healed_by_person",
    "closed: went_away",
)
QUIET = Swarm(1, 1, 60_000, fault_every_ms=10**9, real=True)
# In the middle of it.
NOW_MS = 30_000


def test_one_seed_in_ten_is_such_a_world():
    assert len(REAL_SEEDS) == SEEDS_MAX // REAL_EVERY


def test_their_processes_are_the_products_own():
    world = RealWorld(REAL_SEEDS[0], swarm=QUIET)
    seen: list[bool] = []

    def look() -> None:
        machine, life = world.everyone[0], world.brain.current
        parts = ((machine.agent, Agent), (machine.executor.desk, Desk), (life.decider, Decider), (life.service, LinkService))
        seen.extend(isinstance(part, kind) for part, kind in parts)

    world.time.after(NOW_MS, look)
    world.run()
    assert seen == [True] * 4


def test_much_befalls_them():
    missing = BEFALLS
    for seed in REAL_SEEDS:
        timeline = Timeline(lines_max=100_000)
        world_of(seed, timeline).run()
        text = timeline.shown()
        missing = tuple(part for part in missing if part not in text)
        if not missing:
            return
    pytest.fail(f"nowhere in {len(REAL_SEEDS)} seeds: {missing}")


@pytest.mark.parametrize("flaw", IN_THE_EXECUTOR, ids=lambda flaw: flaw.name)
def test_a_broken_executor_is_caught(flaw: Flaw):
    for seed in REAL_SEEDS:
        swarm = replace(real_swarm(seed), **dict(flaw.swarm))
        try:
            RealWorld(seed, flaw.world, swarm).run()
        except Violation:
            # It is the flaw that is caught, not the dangers under which it shows.
            RealWorld(seed, swarm=swarm).run()
            return
    pytest.fail(f"{flaw.name} ({flaw.what}) passes all of {len(REAL_SEEDS)} seeds")


def untrue(world: RealWorld) -> Iterator[Event]:
    """What no agent and no person said."""
    now_ms, boot, unit = world.brain.now_ms(), world.everyone[0].boot, "u0.service"
    yield Observed(now_ms, "h-0", "unit_failed", "unit_failed", unit, Status.CRIT, {}, "", boot, 1_000, 2_000)
    yield EvidenceConfirmed(now_ms, "h-0", "unit_failed", unit, boot, 1_000, 2_000)
    yield OrderStarted(now_ms, "h-0", "ord-1-1", "box", 1)
    yield Approve(now_ms, "ord-1-1", "ann", "x")


@pytest.mark.parametrize("number", range(4))
def test_what_cannot_be_is_refused_here_too(number: int):
    world = RealWorld(REAL_SEEDS[0], swarm=QUIET)
    world.time.after(NOW_MS, lambda: world.brain.take([list(untrue(world))[number]]))
    with pytest.raises(Impossible):
        world.run()
