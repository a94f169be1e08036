"""Which world a seed has: a small busy one, a large quiet one, or one of the product's own processes."""

from __future__ import annotations

import random

from .real.world import RealWorld
from .swarm import Swarm, draw_real, of_seed
from .timeline import Timeline
from .world import World

# One seed in so many is a world of the product's own processes.
REAL_EVERY = 10


def kind_of(seed: int) -> str:
    """In one word."""
    if seed % REAL_EVERY == 0:
        return "real"
    return "quiet" if of_seed(seed, random.Random(seed)).quiet else "busy"


def world_of(seed: int, timeline: Timeline | None = None) -> World:
    """The world of a seed, ready to run."""
    if kind_of(seed) == "real":
        return RealWorld(seed, swarm=real_swarm(seed), timeline=timeline)
    return World(seed, timeline=timeline)


def real_swarm(seed: int) -> Swarm:
    """The dangers of a seed whose processes are the product's own."""
    return draw_real(random.Random(seed))
