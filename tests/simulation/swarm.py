"""Which kinds of trouble exist in one seed's world. Each seed draws a different mix, so that rare combinations meet.

Three kinds of worlds: small busy ones, where much goes wrong at once, large quiet ones, as real fleets are, and smallest ones,
whose processes are the product's own (worlds.py says which seed has which).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
# One seed in so many is a large quiet world.
QUIET_EVERY = 10
# Faults of one world: what more would show is in the next seed.
FAULTS_MAX = 250


@dataclass(frozen=True, slots=True)
class Swarm:
    """The dangers of one world. Probabilities are for one message, action or question; `*_every_ms` are mean times, 0: never.

    `dies`: where the controller dies at all, also at so many of its decisions, before or after it wrote them down. With so many
    orders (`stands_still`) it only seems to: it sends them when another one is in charge already.

    Faults, partitions, reboots, crashes of agents and full disks come in that mean time to each host, the rest to the fleet as
    a whole. `rules` is the version of the playbooks that is in force first. `alone`: hosts may heal while no controller can be
    asked, by permits that last for `permit_ttl_ms`. `alerts`: Prometheus watches, too; `take_every_ms`: people take incidents.
    `real`: agents, executors and controller are the product's own; `confirm`: their checks need two results in a row.

    Hosts die for good, lose their agents for long and become islands in those mean times to each host. `shy` is how often a
    witness says nothing, `misled` how often it does not reach what is there. The controller acts by boards and hooks.
    """

    hosts: int
    units: int
    duration_ms: int
    fault_every_ms: int
    flap: float = 0.0
    cursed: float = 0.0
    action_fails: float = 0.0
    half_heals: float = 0.0
    action_ms: int = 2_000
    loss: float = 0.0
    doubled: float = 0.0
    delay_ms: int = 50
    dies: float = 0.01
    stands_still: float = 0.03
    partition_every_ms: int = 0
    controller_crash_every_ms: int = 0
    agent_crash_every_ms: int = 0
    executor_crash: float = 0.0
    reboot_every_ms: int = 0
    pause_every_ms: int = 0
    reload_every_ms: int = 0
    run_every_ms: int = 0
    unknown: float = 0.0
    missed: float = 0.0
    drift_ppm: int = 0
    window_every_ms: int = 0
    presence_every_ms: int = 0
    cut_every_ms: int = 0
    release_every_ms: int = 0
    wall_step_every_ms: int = 0
    stall_every_ms: int = 0
    journal_full_every_ms: int = 0
    disk_full_every_ms: int = 0
    mass_fault: bool = False
    clock_step: bool = False
    storms: bool = False
    rules: int = 0
    confirm: bool = False
    real: bool = False
    quiet: bool = False
    alone: bool = False
    permit_ttl_ms: int = HOUR_MS
    alerts: bool = False
    alerts_name_units: bool = False
    take_every_ms: int = 0
    cut_off_every_ms: int = 0
    death_every_ms: int = 0
    agent_death_every_ms: int = 0
    island_every_ms: int = 0
    shy: float = 0.0
    misled: float = 0.0
    board_fails: float = 0.0
    board_slow: float = 0.0
    hook_fails: float = 0.0


def draw(rng: random.Random) -> Swarm:
    """A small busy world. Every danger is absent in about half of them."""

    def maybe(value: float) -> float:
        return value if rng.random() < 0.5 else 0.0

    def sometimes(low: int, high: int) -> int:
        return rng.randint(low, high) if rng.random() < 0.5 else 0

    swarm = Swarm(
        hosts=rng.choice((1, 3, 8, 20)),
        units=rng.choice((1, 3)),
        duration_ms=rng.choice((600_000, 1_800_000, 7_200_000)),
        fault_every_ms=rng.choice((20_000, 120_000, 600_000)),
        flap=maybe(0.3),
        cursed=maybe(0.2),
        action_fails=maybe(0.3),
        action_ms=rng.choice((50, 2_000, 20_000)),
        loss=maybe(0.2),
        doubled=maybe(0.3),
        delay_ms=rng.choice((1, 50, 3_000)),
        partition_every_ms=sometimes(60_000, 600_000),
        controller_crash_every_ms=sometimes(20_000, 300_000),
        agent_crash_every_ms=sometimes(60_000, 600_000),
        executor_crash=maybe(0.2),
        reboot_every_ms=sometimes(200_000, 900_000),
        pause_every_ms=sometimes(100_000, 600_000),
        reload_every_ms=sometimes(100_000, 600_000),
        run_every_ms=sometimes(60_000, 600_000),
        unknown=maybe(0.1),
        missed=maybe(0.2),
        half_heals=maybe(0.4),
        dies=rng.choice((0.003, 0.01, 0.05)),
        drift_ppm=int(maybe(200)),
        window_every_ms=sometimes(100_000, 900_000),
        presence_every_ms=sometimes(60_000, 600_000),
        cut_every_ms=sometimes(300_000, 1_800_000),
        release_every_ms=sometimes(300_000, 1_800_000),
        wall_step_every_ms=sometimes(200_000, 1_200_000),
        stall_every_ms=sometimes(200_000, 1_200_000),
        journal_full_every_ms=sometimes(200_000, 1_200_000),
        disk_full_every_ms=sometimes(300_000, 1_200_000),
        mass_fault=rng.random() < 0.2,
        clock_step=rng.random() < 0.3,
        storms=rng.random() < 0.3,
        rules=rng.randrange(4),
        alone=rng.random() < 0.5,
        # Short ones are outlasted by a host that is cut off.
        permit_ttl_ms=rng.choice((300_000, HOUR_MS, HOUR_MS)),
        alerts=rng.random() < 0.4,
        alerts_name_units=rng.random() < 0.5,
        take_every_ms=sometimes(20_000, 200_000),
        cut_off_every_ms=sometimes(60_000, 600_000),
    )
    return replace(swarm, duration_ms=min(swarm.duration_ms, FAULTS_MAX * swarm.fault_every_ms // swarm.hosts))


def draw_quiet(rng: random.Random) -> Swarm:
    """A large fleet over days: a fault a host in one to four weeks, now and then a crash, a partition, a person."""
    return Swarm(
        hosts=rng.choice((200, 300, 500)),
        units=rng.choice((1, 3)),
        duration_ms=rng.choice((1, 2, 3)) * DAY_MS,
        fault_every_ms=rng.randint(7, 28) * DAY_MS,
        flap=0.05,
        cursed=0.05,
        action_fails=0.05,
        dies=0.0001,
        action_ms=rng.choice((2_000, 20_000)),
        loss=0.001,
        doubled=0.001,
        delay_ms=50,
        partition_every_ms=14 * DAY_MS,
        controller_crash_every_ms=DAY_MS,
        agent_crash_every_ms=30 * DAY_MS,
        executor_crash=0.01,
        reboot_every_ms=30 * DAY_MS,
        pause_every_ms=12 * HOUR_MS,
        reload_every_ms=DAY_MS,
        run_every_ms=8 * HOUR_MS,
        unknown=0.01,
        missed=0.01,
        half_heals=0.02,
        drift_ppm=50,
        window_every_ms=12 * HOUR_MS,
        presence_every_ms=4 * HOUR_MS,
        cut_every_ms=2 * DAY_MS,
        release_every_ms=2 * DAY_MS,
        wall_step_every_ms=3 * DAY_MS,
        stall_every_ms=DAY_MS,
        journal_full_every_ms=3 * DAY_MS,
        disk_full_every_ms=60 * DAY_MS,
        mass_fault=rng.random() < 0.5,
        clock_step=rng.random() < 0.3,
        storms=True,
        rules=rng.randrange(4),
        quiet=True,
        alone=rng.random() < 0.3,
        permit_ttl_ms=DAY_MS,
        alerts=rng.random() < 0.5,
        alerts_name_units=rng.random() < 0.5,
        take_every_ms=6 * HOUR_MS,
        cut_off_every_ms=12 * HOUR_MS,
    )


def draw_real(rng: random.Random) -> Swarm:
    """A few hosts whose agents, executors and controller are the product's own, for some minutes of much trouble."""
    swarm = draw(rng)
    return replace(
        swarm,
        hosts=rng.choice((1, 2, 3)),
        units=rng.choice((1, 2)),
        duration_ms=rng.choice((300_000, 600_000)),
        fault_every_ms=rng.choice((40_000, 120_000)),
        delay_ms=rng.choice((1, 50, 1_000)),
        flap=0.0,
        controller_crash_every_ms=rng.choice((0, 60_000, 200_000)),
        agent_crash_every_ms=rng.choice((0, 60_000, 200_000)),
        reboot_every_ms=rng.choice((0, 200_000, 600_000)),
        disk_full_every_ms=rng.choice((0, 100_000, 400_000)),
        journal_full_every_ms=rng.choice((0, 100_000, 400_000)),
        stall_every_ms=0,
        release_every_ms=0,
        mass_fault=False,
        storms=False,
        alone=False,
        alerts=False,
        cut_off_every_ms=0,
        confirm=rng.random() < 0.5,
        real=True,
    )


def with_neighbours(swarm: Swarm, rng: random.Random) -> Swarm:
    """What hosts are to each other, and the controller's own hands; drawn apart, so that all else of a seed stays as it was."""
    days = 10 * DAY_MS

    def sometimes(low: int, high: int) -> int:
        return 0 if rng.random() < 0.5 else days if swarm.quiet else rng.randint(low, high)

    return replace(
        swarm,
        death_every_ms=sometimes(600_000, 3_600_000),
        agent_death_every_ms=sometimes(600_000, 3_600_000),
        island_every_ms=sometimes(300_000, 1_800_000),
        shy=rng.choice((0.0, 0.2, 0.6)),
        misled=rng.choice((0.0, 0.0, 0.2)),
        board_fails=rng.choice((0.0, 0.3)),
        board_slow=rng.choice((0.0, 0.2)),
        hook_fails=rng.choice((0.0, 0.3, 0.6)),
    )


def of_seed(seed: int, rng: random.Random) -> Swarm:
    """The dangers of a seed whose processes are simulated, too."""
    drawn = draw_quiet(rng) if seed % QUIET_EVERY == QUIET_EVERY - 1 else draw(rng)
    return with_neighbours(drawn, random.Random(f"dangers among neighbours {seed}"))
