"""Checks at their worst, and what is made of their results. Fake checks, the real loop, the real threads."""

from __future__ import annotations

import asyncio
import threading

import pytest

from fleetmend_agent.checks import Check, CheckUnknown, Kind, Param, Result, Status
from fleetmend_agent.host import Host
from fleetmend_agent.runner import Runner, Spec, guarded, load_check
from fleetmend_agent.workers import Workers, WorkersExhausted

OK, WARN, CRIT, UNKNOWN = Status.OK, Status.WARN, Status.CRIT, Status.UNKNOWN


class World:
    """A runner with checks of our own and a list of what it reported."""

    def __init__(self, *checks: Check, threads_max: int = 4, given_up_max: int = 8):
        self.clock_ms = 1_000
        self.reports = []
        self.completed = 0
        self.refreshed = 0
        self.checks = {check.name: check for check in checks}
        self.workers = Workers(threads_max, given_up_max)
        self.runner = Runner(
            Host(clock_ns=lambda: self.clock_ms * 1_000_000),
            self.workers,
            self.reports.append,
            self.on_completed,
            refreshers={"systemd": self.refresh},
            load=self.load,
        )

    def load(self, name):
        if name not in self.checks:
            raise CheckUnknown(f"cannot run a check of type {name!r}")
        return self.checks[name]

    def on_completed(self):
        self.completed += 1

    async def refresh(self):
        self.refreshed += 1

    def configure(self, **options):
        return self.runner.configure([Spec(name, name, **options) for name in self.checks])

    async def settle(self):
        """Until nothing runs."""
        while tasks := [watch.task for watch in self.runner.watches.values() if watch.task is not None]:
            await asyncio.wait(tasks)

    async def run(self, *names):
        for name in names:
            self.clock_ms += 1_000
            self.runner.start(name)
            await self.settle()

    def said(self):
        return [(report.check, report.result.key, report.result.status) for report in self.reports]


def script(name: str, *rounds, signal: str = "") -> Check:
    """A check that gives the next round each time it runs; an exception is raised."""
    left = list(rounds)

    def run(context):
        item = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(item, Exception):
            raise item
        return [Result(status, f"{key} is {status.value}", key) for key, status in item.items()]

    return Check(name, "", run, signal=signal)


def test_only_changes_are_reported_and_a_first_ok_is_none():
    async def main():
        world = World(script("disk", {"/": OK, "/srv": CRIT}, {"/": OK, "/srv": CRIT}, {"/": WARN, "/srv": OK}))
        world.configure()
        await world.run("disk", "disk", "disk")
        assert world.said() == [("disk", "/srv", CRIT), ("disk", "/", WARN), ("disk", "/srv", OK)]
        assert world.completed == 1

    asyncio.run(main())


def test_a_change_waits_for_its_confirmation():
    async def main():
        world = World(script("disk", {"": OK}, {"": CRIT}, {"": OK}, {"": CRIT}, {"": CRIT}, {"": OK}))
        world.configure(confirm_bad=2)
        await world.run(*["disk"] * 6)
        assert world.said() == [("disk", "", CRIT), ("disk", "", OK)]

    asyncio.run(main())


def test_what_waits_for_its_confirmation_is_not_gone():
    """A new life of the agent sees a fault once: a snapshot that left it out, of a complete check, would call it gone."""

    async def main():
        world = World(script("disk", {"/": OK, "/srv": CRIT}, {"/": OK, "/srv": CRIT}, {"/": OK, "/srv": CRIT, "/new": CRIT}))
        world.configure(confirm_bad=2)
        watch = world.runner.watches["disk"]
        await world.run("disk")
        assert (watch.completed, watch.settled, world.completed) == (True, False, 0)
        await world.run("disk")
        assert (watch.settled, world.completed) == (True, 1)
        await world.run("disk")
        assert (watch.settled, world.completed) == (False, 1)

    asyncio.run(main())


