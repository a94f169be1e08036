"""A controller that stood still, whose clock jumped or whose journal was out does nothing until hosts are heard afresh."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from fleetmend_controller.clock import Clock
from fleetmend_controller.core.model import Phase
from fleetmend_controller.decider import doubt, loop
from fleetmend_controller.decider.doubt import Cause, SelfWatch
from fleetmend_controller.decider.ports import JournalUnavailable
from fleetmend_controller.store.engine import StoreUnavailable

from .test_decider import Running, run


class Time:
    """Wall and monotonic clock, in nanoseconds, as a test wants them."""

    def __init__(self) -> None:
        self.wall_ns = 1_000_000 * 10**9
        self.monotonic_ns = 50 * 10**9
        self.clock = Clock(lambda: self.wall_ns, lambda: self.monotonic_ns)

    def pass_s(self, seconds: float) -> None:
        self.monotonic_ns += int(seconds * 10**9)
        self.wall_ns += int(seconds * 10**9)


def watch(of: Time) -> SelfWatch:
    watching = SelfWatch(of.clock.now_ms, of.clock.wall_ahead_ms)
    assert watching.look() == []
    return watching


def causes(watching: SelfWatch) -> list[Cause]:
    return [found.cause for found in watching.look()]


def test_the_clock_never_steps_back():
    of = Time()
    before = of.clock.now_ms()
    of.wall_ns -= 3_600 * 10**9
    of.monotonic_ns += 5_000_000
    assert of.clock.now_ms() == before + 5
    assert of.clock.wall_ahead_ms() == -3_600_005


def test_the_clock_goes_on_from_the_newest_time_of_the_journal():
    of = Time()
    assert of.clock.never_before(of.clock.now_ms() - 1) == 0
    newest = of.clock.now_ms() + 7_000
    assert of.clock.never_before(newest) == 7_000
    of.pass_s(1)
    assert of.clock.now_ms() == newest + 1_000


def test_quiet_seconds_and_short_stalls_are_no_reason():
    of = Time()
    watching = watch(of)
    for seconds in (1, 1, 5, 1):
        of.pass_s(seconds)
        assert causes(watching) == []


def test_a_loop_that_stood_still_is_noticed_once():
    of = Time()
    watching = watch(of)
    of.pass_s(5.001)
    assert causes(watching) == [Cause.LOOP_STALLED]
    of.pass_s(1)
    assert causes(watching) == []


@pytest.mark.parametrize(("step_s", "word"), [(5.5, "forward"), (-5.5, "back")])
def test_a_wall_clock_that_jumps_is_noticed_once(step_s: float, word: str):
    of = Time()
    watching = watch(of)
    of.pass_s(1)
    of.wall_ns += int(step_s * 10**9)
    found = watching.look()
    assert [f.cause for f in found] == [Cause.CLOCK_JUMPED]
    assert word in found[0].text
    of.pass_s(1)
    assert causes(watching) == []


def test_a_clock_that_is_steered_gently_is_believed():
    of = Time()
    watching = watch(of)
    for _ in range(100):
        of.pass_s(1)
        of.wall_ns += 100_000_000
        assert causes(watching) == []


def count(r: Running, cause: Cause) -> float:
    return r.metrics.registry.get_sample_value("fleetmend_observer_doubted_total", {"cause": cause.value}) or 0.0


def test_after_a_stall_no_order_is_given_on_what_waited_meanwhile(database: Path):
    async def story():
        async with Running(database) as r:
            await r.decider.submit(r.joined())
            waited = r.crit()
            r.now += 20_000
            await r.decider.submit([waited])
            assert r.decider.fleet.doubt == "the controller stood still for 20.0 s"
            assert next(iter(r.decider.fleet.incidents.values())).phase is Phase.HELD
            assert r.gateway.orders == []
            assert count(r, Cause.LOOP_STALLED) == 1
            r.now += 1_000
            await r.decider.submit([r.crit(2)])
            assert len(r.gateway.orders) == 1
            assert count(r, Cause.LOOP_STALLED) == 1

    run(story())


def test_the_doubt_is_in_the_journal(database: Path):
    async def first_life():
        r = Running(database)
        await r.decider.start("test", r.gateway)
        await r.decider.submit(r.joined())
        r.now += 6_000
        await r.decider.submit([r.crit()])
        r.kill()
        return r.decider.fleet.doubt_ms

    async def second_life(doubted_ms: int):
        r = Running(database)
        r.now = doubted_ms + 500
        recovered = await r.store.read(r.decider._recover)
        assert recovered.fleet.doubt_ms == doubted_ms
        r.store.close()

    run(second_life(run(first_life())))


def test_a_loop_that_really_stalls_doubts_itself(database: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doubt, "STALL_MS_MAX", 150)
    monkeypatch.setattr(loop, "LOOK_EVERY_S", 0.02)

    async def story():
        async with Running(database) as r:
            clock = Clock()
            r.decider._self_watch = SelfWatch(clock.now_ms, clock.wall_ahead_ms)
            await asyncio.sleep(0.05)
            # The loop itself is held up, as by a swapped-out process.
            time.sleep(0.3)  # noqa: ASYNC251
            async with asyncio.timeout(5):
                while not count(r, Cause.LOOP_STALLED) or not r.decider.fleet.doubt.startswith("the controller stood still"):
                    await asyncio.sleep(0.01)
            assert r.decider.fleet.doubt_ms == r.now

    run(story())


def test_the_first_thing_after_a_journal_outage_is_doubt(database: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loop, "PROBE_EVERY_S", 0.01)

    async def story():
        async with Running(database) as r:
            await r.decider.submit(r.joined())
            await r.decider.submit([r.crit()])
            write, full = r.store.write, True

            async def failing(job):
                if full:
                    raise StoreUnavailable("cannot write: disk full")
                return await write(job)

            monkeypatch.setattr(r.store, "write", failing)
            with pytest.raises(JournalUnavailable):
                await r.decider.submit([r.crit(2, "b.service")])
            r.now += 4_000
            full = False
            async with asyncio.timeout(5):
                while r.decider.fleet.doubt != "the journal took no rows for 4.0 s":
                    await asyncio.sleep(0.01)
            assert r.decider.fleet.doubt_ms == r.now
            assert count(r, Cause.JOURNAL_OUTAGE) == 1

    run(story())


def test_a_controller_that_starts_with_its_clock_set_back_goes_on_from_the_journal(database: Path):
    of = Time()

    async def life(expected_ahead_ms: int):
        r = Running(database)
        r.decider._clock, r.decider._now_ms = of.clock, of.clock.now_ms
        r.decider._self_watch = SelfWatch(of.clock.now_ms, of.clock.wall_ahead_ms)
        async with r:
            assert of.clock.wall_ahead_ms() == -expected_ahead_ms
            assert r.decider.fleet.now_ms == of.clock.now_ms()
            assert count(r, Cause.CLOCK_JUMPED) == 0

    run(life(0))
    of.wall_ns -= 3_600 * 10**9
    of.clock = Clock(lambda: of.wall_ns, lambda: of.monotonic_ns)
    run(life(3_600_000))
