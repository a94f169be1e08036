"""The durable way to people: nothing lost in a crash, nothing told twice without need, the end never before the beginning."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from fleetmend_controller.core.events import Acknowledge, HostSilent
from fleetmend_controller.core.model import Status
from fleetmend_controller.decider.ports import JournalUnavailable
from fleetmend_controller.handover import rows
from fleetmend_controller.handover.routing import DAY_MS
from fleetmend_controller.handover.sender import BACKOFF_MS_MAX, backoff_ms
from fleetmend_controller.notify import Answer, Kind, Outcome

from .running import ACCEPTED, Line, Running

LATER = Answer(Outcome.LATER, "status 503")


def run(coroutine):
    return asyncio.run(coroutine)


def test_what_goes_to_people_is_told_once_and_its_end_too(database):
    async def story():
        line = Line()
        async with Running(database, {"oncall": line}) as r:
            r.sender.start()
            await r.join()
            await r.feed(r.crit())
            await r.until(lambda: len(line.got) == 1)
            await r.feed(r.crit())
            r.now += 60_000
            await r.feed(r.ok())
            await r.until(lambda: len(line.got) == 2)
            await r.quiet()
            assert line.told == ["escalated inc-1", "resolved inc-1"]
            first, second = line.got
            assert (first.host, first.to, first.severity, first.why) == ("web-1", "oncall", "ticket", "no_playbook")
            assert first.summary == "a is down"
            assert (second.thread, second.to) == (first.thread, first.to)
            assert "says ok again" in second.text
            assert r.count("oncall", "accepted") == 2

    run(story())


def test_a_row_is_written_with_the_journal_or_not_at_all(database):
    async def story():
        async with Running(database, {"oncall": Line()}) as r:
            await r.join()
            blocker = sqlite3.connect(database, isolation_level=None)
            blocker.execute("BEGIN IMMEDIATE")
            with pytest.raises(JournalUnavailable):
                await r.feed(r.crit())
            blocker.execute("ROLLBACK")
            blocker.close()
            assert await r.rows() == []

    run(story())


def test_a_controller_killed_between_journal_and_sending_tells_it_in_its_next_life(database):
    async def story():
        first = Running(database, {"oncall": Line()})
        await first.decider.start("test")
        await first.join()
        await first.feed(first.crit())
        first.kill()
        line = Line()
        async with Running(database, {"oncall": line}) as second:
            assert await second.rows() == [("inc-1", "escalated", "oncall", "pending")]
            second.sender.start()
            await second.until(lambda: len(line.got) == 1)
            await second.quiet()
            assert len(line.got) == 1

    run(story())


def test_a_controller_killed_while_sending_sends_the_same_again(database):
    async def story():
        hung = Line([asyncio.Event()])
        first = Running(database, {"oncall": hung})
        await first.decider.start("test")
        first.sender.start()
        await first.join()
        await first.feed(first.crit())
        await first.until(lambda: len(hung.got) == 1)
        first.kill()
        line = Line()
        async with Running(database, {"oncall": line}) as second:
            second.sender.start()
            await second.until(lambda: len(line.got) == 1)
            assert line.got == hung.got

    run(story())


def test_after_a_replay_nothing_is_told_again(database):
    async def story():
        line = Line()
        first = Running(database, {"oncall": line})
        await first.decider.start("test")
        first.sender.start()
        await first.join()
        await first.feed(first.crit())
        await first.until(lambda: first.count("oncall", "accepted") == 1)
        first.kill()
        async with Running(database, {"oncall": line}) as second:
            second.sender.start()
            await second.quiet()
            assert line.told == ["escalated inc-1"]

    run(story())


def test_the_end_waits_until_the_beginning_was_taken(database):
    async def story():
        line = Line([LATER, LATER, ACCEPTED])
        async with Running(database, {"oncall": line}) as r:
            r.sender.start()
            await r.join()
            await r.feed(r.crit())
            await r.until(lambda: r.count("oncall", "retried") == 1)
            await r.feed(r.ok())
            await r.quiet()
            assert line.told == ["escalated inc-1"]
            for count in (2, 3):
                r.now += 10_000
                await r.until(lambda count=count: len(line.got) >= count)
            await r.until(lambda: len(line.got) == 4)
            assert line.told == ["escalated inc-1"] * 3 + ["resolved inc-1"]

    run(story())


def test_each_channel_goes_its_own_way(database):
    async def story():
        hung, well = Line([asyncio.Event()]), Line()
        async with Running(database, {"oncall": hung, "team": well}) as r:
            r.sender.start()
            await r.join()
            await r.feed(r.crit())
            await r.feed(r.ok())
            await r.until(lambda: len(well.got) == 2)
            assert hung.told == ["escalated inc-1"]
            hung.answers[0].set()
            await r.until(lambda: len(hung.got) == 2)

    run(story())


def test_trying_again_slows_down_and_honours_what_the_other_side_asks(database):
    async def story():
        line = Line([LATER, Answer(Outcome.LATER, "status 429", 90_000), ACCEPTED])
        async with Running(database, {"oncall": line}) as r:
            r.sender.start()
            await r.join()
            await r.feed(r.crit())
            await r.until(lambda: r.count("oncall", "retried") == 1)
            await r.quiet()
            assert len(line.got) == 1
            r.now += backoff_ms(0)
            await r.until(lambda: r.count("oncall", "retried") == 2)
            r.now += 89_999
            await r.quiet()
            assert len(line.got) == 2
            r.now += 1
            await r.until(lambda: len(line.got) == 3)
            assert line.got[0].id == line.got[2].id

    run(story())


def test_back_off_is_bounded():
    assert [backoff_ms(n) for n in range(9)] == [2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 300_000]
    assert backoff_ms(10**9) == BACKOFF_MS_MAX


async def told(running):
    """The channel's standing, once the failed try is written down: it is counted a moment before."""
    while True:
        (standing,) = await running.store.read(lambda c: rows.standing(c, 0))
        if standing.problem:
            return standing
        await asyncio.sleep(0.01)