def test_the_sample_is_as_old_as_the_beginning_of_its_run():
    async def main():
        async def slow(context):
            context.host.clock_ns = lambda: 9_999_000_000
            return [Result(CRIT, "")]

        world = World(Check("slow", "", slow))
        world.configure()
        await world.run("slow")
        assert world.reports[0].sampled_clock_ms == 2_000

    asyncio.run(main())


def test_a_subject_that_vanishes_while_bad_is_ok_and_gone():
    async def main():
        world = World(script("units", {"": OK, "a.service": CRIT}, {"": OK}))
        world.configure()
        await world.run("units", "units")
        assert world.said() == [("units", "a.service", CRIT), ("units", "a.service", OK)]
        assert world.reports[-1].result.finding == {"gone": True}
        assert list(world.runner.watches["units"].subjects) == [""]

    asyncio.run(main())


def test_a_check_that_raises_is_unknown_for_all_it_knows_and_counted_if_that_is_a_defect(caplog):
    async def main():
        world = World(script("disk", {"/": OK, "/srv": OK}, CheckUnknown("cannot read"), ZeroDivisionError("boom")))
        world.configure()
        await world.run("disk", "disk", "disk")
        assert sorted(world.said()) == [("disk", "/", UNKNOWN), ("disk", "/srv", UNKNOWN)]
        assert world.reports[0].result.summary == "cannot read"
        assert world.runner.defects_total == 1
        assert "ZeroDivisionError: boom" in caplog.text

    asyncio.run(main())


def test_what_a_check_raises_is_made_harmless():
    async def main():
        world = World(script("disk", CheckUnknown("cannot read \udcff\x1b[31m\n" + "x" * 5_000)))
        world.configure()
        await world.run("disk")
        summary = world.reports[0].result.summary
        assert summary.startswith("cannot read [31m x")
        assert len(summary.encode()) <= 300

    asyncio.run(main())


@pytest.mark.parametrize("blocking", [False, True])
def test_a_check_that_gives_something_else_than_results_is_a_defect(blocking):
    async def main():
        world = World(
            Check("odd", "", lambda _: ["fine"], blocking=blocking), Check("none", "", lambda _: None, blocking=blocking)
        )
        world.configure()
        await world.run("odd", "none")
        assert [status for _, _, status in world.said()] == [UNKNOWN, UNKNOWN]
        assert world.runner.defects_total == 2
        world.workers.close()

    asyncio.run(main())


def test_a_check_that_never_judged_is_unknown_without_key():
    async def main():
        world = World(script("disk", CheckUnknown("cannot read")))
        world.configure()
        await world.run("disk")
        assert world.said() == [("disk", "", UNKNOWN)]
        assert not world.runner.watches["disk"].completed
        assert world.runner.latest("disk", "") is None

    asyncio.run(main())


def test_an_unknown_type_or_a_wrong_parameter_makes_that_check_unknown_and_the_others_run():
    async def main():
        needs = Check("needs", "", lambda _: [], params=(Param("path", Kind.TEXT, "a path", required=True),))
        world = World(script("disk", {"": CRIT}), needs)
        world.runner.configure(
            [Spec("a", "warp_core"), Spec("b", "needs"), Spec("c", "disk"), Spec("d", "disk", problem="cannot d")]
        )
        await world.run("a", "b", "c", "d")
        assert [status for _, _, status in world.said()] == [UNKNOWN, UNKNOWN, CRIT, UNKNOWN]
        assert "warp_core" in world.reports[0].result.summary
        assert "path" in world.reports[1].result.summary
        assert world.reports[3].result.summary == "cannot d"

    asyncio.run(main())


