"""How many host-hours a second of CPU the simulation gets through, over the seeds of the commit check. The promise: 1,000."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tests.simulation.test_swarm import kind_of
from tests.simulation.world import World

# Every tenth of the standard seeds' kinds is in these in the same share as in all of them.
SEEDS = 100
HOST_HOURS_A_SECOND_MIN = 1_000
HOUR_MS = 3_600_000


@dataclass(slots=True)
class Spent:
    """What worlds of one kind took, and what they were worth. `faulty` are the host-hours in which things go wrong."""

    seeds: int = 0
    hours: float = 0.0
    faulty: float = 0.0
    cpu_s: float = 0.0
    events: int = 0

    def add(self, other: Spent) -> None:
        """Both together."""
        self.seeds += other.seeds
        self.hours += other.hours
        self.faulty += other.faulty
        self.cpu_s += other.cpu_s
        self.events += other.events

    def row(self, name: str) -> str:
        """One line of the table."""
        rate, faulty = self.hours / self.cpu_s, self.faulty / self.cpu_s
        share = 100 * self.faulty / self.hours
        return (
            f"{name:>8} {self.seeds:>6} {self.hours:>11.0f} {share:>13.0f} % {self.cpu_s:>7.1f} {rate:>13.0f} {faulty:>13.0f}"
            f" {self.events / self.cpu_s:>9.0f}"
        )


def run(seed: int) -> Spent:
    """One seed."""
    begun_s = time.process_time()
    world = World(seed)
    begun_ms = world.time.now_ms
    world.run()
    hours = world.swarm.hosts * (world.time.now_ms - begun_ms) / HOUR_MS
    faulty = world.swarm.hosts * world.swarm.duration_ms / HOUR_MS
    return Spent(1, hours, faulty, time.process_time() - begun_s, world.checker.books.events)


def test_host_hours_a_second():
    kinds: dict[str, Spent] = {}
    for seed in range(SEEDS):
        kinds.setdefault(kind_of(seed), Spent()).add(run(seed))
    total = Spent()
    print(f"simulation: the first {SEEDS} seeds")
    print(f"{'worlds':>8} {'seeds':>6} {'host-hours':>11} {'under faults':>15} {'CPU s':>7} {'host-hours/s':>13} ", end="")
    print(f"{'of faults/s':>13} {'events/s':>9}")
    for name, spent in kinds.items():
        print(spent.row(name))
        total.add(spent)
    print(total.row("all"))
    assert total.faulty / total.cpu_s >= HOST_HOURS_A_SECOND_MIN