def test_after_its_time_a_message_is_given_up_and_says_so(database, caplog):
    async def story():
        line = Line([LATER])
        async with Running(database, {"oncall": line}) as r:
            r.sender.start()
            await r.join()
            await r.feed(r.crit())
            await r.until(lambda: r.count("oncall", "retried") == 1)
            standing = await told(r)
            assert (standing.channel, standing.pending, standing.problem) == ("oncall", 1, "status 503")
            r.now += DAY_MS
            await r.until(lambda: r.count("oncall", "given_up") == 1)
            await r.quiet()
            await r.feed(r.ok())
            r.now += DAY_MS
            await r.until(lambda: True)
            await r.quiet()
            # Nobody was told of its beginning, so nobody of its end.
            assert [(kind, state) for _, kind, _, state in await r.rows()] == [("escalated", "failed")]
            (standing,) = await r.store.read(lambda c: rows.standing(c, 0))
            assert (standing.pending, standing.given_up) == (0, 1)
            assert standing.problem == "given up after 2 tries: status 503"

    run(story())
    assert "nobody was told by it" in caplog.text


def test_what_is_refused_for_good_does_not_hold_up_the_rest(database):
    async def story():
        line = Line([Answer(Outcome.REFUSED, "status 400"), ACCEPTED])
        async with Running(database, {"oncall": line}) as r:
            r.sender.start()
            await r.join()
            await r.feed(r.crit("a"), r.crit("b"))
            await r.until(lambda: (r.count("oncall", "refused"), r.count("oncall", "accepted")) == (1, 1))
            assert len(line.got) == 2

    run(story())


def test_when_a_channel_is_back_what_waited_goes_at_once(database):
    async def story():
        line = Line([LATER] * 5 + [ACCEPTED])
        async with Running(database, {"oncall": line}) as r:
            r.sender.start()
            await r.join()
            await r.feed(*(r.crit(unit) for unit in "abc"))
            for count in range(1, 6):
                await r.until(lambda count=count: r.count("oncall", "retried") == count)
                r.now += 61_000
            await r.until(lambda: r.count("oncall", "accepted") == 3)

    run(story())


def test_a_storm_is_told_once_and_ends_when_all_of_it_has(database):
    async def story():
        line = Line()
        async with Running(database, {"oncall": line}, settle_ms=2_000) as r:
            r.sender.start()
            await r.join(20)
            await r.feed(*(r.crit("a", f"h-{n}") for n in range(1, 21)))
            await r.until(lambda: len(line.got) == 1)
            r.now += 5_000
            await r.quiet()
            assert [m.check for m in line.got] == ["storm"]
            assert sum(state == "folded" for *_, state in await r.rows()) == 4, "the others wait, and nobody is told of them"
            for number in range(2, 21):
                await r.feed(r.ok("a", f"h-{number}"))
            r.now += 400_000
            await asyncio.sleep(0)
            await r.decider.submit([])
            await r.until(lambda: "storm" not in [i.subject.check for i in r.decider.fleet.incidents.values()])
            await r.quiet()
            assert len(line.got) == 1, "one host is still sick"
            await r.feed(r.ok("a", "h-1"))
            await r.until(lambda: len(line.got) == 2)
            assert line.got[1].kind is Kind.RESOLVED

    run(story())


def test_most_of_the_fleet_lost_is_one_page(database):
    async def story():
        line = Line()
        async with Running(database, {"oncall": line}, settle_ms=2_000) as r:
            r.sender.start()
            await r.join(8)
            await r.feed(*(HostSilent(r.now, f"h-{n}", 30_000) for n in range(1, 9)))
            await r.until(lambda: len(line.got) == 1)
            r.now += 5_000
            await r.quiet()
            assert [m.check for m in line.got] == ["many_hosts_lost"]

    run(story())


def test_without_a_storm_what_waits_to_settle_is_told_by_itself(database):
    async def story():
        line = Line()
        async with Running(database, {"oncall": line}, settle_ms=2_000) as r:
            r.sender.start()
            await r.join()
            await r.feed(r.crit())
            await r.quiet()
            assert line.got == []
            r.now += 2_000
            await r.until(lambda: len(line.got) == 1)

    run(story())


