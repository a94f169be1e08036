"""Lost hosts, witnesses and the controller's own hands: the drawn worlds show all of it, and the story tells it."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

from fleetmend_controller.core.events import WitnessSaid
from fleetmend_controller.core.inquiry import CONTROLLER, Judgement

from .flaws import DYING
from .swarm import QUIET_EVERY, Swarm, of_seed
from .test_swarm import SEEDS
from .timeline import Timeline
from .world import World

ENOUGH = 3
TOLD = ("dies", "is asked about h-", "host_judged: dead", "people are asked for", "switched on by its board", "closed: healed")
DEADLY = replace(Swarm(1, 1, 1, 1), **dict(DYING))


def with_deaths(seed: int) -> bool:
    """Whether the world of a seed has hosts that die, and enough that could be asked."""
    drawn = of_seed(seed, random.Random(seed))
    return bool(drawn.death_every_ms) and drawn.hosts > ENOUGH


def test_a_host_that_dies_is_judged_and_cycled_by_leave():
    timeline = Timeline(lines_max=100_000)
    world = World(1, swarm=DEADLY, timeline=timeline)
    world.run()
    assert world.checker.lost.cycles >= ENOUGH
    text = timeline.shown()
    for part in TOLD:
        assert part in text, part


def test_the_drawn_worlds_show_every_verdict_and_every_deed():
    """A simulation in which that never happens proves nothing about it."""
    seen: Counter[str] = Counter()
    wanted = {verdict.value for verdict in Judgement} | {"cycle", "reboot", "drain", "agent witness", "controller"}
    for seed in range(SEEDS):
        if seed % QUIET_EVERY == QUIET_EVERY - 1 or not with_deaths(seed):
            continue
        world = World(seed)
        world.run()
        lost = world.checker.lost
        seen.update({"cycle": lost.cycles, "reboot": len(lost.reboots), "drain": len(world.checker.books.drains)})
        seen.update(world.checker.books.verdicts)
        for event in world.brain.memory.journal:
            if isinstance(event, WitnessSaid):
                seen["controller" if event.witness == CONTROLLER else "agent witness"] += 1
        if all(seen[each] >= ENOUGH for each in wanted):
            return
    raise AssertionError(f"of {sorted(wanted)} the seeds show {dict(seen)}")