def test_a_hanging_thread_is_given_up_and_not_started_again_until_it_returns():
    async def main():
        release, begun = threading.Event(), []

        def hang(context):
            begun.append(1)
            release.wait(10)
            return [Result(OK, "")]

        world = World(Check("nfs", "", hang, blocking=True), Check("df", "", lambda _: [Result(CRIT, "")], blocking=True))
        world.runner.configure([Spec("nfs", "nfs", timeout_ms=50, confirm_bad=2), Spec("df", "df")])
        await world.run("nfs")
        assert world.said() == []
        assert world.runner.hung() == 1
        assert world.workers.hung == ["nfs"]
        await world.run("nfs", "df")
        assert world.said() == [("nfs", "", UNKNOWN), ("df", "", CRIT)]
        assert len(begun) == 1
        stray = world.runner.watches["nfs"].stray
        release.set()
        await stray
        await asyncio.sleep(0)
        assert world.runner.hung() == 0
        await world.run("nfs")
        assert len(begun) == 2
        assert world.runner.latest("nfs", "") is OK
        world.workers.close()

    asyncio.run(main())


def test_many_hanging_coroutines_delay_nobody():
    async def main():
        async def hang(context):
            await asyncio.Event().wait()

        async def quick(context):
            return [Result(CRIT, "")]

        world = World(*[Check(f"http{index}", "", hang) for index in range(8)], Check("quick", "", quick))
        world.configure(timeout_ms=150)
        loop = asyncio.get_running_loop()
        begin = loop.time()
        for name in world.checks:
            world.runner.start(name)
        await asyncio.wait([world.runner.watches["quick"].task])
        assert world.said() == [("quick", "", CRIT)]
        await world.settle()
        # One after the other they would take eight times as long.
        assert loop.time() - begin < 8 * 0.15
        assert sorted(world.said())[:8] == [(f"http{index}", "", UNKNOWN) for index in range(8)]

    asyncio.run(main())


def test_threads_given_up_are_bounded_and_it_is_said_who_hangs():
    async def main():
        release = threading.Event()
        hang = [Check(f"nfs{index}", "", lambda _: release.wait(10), blocking=True) for index in range(3)]
        world = World(*hang, threads_max=1, given_up_max=2)
        world.configure(timeout_ms=20)
        await world.run("nfs0", "nfs1", "nfs2")
        assert world.workers.hung == ["nfs0", "nfs1"]
        assert "cannot start nfs2: 2 worker threads hang (nfs0, nfs1)" in world.reports[2].result.summary
        with pytest.raises(WorkersExhausted):
            world.workers.submit("more", lambda: None)
        release.set()
        await asyncio.gather(*[watch.stray for watch in world.runner.watches.values() if watch.stray is not None])
        assert world.workers.hung == []
        world.workers.close()

    asyncio.run(main())


def test_a_job_that_found_no_thread_is_not_hanging():
    async def main():
        release = threading.Event()
        world = World(
            Check("busy", "", lambda _: release.wait(10) and [], blocking=True),
            Check("next", "", lambda _: [Result(OK, "")], blocking=True),
            threads_max=1,
        )
        world.runner.configure([Spec("busy", "busy", timeout_ms=5_000), Spec("next", "next", timeout_ms=20)])
        world.runner.start("busy")
        await asyncio.sleep(0.01)
        world.runner.start("next")
        await asyncio.wait([world.runner.watches["next"].task])
        assert "all worker threads were busy" in world.reports[0].result.summary
        assert world.runner.hung() == 0
        release.set()
        await world.settle()
        await world.run("next")
        assert world.runner.latest("next", "") is OK
        world.workers.close()

    asyncio.run(main())


def test_a_signal_during_a_run_makes_one_more_run_and_a_slot_does_not():
    async def main():
        gate, runs = asyncio.Event(), []

        async def run(context):
            runs.append(1)
            await gate.wait()
            return []

        world = World(Check("units", "", run, signal="systemd"))
        world.configure()
        assert world.runner.named_by("systemd") == ["units"]
        world.runner.start("units")
        for _ in range(3):
            await asyncio.sleep(0)
            world.runner.start("units")
        gate.set()
        await world.settle()
        assert len(runs) == 1
        gate.clear()
        world.runner.start("units")
        await asyncio.sleep(0)
        for _ in range(3):
            world.runner.start("units", by_signal=True)
        gate.set()
        await world.settle()
        assert len(runs) == 3

    asyncio.run(main())


