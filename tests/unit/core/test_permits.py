"""What hosts may do alone: permits given, withheld, renewed and withdrawn."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetmend.permits import PREFIX
from fleetmend_controller.core.effects import SendPermits
from fleetmend_controller.core.events import (
    CommonCause,
    HostConnected,
    HostEnrolled,
    HostWoken,
    Paused,
    PersonSeen,
    PolicyLoaded,
    Resumed,
    TrustRestored,
    WindowAdded,
    WindowRemoved,
    Woken,
)
from fleetmend_controller.core.model import Outcome, Phase, Rate, Standing, Status, Trust, Window
from fleetmend_controller.core.permits import PERMIT_PREFIX, PERMITS_MAX, live
from tests.unit.core.alone import TTL_MS, UNIT, Alone, alone_policy, reach
from tests.unit.core.timeline import EVIDENCE, LIMITS, RESTART, playbook, policy
from tests.unit.core.timeline import WaitStep as Wait


def test_core_and_hosts_agree_on_the_prefix():
    assert PERMIT_PREFIX == PREFIX


def test_a_host_that_connects_gets_permits_for_what_it_may_do_alone():
    line = Alone(alone_policy(steps=(EVIDENCE, Wait(4_000), RESTART), for_ms=2_000))
    (given,) = line.sets
    (grant,) = given.grants
    assert (given.host, given.boot) == ("h-1", "boot-1")
    assert given.expires_clock_ms == line.clock(line.now_ms + TTL_MS)
    assert len(grant.permits) == given.fresh == PERMITS_MAX == live(line.fleet.hosts["h-1"], line.now_ms)
    assert (grant.first, grant.step, grant.for_ms) == ((EVIDENCE,), RESTART, 6_000)


def test_without_such_a_playbook_nothing_is_given_or_remembered():
    line = Alone(policy())
    line.feed(Paused(line.now_ms, "global", "ann", "x", None))
    assert (line.sets, line.due, line.fleet.hosts["h-1"].permits.version) == ([], {}, 0)


def test_permits_are_renewed_in_time_and_keep_their_ids():
    line = Alone()
    first = line.granted
    line.wait(TTL_MS)
    assert len(line.sets) == 3
    assert line.granted == first
    assert [given.fresh for given in line.sets] == [3, 0, 0]
    versions = [given.version for given in line.sets]
    assert versions == sorted(set(versions))


def test_a_host_that_comes_and_goes_gains_no_permit_by_it():
    line = Alone()
    first = line.granted
    for _ in range(5):
        line.feed(HostConnected(line.now_ms, "h-1", "boot-1", line.clock()))
    assert line.granted == first
    assert len(line.sets) == 6
    line.feed(HostConnected(line.now_ms, "h-1", "boot-2", 5_000))
    assert line.granted == first
    assert line.sets[-1].boot == "boot-2"


WINDOW = Window("w-1", (), ("h-1",), 1_000_000, 1_600_000, "", "ann", "new kernel")


@pytest.mark.parametrize(
    ("stop", "go"),
    [
        (Paused(1_000_000, "global", "ann", "x", None), Resumed(1_000_000, "global", "ann")),
        (Paused(1_000_000, "host:h-1", "ann", "x", None), Resumed(1_000_000, "host:h-1", "ann")),
        (Paused(1_000_000, "group:role=web", "ann", "x", None), Resumed(1_000_000, "group:role=web", "ann")),
        (
            Paused(1_000_000, "playbook:restart-failed-unit", "ann", "x", None),
            Resumed(1_000_000, "playbook:restart-failed-unit", "ann"),
        ),
        (WindowAdded(1_000_000, WINDOW), WindowRemoved(1_000_000, "w-1", "ann")),
    ],
    ids=["global", "host", "group", "playbook", "maintenance"],
)
def test_whoever_switches_healing_off_takes_the_permits_back_at_once(stop, go):
    line = Alone()
    line.feed(stop)
    line.wait(0)
    assert line.granted == []
    assert line.sets[-1].version > line.sets[0].version
    assert live(line.fleet.hosts["h-1"], line.now_ms) == 0
    line.feed(go)
    line.wait(0)
    assert len(line.granted) == PERMITS_MAX


def test_a_pause_of_others_changes_nothing_here():
    line = Alone(hosts=2)
    line.feed(Paused(line.now_ms, "host:h-2", "ann", "x", None))
    line.wait(0)
    assert [given.host for given in line.sets] == ["h-1", "h-2", "h-2"]


def test_a_pause_that_ends_by_itself_brings_the_permits_back():
    line = Alone()
    line.feed(Paused(line.now_ms, "global", "ann", "x", line.now_ms + 60_000))
    line.wait(59_000)
    assert line.granted == []
    line.wait(1_000)
    assert len(line.granted) == PERMITS_MAX


def test_permits_end_when_announced_maintenance_begins():
    line = Alone()
    start_ms = line.now_ms + 600_000
    line.feed(WindowAdded(line.now_ms, replace(WINDOW, start_ms=start_ms, end_ms=start_ms + 60_000)))
    line.feed(HostConnected(line.now_ms, "h-1", "boot-1", line.clock()))
    assert line.sets[-1].expires_clock_ms == line.clock(start_ms)
    line.wait(601_000)
    assert line.granted == []
    line.wait(60_000)
    assert len(line.granted) == PERMITS_MAX


def test_a_person_at_work_takes_them_back_for_as_long_as_they_are_believed_to_be_there():
    line = Alone()
    line.feed(PersonSeen(line.now_ms, "h-1", "ann on pts/0", line.now_ms + 900_000))
    line.wait(0)
    assert line.granted == []
    line.wait(900_000)
    assert len(line.granted) == PERMITS_MAX


def test_a_demoted_or_changed_or_gone_playbook_gives_none():
    line = Alone(alone_policy(trust=Trust.OBSERVE))
    assert line.sets == []
    line = Alone()
    line.policy = policy()
    line.feed(PolicyLoaded(line.now_ms, "p2", "ann"))
    line.wait(0)
    assert line.granted == []
    line = Alone()
    line.policy = policy(playbook(alone=True), alone={"restart-failed-unit": lambda _: None})
    line.feed(PolicyLoaded(line.now_ms, "p2", "ann"))
    line.wait(0)
    assert line.granted == []


def test_three_repairs_that_were_not_proved_take_the_permits_of_every_host():
    line = Alone(hosts=2)
    for permit in line.all(SendPermits)[0].grants[0].permits:
        line.seen(Status.CRIT, sampled_ms=line.now_ms - 60_000)
        line.used(permit, at_ms=line.now_ms - 50_000)
        line.over(permit, at_ms=line.now_ms - 45_000)
        line.seen(Status.CRIT, sampled_ms=line.now_ms - 1_000)
    assert "trust_demoted" in line.why()
    line.wait(0)
    newest = {given.host: given for given in line.sets}
    assert [newest[host].grants for host in ("h-1", "h-2")] == [(), ()]


def test_new_labels_are_looked_at_anew():
    line = Alone(policy(playbook(alone=True), alone={"restart-failed-unit": lambda h: reach(h) if h.labels else None}))
    line.feed(HostEnrolled(line.now_ms, "h-1", "web-1", {}))
    line.wait(0)
    assert line.granted == []


def test_a_lost_host_waits_until_it_is_back():
    line = Alone()
    line.silent()
    line.wait(2 * TTL_MS)
    assert len(line.sets) == 1
    assert live(line.fleet.hosts["h-1"], line.now_ms) == 0


def test_what_people_have_in_hand_is_left_to_them():
    line = Alone(alone_policy(steps=(RESTART,)))
    line.seen(Status.CRIT)
    (order,) = line.orders
    line.ended(order, Outcome.REFUSED, "protected", "no")
    assert line.only.phase is Phase.ESCALATED
    line.wait(0)
    assert line.sets[-1].left_units == (UNIT,)
    assert line.sets[-1].left_subjects == (("unit_failed", UNIT),)
    line.seen(Status.OK)
    line.wait(0)
    assert line.sets[-1].left_units == ()


def test_orders_of_ours_take_from_the_same_allowance():
    line = Alone(alone_policy(limits=replace(LIMITS, per_host=Rate(2, 600_000))))
    assert len(line.granted) == 2
    line.seen(Status.CRIT)
    line.wait(0)
    assert len(line.granted) == 1
    line.ended(line.orders[0])
    line.wait(1_000)
    line.seen(Status.OK)
    line.wait(10_000)
    line.seen(Status.OK)
    line.wait(590_000)
    assert len(line.granted) == 2


def test_a_wake_up_that_is_not_due_looks_at_nothing():
    line = Alone()
    line.feed(HostWoken(line.now_ms, "h-1"))
    line.feed(HostWoken(line.now_ms, "h-9"))
    line.feed(Woken(line.now_ms, "inc-9"))
    assert len(line.sets) == 1


def test_a_storm_withdraws_what_would_answer_it():
    line = Alone(hosts=12)
    for number in range(1, 8):
        line.seen(Status.CRIT, host=f"h-{number}", seq=1)
    assert line.fleet.outbreaks
    line.wait(0)
    newest = {given.host: given for given in line.sets}
    assert all(not given.grants for given in newest.values())


def newest(line: Alone) -> dict[str, bool]:
    """Whether each host's newest set gives anything."""
    return {given.host: bool(given.grants) for given in line.sets}


