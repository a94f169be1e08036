"""Seeds through the whole world. `make sim SEEDS=20000` for a night, `make sim SEED=7` replays one."""

from __future__ import annotations

import os

import pytest

from .world import World

SEEDS = int(os.environ.get("SEEDS", "100"))
ONE = os.environ.get("SEED")
CHUNK = 20


def chunks() -> list[range]:
    """Seeds in bundles, so that they spread over processes."""
    if ONE is not None:
        return [range(int(ONE), int(ONE) + 1)]
    return [range(first, min(first + CHUNK, SEEDS)) for first in range(0, SEEDS, CHUNK)]


@pytest.mark.parametrize("seeds", chunks(), ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
def test_every_promise_holds_in_every_seed(seeds: range):
    healed = healed_alone = 0
    for seed in seeds:
        world = World(seed)
        world.run()
        healed += world.checker.books.healed
        healed_alone += world.checker.books.healed_alone
    assert healed_alone or ONE is not None, "a bundle of seeds in which no host healed alone proves nothing about permits"
    assert healed or ONE is not None, "a bundle of seeds in which nothing was healed proves nothing"
