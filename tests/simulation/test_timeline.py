"""Whoever must understand a seed gets its story: times, events, reasons, orders, crashes; bounded, and the same each time."""

from __future__ import annotations

from .swarm import Swarm
from .test_swarm import timeline_of
from .timeline import Timeline
from .world import World

SWARM = Swarm(3, 1, 600_000, fault_every_ms=60_000, controller_crash_every_ms=60_000, agent_crash_every_ms=120_000)
STORY = (
    "breaks",
    "Observed host=",
    "fault_seen",
    "allowed by",
    "order ord-",
    "begins ord-",
    "closed: healed",
    "controller dies",
)


def told(lines_max: int) -> Timeline:
    timeline = Timeline(lines_max=lines_max)
    World(1, swarm=SWARM, timeline=timeline).run()
    return timeline


def test_a_timeline_names_faults_events_reasons_orders_and_crashes():
    text = told(100_000).shown()
    for part in (*STORY, "agent dies"):
        assert part in text, part
    times = [line.split()[0] for line in text.splitlines()]
    assert times == sorted(times)


def test_a_timeline_is_bounded_and_says_what_it_left_out():
    timeline = told(20)
    lines = timeline.shown().splitlines()
    assert len(lines) == 21
    assert lines[0] == f"({timeline.count - 20} earlier lines left out)"


def test_watching_a_seed_changes_nothing():
    quiet = World(1, swarm=SWARM)
    quiet.run()
    watched = World(1, swarm=SWARM, timeline=Timeline())
    watched.run()
    assert quiet.brain.memory.digest() == watched.brain.memory.digest()


def test_a_seed_can_be_told_again():
    assert timeline_of(3) == timeline_of(3)
