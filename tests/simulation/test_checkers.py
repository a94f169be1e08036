"""The watchers are watched: each broken world must be caught."""

from __future__ import annotations

import pytest

from fleetmend_controller.core.transitions import IllegalTransition

from .checker import Violation
from .flaws import FLAWS, Flaw, broken_by
from .world import World

SEEDS_MAX = 150


@pytest.mark.parametrize("flaw", FLAWS, ids=lambda flaw: flaw.name)
def test_a_broken_world_is_caught(flaw: Flaw):
    for seed in range(SEEDS_MAX):
        try:
            with broken_by(flaw):
                World(seed, flaw.world).run()
        except (Violation, IllegalTransition, KeyError):
            return
    pytest.fail(f"{flaw.name} ({flaw.what}) passes all of {SEEDS_MAX} seeds")
