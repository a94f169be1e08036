"""Hosts that heal alone, and alerts from outside: the drawn worlds show them, and what they do is in the story."""

from __future__ import annotations

from fleetmend_controller.core.events import AlertSaid

from .swarm import QUIET_EVERY, Swarm
from .test_swarm import SEEDS
from .timeline import Timeline
from .world import World

ENOUGH = 3
CUT_OFF = Swarm(3, 1, 1_800_000, fault_every_ms=200_000, cut_off_every_ms=120_000, alone=True, rules=2)


def test_the_drawn_worlds_show_hosts_that_heal_alone_and_alerts_that_become_incidents():
    """A simulation in which that never happens proves nothing about it."""
    alone = alerts = 0
    for seed in range(SEEDS):
        if seed % QUIET_EVERY == QUIET_EVERY - 1:
            continue
        world = World(seed)
        if not (world.swarm.alone and world.swarm.cut_off_every_ms and world.swarm.alerts):
            continue
        world.run()
        alone += world.checker.books.healed_alone
        alerts += sum(1 for event in world.brain.memory.journal if isinstance(event, AlertSaid))
        if alone >= ENOUGH and alerts >= ENOUGH:
            return
    raise AssertionError(f"{alone} repairs alone and {alerts} alerts in {SEEDS} seeds")


def test_a_host_that_is_cut_off_heals_itself_and_tells_of_it():
    timeline = Timeline(lines_max=100_000)
    world = World(1, swarm=CUT_OFF, timeline=timeline)
    world.run()
    assert world.checker.books.healed_alone >= ENOUGH
    assert set(world.checker.hands.uses) == set(world.checker.hands.spent)
    text = timeline.shown()
    for part in ("is cut off", "uses permit-h-", "PermitUsed host=h-", "closed: healed_alone"):
        assert part in text, part


def test_without_leave_nothing_is_done_alone():
    world = World(1, swarm=Swarm(3, 1, 1_800_000, fault_every_ms=200_000, cut_off_every_ms=120_000, rules=2))
    world.run()
    assert not world.checker.hands.uses