def test_who_asks_gets_a_fresh_run_even_if_nothing_changed():
    async def main():
        seen = []

        def run(context):
            seen.append((context.fresh, dict(context.known)))
            return [Result(OK, "", key) for key in {"", *context.known}]

        world = World(Check("units", "", run, signal="systemd"))
        world.configure()
        await world.run("units")
        world.runner.ask("units", "a.service")
        await world.settle()
        assert seen == [(False, {}), (True, {"a.service": UNKNOWN})]
        assert world.refreshed == 1
        assert world.said() == [("units", "a.service", OK)]
        assert world.reports[0].requested

    asyncio.run(main())


def test_a_question_during_a_run_is_answered_by_a_run_that_began_after_it():
    async def main():
        gate, fresh = asyncio.Event(), []

        async def run(context):
            fresh.append(context.fresh)
            await gate.wait()
            return [Result(CRIT, "", "a")]

        world = World(Check("units", "", run))
        world.configure()
        world.runner.start("units")
        await asyncio.sleep(0)
        world.runner.ask("units", "a")
        world.runner.ask("units", "a")
        gate.set()
        await world.settle()
        assert fresh == [False, True]
        assert [report.requested for report in world.reports] == [False, True]

    asyncio.run(main())


def test_questions_about_what_is_not_there():
    async def main():
        world = World(script("units", {"": OK}, CheckUnknown("cannot see")))
        world.configure()
        world.runner.ask("units", "ghost.service")
        await world.settle()
        world.runner.ask("units", "ghost.service")
        await world.settle()
        world.runner.ask("nobody", "x")
        assert world.said() == [
            ("units", "ghost.service", OK),
            ("units", "", UNKNOWN),
            ("units", "ghost.service", UNKNOWN),
            ("nobody", "x", UNKNOWN),
        ]
        assert world.reports[0].result.finding == {"gone": True}
        assert all(report.requested for report in world.reports if report.result.key)

    asyncio.run(main())


def test_a_new_configuration_keeps_what_did_not_change():
    async def main():
        world = World(script("disk", {"": CRIT}), script("load", {"": CRIT}))
        assert world.configure() == {"disk", "load"}
        await world.run("disk", "load")
        assert world.configure() == set()
        assert world.runner.configure([Spec("disk", "disk", every_ms=5)]) == {"disk"}
        assert list(world.runner.watches) == ["disk"]
        assert world.runner.latest("disk", "") is None
        await world.run("disk")
        # The same check with another interval: the status is still the one that was reported.
        assert len(world.reports) == 2

    asyncio.run(main())


def test_the_newest_result_counts_for_orders_confirmed_or_not():
    async def main():
        world = World(script("disk", {"": CRIT}, {"": OK}))
        world.configure(confirm_good=3)
        await world.run("disk", "disk")
        assert world.runner.latest("disk", "") is OK
        assert world.runner.latest("disk", "/never-seen") is OK
        assert [status for _, _, status in world.said()] == [CRIT]

    asyncio.run(main())


def test_gauges_of_an_unknown_subject_are_not_shown():
    async def main():
        rounds = [[Result(OK, "", gauges={"used_ratio": 0.5})]]

        def run(context):
            if not rounds:
                raise CheckUnknown("cannot")
            return rounds.pop()

        world = World(Check("disk", "", run))
        world.configure()
        await world.run("disk")
        assert list(world.runner.gauges()) == [(("used_ratio", "disk", ""), 0.5)]
        await world.run("disk")
        assert list(world.runner.gauges()) == []

    asyncio.run(main())


def test_the_guard_lets_nothing_through_but_says_what_it_was():
    assert guarded(lambda: [1]).results == [1]
    outcome = guarded(lambda: [1].index(2))
    assert outcome.defect
    assert outcome.problem.startswith("cannot judge: ValueError")


def test_checks_are_loaded_by_type_only():
    assert load_check("cpu_load").name == "cpu_load"
    for name in ("no_such_check", "../host", "_probe"):
        with pytest.raises(CheckUnknown, match="cannot run a check of type"):
            load_check(name)
