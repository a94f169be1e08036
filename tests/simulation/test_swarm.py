"""Seeds through the whole world. `make sim SEEDS=20000` for a night, `make sim SEED=7` replays one and prints its timeline."""

from __future__ import annotations

import os

import pytest

from .checker import Violation
from .nature import Impossible
from .swarm import QUIET_EVERY
from .timeline import Timeline
from .world import World

SEEDS = int(os.environ.get("SEEDS") or "250")
ONE = os.environ.get("SEED")
CHUNK = 10
# A failing seed shows its end, one that was asked for all of it.
LINES_MAX = 300


def chunks() -> list[range]:
    """Seeds in bundles, so that they spread over processes."""
    if ONE:
        return [range(int(ONE), int(ONE) + 1)]
    return [range(first, min(first + CHUNK, SEEDS)) for first in range(0, SEEDS, CHUNK)]


def kind_of(seed: int) -> str:
    """Which kind of world a seed draws."""
    return "quiet" if seed % QUIET_EVERY == QUIET_EVERY - 1 else "busy"


def timeline_of(seed: int) -> str:
    """The same run again, with its timeline written: only failures pay for it."""
    timeline = Timeline(lines_max=LINES_MAX)
    try:
        World(seed, timeline=timeline).run()
    except AssertionError as error:
        timeline.lines.append(str(error))
    return timeline.shown()


@pytest.mark.parametrize("seeds", chunks(), ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
def test_every_promise_holds_in_every_seed(seeds: range):
    healed = 0
    for seed in seeds:
        world = World(seed, timeline=Timeline(print) if ONE else None)
        try:
            world.run()
        except (Violation, Impossible) as error:
            pytest.fail(f"{error}\n{timeline_of(seed)}" if not ONE else str(error), pytrace=False)
        healed += world.checker.books.healed
    assert healed or ONE, "a bundle of seeds in which nothing was healed proves nothing"
