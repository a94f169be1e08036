"""Names by content what seeds do: `python -m tests.simulation.trace SEED...` prints a line for each."""

from __future__ import annotations

import hashlib
import sys

from .timeline import Timeline
from .world import World


def digest(seed: int) -> str:
    """Of the journal, and of everything that the timeline tells: events, reasons, effects, what hosts did, crashes."""
    told = hashlib.sha256()
    world = World(seed, timeline=Timeline(lambda line: told.update(line.encode() + b"\n")))
    world.run()
    return f"{seed} {world.brain.memory.digest()} {told.hexdigest()}"


if __name__ == "__main__":
    for each in sys.argv[1:]:
        print(digest(int(each)))
