"""Which kinds of trouble exist in one seed's world. Each seed draws a different mix, so that rare combinations meet."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Swarm:
    """The dangers of one world. Probabilities are for one message or one action; `*_every_ms` are mean times, 0 for never."""

    hosts: int
    units: int
    duration_ms: int
    fault_every_ms: int
    flap: float
    cursed: float
    action_fails: float
    action_ms: int
    loss: float
    doubled: float
    delay_ms: int
    partition_every_ms: int
    controller_crash_every_ms: int
    agent_crash_every_ms: int
    executor_crash: float
    reboot_every_ms: int
    pause_every_ms: int
    reload_every_ms: int
    run_every_ms: int
    unknown: float
    mass_fault: bool
    clock_step: bool
    storms: bool
    approvals: bool


def draw(rng: random.Random) -> Swarm:
    """A mix for one seed. Every danger is absent in about half of the worlds."""

    def maybe(value: float) -> float:
        return value if rng.random() < 0.5 else 0.0

    def sometimes(low: int, high: int) -> int:
        return rng.randint(low, high) if rng.random() < 0.5 else 0

    return Swarm(
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
        mass_fault=rng.random() < 0.2,
        clock_step=rng.random() < 0.3,
        storms=rng.random() < 0.4,
        approvals=rng.random() < 0.3,
    )