def test_a_page_is_repeated_until_somebody_takes_it(database):
    async def story():
        line = Line()
        more = {"oncall": {"reminds": True}, "remind_ms": 3_600_000}
        async with Running(database, {"oncall": line}, **more) as r:
            r.sender.start()
            await r.join()
            await r.feed(HostSilent(r.now, "h-1", 30_000))
            await r.until(lambda: r.count("oncall", "accepted") == 1)
            for count in (1, 2):
                r.now += 3_600_000
                await r.until(lambda count=count: r.count("oncall", "accepted") == count + 1)
            assert [m.reminder for m in line.got] == [0, 1, 2]
            assert line.got[1].headline.startswith("[page, reminder 1] host_lost on web-1")
            await r.feed(Acknowledge(r.now, "inc-1", "ann"))
            await r.until(lambda: len(line.got) == 4)
            assert (line.got[3].kind, line.got[3].by) == (Kind.ACKNOWLEDGED, "ann")
            r.now += 10 * 3_600_000
            await r.quiet()
            assert len(line.got) == 4

    run(story())


def test_taken_before_anybody_was_told_is_told_in_order_and_not_repeated(database):
    async def story():
        line = Line()
        async with Running(database, {"oncall": line}, oncall={"reminds": True}, remind_ms=60_000) as r:
            await r.join()
            await r.feed(HostSilent(r.now, "h-1", 30_000))
            await r.feed(Acknowledge(r.now, "inc-1", "ann"))
            r.sender.start()
            await r.until(lambda: len(line.got) == 2)
            r.now += 120_000
            await r.quiet()
            assert line.told == ["escalated inc-1", "acknowledged inc-1"]

    run(story())


def test_a_channel_that_forgets_is_told_again_while_it_lasts(database):
    async def story():
        line = Line()
        async with Running(database, {"oncall": line}, oncall={"refresh_ms": 60_000}) as r:
            r.sender.start()
            await r.join()
            await r.feed(r.crit())
            for count in (1, 2, 3):
                await r.until(lambda count=count: len(line.got) == count)
                assert line.got[-1].at_ms == r.now
                await r.quiet()
                r.now += 60_000
            line.answers = [LATER, ACCEPTED]
            await r.until(lambda: len(line.got) == 4)
            await r.feed(r.ok())
            r.now += 600_000
            await r.until(lambda: line.told[-1] == "resolved inc-1")
            r.now += 600_000
            await r.quiet()
            assert line.told[-1] == "resolved inc-1"

    run(story())


def test_who_is_told_follows_the_routes(database):
    async def story():
        pager, team = Line(), Line()
        async with Running(database, {"pager": pager, "team": team}, default=("team",)) as r:
            r.sender.start()
            await r.join()
            await r.feed(r.crit())
            await r.feed(HostSilent(r.now, "h-1", 30_000))
            await r.until(lambda: len(pager.got) == len(team.got) == 1)
            assert (pager.got[0].severity, team.got[0].severity) == ("page", "ticket")

    run(story())


def test_a_controller_that_is_not_the_active_one_tells_nobody(database):
    async def story():
        stale, line = Line(), Line()
        old = Running(database, {"oncall": stale})
        await old.decider.start("old")
        await old.join()
        await old.feed(old.crit())
        async with Running(database, {"oncall": line}) as new:
            old.sender.start()
            await old.quiet()
            assert stale.got == []
            new.sender.start()
            await new.until(lambda: len(line.got) == 1)
            old.kill()

    run(story())


def test_a_defect_of_one_channel_leaves_the_others_alone(database, caplog):
    async def story():
        async def broken(_options, _message):
            raise ZeroDivisionError

        well = Line()
        async with Running(database, {"bad": Line(), "good": well}, bad={}) as r:
            r.sender._lines["bad"].configured = r.sender._lines["bad"].configured.__class__(
                "bad", r.notify.channels["bad"].channel.__class__("bad", "", (), broken), {}
            )
            r.sender.start()
            await r.join()
            await r.feed(r.crit())
            await r.until(lambda: len(well.got) == 1)
            await r.quiet()

    run(story())
    assert "channel=bad failed" in caplog.text


def test_what_is_long_done_is_forgotten(database):
    async def story():
        line = Line()
        async with Running(database, {"oncall": line}) as r:
            r.sender.start()
            await r.join()
            await r.feed(r.crit("a"), r.crit("b"))
            await r.feed(r.ok("a"))
            await r.until(lambda: r.count("oncall", "accepted") == 3)
            await r.store.write(lambda c: rows.prune(c, r.now + 1))
            assert {incident for incident, *_ in await r.rows()} == set()

    run(story())


def test_pending_messages_are_counted(database):
    async def story():
        line = Line([LATER])
        async with Running(database, {"oncall": line}) as r:
            r.sender.start()
            await r.join()
            await r.feed(r.crit("a"), r.crit("b"))
            await r.until(lambda: r.metrics.notifications_pending._value.get() == 2)
            assert Status.CRIT is r.crit().status

    run(story())
