"""The watchers are watched: each broken world must be caught, by a watcher, in the worlds of the standard seeds."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from .checker import Violation
from .flaws import FLAWS, Flaw, broken_by
from .policies import GATES
from .swarm import QUIET_EVERY, of_seed
from .watch import lost
from .watch.gates import WATCHES
from .world import World

SEEDS_MAX = 100
# The large quiet worlds show no flaw that the busy ones do not show in a hundredth of the time.
SEEDS = [seed for seed in range(SEEDS_MAX) if seed % QUIET_EVERY != QUIET_EVERY - 1]


@pytest.mark.parametrize("flaw", FLAWS, ids=lambda flaw: flaw.name)
def test_a_broken_world_is_caught(flaw: Flaw):
    for seed in SEEDS:
        drawn = replace(of_seed(seed, random.Random(seed)), **dict(flaw.swarm))
        if flaw.needs and not getattr(drawn, flaw.needs):
            continue
        try:
            with broken_by(flaw):
                World(seed, flaw.world, drawn if flaw.swarm else None).run()
        except Violation:
            return
    pytest.fail(f"{flaw.name} ({flaw.what}) passes all of {len(SEEDS)} seeds")


def test_every_gate_has_its_watch_and_its_flaw():
    names = {gate.name for gate in GATES}
    assert set(WATCHES) == names
    assert {flaw.world.removeprefix("gate:") for flaw in FLAWS if flaw.world.startswith("gate:")} == names


def test_every_promise_about_lost_hosts_has_its_flaw():
    assert {flaw.watch for flaw in FLAWS if flaw.watch} == set(lost.WATCHES)


def test_few_flaws_need_worlds_of_their_own_and_say_why():
    doctored = [flaw for flaw in FLAWS if flaw.swarm]
    assert len(doctored) <= len(FLAWS) // 6
    assert all(flaw.why for flaw in doctored)
