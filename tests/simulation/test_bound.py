"""The bound of the calm follows from the rules, and whatever takes longer says what it waits for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetmend_controller.core.lost import WAIT_AFTER_START_MS, WAIT_MS
from fleetmend_controller.core.model import Attempts
from fleetmend_controller.core.orders import DRAIN_MS_MAX
from fleetmend_controller.core.storms import PAGE_WAIT_MS

from .bound import back_off_ms, liveness_ms, playbook_ms, storm_ms, try_ms, waits_for
from .checker import Violation
from .policies import CYCLE, RESTART, policies
from .swarm import Swarm
from .world import World

POLICIES = policies("", Swarm(3, 1, 60_000, 10_000, storms=True))
BOOK = POLICIES[1].playbooks[1]


def test_the_bound_grows_with_each_limit_that_it_is_made_of():
    policy, base = POLICIES[1], playbook_ms(POLICIES[1], BOOK)
    attempts = BOOK.limits.attempts
    slower = replace(BOOK.limits, attempts=replace(attempts, backoff_ms=10 * attempts.backoff_ms))
    for longer in (
        replace(BOOK, for_ms=BOOK.for_ms + 60_000),
        replace(BOOK, limits=slower),
        replace(BOOK, steps=(*BOOK.steps, *BOOK.steps)),
        replace(BOOK, approval=replace(BOOK.approval, within_ms=10 * BOOK.approval.within_ms)),
    ):
        assert playbook_ms(policy, longer) > base
    for patient in (replace(policy, stuck_ms=2 * policy.stuck_ms), replace(policy, order_ttl_ms=2 * policy.order_ttl_ms)):
        assert playbook_ms(patient, BOOK) > base
    assert liveness_ms(POLICIES, 60_000, 0) == liveness_ms(POLICIES, 0, 0) + 60_000


def test_draining_and_witnesses_take_their_time():
    assert try_ms(POLICIES[1], BOOK, replace(RESTART, drain=True)) >= try_ms(POLICIES[1], BOOK, RESTART) + DRAIN_MS_MAX
    as_if_not = replace(CYCLE, action="restart_unit")
    assert try_ms(POLICIES[1], BOOK, CYCLE) >= try_ms(POLICIES[1], BOOK, as_if_not) + WAIT_AFTER_START_MS + 2 * WAIT_MS


def test_the_pauses_are_the_longest_that_a_few_tries_can_meet():
    attempts = Attempts(max=5, window_ms=3_600_000, backoff_ms=1_000, factor=3)
    assert back_off_ms(attempts, 1) == 27_000
    assert back_off_ms(attempts, 2) == 36_000
    assert back_off_ms(attempts, 99) == 40_000


def test_a_storm_is_over_when_its_window_was_quiet():
    policy = POLICIES[0]
    assert storm_ms(policy) >= policy.storm.within_ms + PAGE_WAIT_MS
    assert try_ms(policy, BOOK, BOOK.steps[0]) > policy.stuck_ms


def test_what_never_ends_says_what_it_waits_for():
    """Timers that nobody sets: the executor died with the order, and nobody ever gives it up."""
    world = World(1, flaw="timers_lost", swarm=Swarm(1, 1, 60_000, 10_000, executor_crash=1.0))
    with pytest.raises(Violation) as found:
        world.run()
    (line,) = waits_for(world.brain.fleet)
    assert line in str(found.value)
    assert "is running since" in line
    assert "ord-1-1 is out" in line
    assert "wakes" in line