def test_a_cause_in_common_withdraws_them_and_its_end_gives_them_back():
    line = Alone(hosts=100)
    for number in range(1, 101):
        line.relabel(f"h-{number}", role=f"role-{number % 25}")
    sick = [f"h-{number}" for number in range(1, 6)]
    for host in sick:
        line.seen(Status.CRIT, host=host)
    line.wait(0)
    assert not line.fleet.outbreaks
    assert newest(line)["h-9"], "that several begin to fail alike takes nothing from those that are well"
    line.feed(CommonCause(line.now_ms, "unit_failed", tuple(sick), ("label rack is r7",)))
    line.wait(0)
    assert not any(newest(line).values())
    for host in sick:
        line.seen(Status.OK, host=host)
    line.wait(301_000)
    line.wait(0)
    assert not line.fleet.outbreaks
    assert newest(line)["h-9"]


def test_an_operator_who_restores_trust_gives_the_permits_back_at_once():
    line = Alone()
    line.fleet.standing["restart-failed-unit"] = Standing(lowered=Trust.SUGGEST, why="it failed")
    line.feed(HostConnected(line.now_ms, "h-1", "boot-1", line.clock()))
    assert line.granted == []
    line.feed(TrustRestored(line.now_ms, "restart-failed-unit", "ann"))
    line.wait(0)
    assert len(line.granted) == PERMITS_MAX
