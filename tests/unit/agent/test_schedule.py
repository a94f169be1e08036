"""When things run, on a clock that the test turns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmend_agent.schedule import Schedule


def run_until(schedule: Schedule, now: int, end: int) -> list[tuple[int, str]]:
    """Everything that runs up to `end` if the clock is always looked at in time."""
    ran = []
    while (due := schedule.next_due_ms()) is not None and due <= end:
        now = max(now, due)
        ran += [(now, name) for name in schedule.due(now)]
    return ran


def test_the_first_run_is_when_asked_and_then_the_interval_is_steady():
    schedule = Schedule(phase_ms=300)
    schedule.add("a", 1000, now_ms=10_000, first_in_ms=50)
    assert [at for at, _ in run_until(schedule, 10_000, 14_000)] == [10_050, 10_300, 11_300, 12_300, 13_300]


def test_checks_of_one_interval_fall_on_one_instant_and_multiples_meet():
    schedule = Schedule(phase_ms=7_777)
    for name, every in (("a", 10_000), ("b", 10_000), ("c", 30_000)):
        schedule.add(name, every, now_ms=0)
    instants = {at for at, _ in run_until(schedule, 0, 120_000)}
    assert len(instants) == 12


def test_slots_missed_while_asleep_are_skipped():
    schedule = Schedule(phase_ms=0)
    schedule.add("a", 1000, now_ms=0)
    assert schedule.due(9_500) == ["a"]
    assert schedule.next_due_ms() == 10_000


def test_an_entry_can_be_replaced_and_removed():
    schedule = Schedule(phase_ms=0)
    schedule.add("a", 1000, now_ms=0)
    schedule.add("a", 5000, now_ms=0)
    assert schedule.next_due_ms() == 5000
    schedule.remove("a")
    schedule.remove("a")
    assert schedule.next_due_ms() is None
    assert schedule.due(1 << 40) == []


def test_an_interval_of_nothing_is_refused():
    with pytest.raises(ValueError, match="cannot schedule"):
        Schedule(0).add("a", 0, now_ms=0)


@given(
    phase=st.integers(0, 1 << 30),
    every=st.integers(1, 100_000),
    start=st.integers(0, 1 << 40),
    lates=st.lists(st.integers(0, 500_000), min_size=1, max_size=20),
)
def test_slots_stay_on_the_grid_however_late_the_clock_is_looked_at(phase, every, start, lates):
    schedule = Schedule(phase)
    schedule.add("a", every, now_ms=start)
    now = start
    for late in lates:
        due = schedule.next_due_ms()
        assert now < due <= now + every
        assert (due - phase) % every == 0
        now = due + late
        assert schedule.due(now) == ["a"]
