"""The watchers are watched: each broken world must be caught."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from fleetmend_controller.core.transitions import IllegalTransition

from .checker import Violation
from .flaws import FLAWS, Flaw, broken_by
from .swarm import draw
from .world import World

SEEDS_MAX = 60


@pytest.mark.parametrize("flaw", FLAWS, ids=lambda flaw: flaw.name)
def test_a_broken_world_is_caught(flaw: Flaw):
    for seed in range(SEEDS_MAX):
        try:
            drawn = replace(draw(random.Random(seed)), **dict(flaw.swarm))
            with broken_by(flaw):
                World(seed, flaw.world, drawn, flaw.near).run()
        except (Violation, IllegalTransition, KeyError):
            return
    pytest.fail(f"{flaw.name} ({flaw.what}) passes all of {SEEDS_MAX} seeds")
