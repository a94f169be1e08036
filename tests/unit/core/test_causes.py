"""Few hosts with one cause: compared, held, told once with what they share; newcomers wait until that is known."""

from dataclasses import replace

from fleetmend_controller.core.effects import CompareHosts, Why
from fleetmend_controller.core.events import CommonCause
from fleetmend_controller.core.model import Storm, Subject

from .test_storms import fail, pages, recover, small_roles
from .timeline import LIMITS, Timeline, playbook, policy

KERNEL = (
    "kernel.release is 6.1.0-9: 6 of 6 failing hosts, 0 of 194 others",
    "label rack is r7: 5 of 6 failing hosts, 9 of 194",
)


def cause(t: Timeline, *hosts: int, lines: tuple[str, ...] = KERNEL) -> None:
    t.feed(CommonCause(t.now_ms, "unit_failed", tuple(f"h-{number}" for number in hosts), lines))


def spread(roles: int = 50) -> Timeline:
    """200 hosts of which a few make no storm."""
    t = Timeline(hosts=200)
    small_roles(t, roles)
    return t


def compared(t: Timeline) -> list[str]:
    return [effect.incident for effect in t.all(CompareHosts)]


def test_five_hosts_that_fail_alike_are_compared_with_the_others_now_and_then():
    t = spread()
    fail(t, 1, 2, 3, 4)
    assert compared(t) == []
    fail(t, 5)
    assert compared(t) == ["inc-5"]
    t.wait(29_999)
    fail(t, 6)
    assert len(compared(t)) == 1
    t.wait(1)
    fail(t, 7)
    assert len(compared(t)) == 2


def test_a_cause_in_common_holds_and_pages_once_with_what_it_is():
    t = spread()
    fail(t, *range(1, 7))
    assert len(t.orders) == 4
    cause(t, *range(1, 7))
    (page,) = [e for e in t.escalated if e.severity == "page"]
    assert (page.subject.host, page.why) == ("fleet", Why.STORM)
    assert KERNEL[0] in page.text
    assert t.fleet.outbreaks["unit_failed"].groups == {KERNEL[0]: 6}
    fail(t, 20)
    t.wait(6_000)
    assert len(t.orders) == 4
    assert "common_cause" in t.why()
    known = t.fleet.incidents[t.fleet.by_subject[Subject("h-20", "unit_failed", "nginx.service")]]
    assert known.holds == ("storm:storm",)
    t.wait(3_600_000)
    assert len([e for e in t.escalated if e.why is Why.STORM]) == 1


def test_it_ends_when_fewer_than_five_of_its_hosts_are_sick():
    t = spread()
    fail(t, *range(1, 7))
    cause(t, *range(1, 7))
    recover(t, 1)
    t.wait(600_000)
    assert "unit_failed" in t.fleet.outbreaks
    recover(t, 2)
    t.wait(60_000)
    assert t.fleet.outbreaks == {}
    over = next(r.text for s in t.steps for r in s.reasons if r.why is Why.STORM_OVER)
    assert over == "no new unit_failed for 5 min, 4 hosts with that cause still sick"


def test_a_cause_that_is_over_or_was_none_holds_nothing():
    t = spread()
    fail(t, *range(1, 7))
    recover(t, 1, 2)
    cause(t, *range(1, 7))
    assert t.fleet.outbreaks == {}, "four of the six are sick by now"
    fail(t, 1, 2)
    cause(t, *range(1, 7), lines=())
    assert t.fleet.outbreaks == {}
    cause(t, 1, 2, 3, 4, 150, 151)
    assert t.fleet.outbreaks == {}, "two of the six never failed"


def test_the_page_of_a_storm_waits_for_the_comparison_and_no_longer():
    t = Timeline(hosts=20)
    fail(t, *range(1, 7))
    assert pages(t) == {}
    assert len(compared(t)) == 2, "with five hosts, and as a storm"
    t.wait(1_200)
    cause(t, *range(1, 7))
    assert pages(t) == {Why.STORM: 1}
    said = [r.text for s in t.steps for r in s.reasons if r.why is Why.COMMON_CAUSE]
    assert said == [f"the hosts share what healthy ones lack: {'; '.join(KERNEL)}"]
    assert t.escalated[-1].text.endswith(f"In common: {'; '.join(KERNEL)}")
    t.wait(10_000)
    cause(t, *range(1, 7))
    assert pages(t) == {Why.STORM: 1}, "told once, whatever comes later"
    t = Timeline(hosts=20)
    fail(t, *range(1, 7))
    t.wait(4_999)
    assert pages(t) == {}
    t.wait(1)
    assert pages(t) == {Why.STORM: 1}
    assert "In common" not in t.escalated[-1].text


def test_nothing_in_common_is_told_at_once_too():
    t = Timeline(hosts=20)
    fail(t, *range(1, 7))
    cause(t, *range(1, 7), lines=())
    assert pages(t) == {Why.STORM: 1}
    assert "common_cause" not in t.why()


def test_a_group_that_fails_later_joins_a_cause_in_common():
    t = spread(4)
    fail(t, 1, 2, 3, 5, 6)
    cause(t, 1, 2, 3, 5, 6)
    assert t.fleet.outbreaks["unit_failed"].hosts == ["h-1", "h-2", "h-3", "h-5", "h-6"]
    fail(t, *range(4, 61, 4))
    assert t.fleet.outbreaks["unit_failed"].where == [("role", "r0")]
    recover(t, 1, 2, 3, 5, 6)
    t.wait(600_000)
    assert "unit_failed" in t.fleet.outbreaks, "15 of 50 hosts of role=r0 are sick"


def test_newcomers_wait_a_moment_where_several_fail_alike_and_then_go_their_way():
    t = spread()
    fail(t, 1, 2, 3, 4)
    assert len(t.orders) == 4
    fail(t, 5)
    assert t.fleet.incidents["inc-5"].holds == ("storm:storm_brewing",)
    t.wait(4_999)
    assert len(t.orders) == 4
    t.wait(1)
    assert [o.host for o in t.orders][4:] == ["h-5"]


def test_what_no_playbook_answers_waits_that_moment_too():
    t = Timeline(policy(playbook(check="other")), hosts=200)
    small_roles(t, 50)
    fail(t, *range(1, 6))
    assert [e.why for e in t.escalated] == [Why.NO_PLAYBOOK] * 4
    t.wait(5_000)
    assert [e.why for e in t.escalated] == [Why.NO_PLAYBOOK] * 5


def test_where_storms_take_more_hosts_nobody_waits_before():
    t = Timeline(policy(playbook(limits=replace(LIMITS, storm=Storm("role", 30, 300_000, hosts=9)))), hosts=200)
    small_roles(t, 50)
    fail(t, *range(1, 9))
    assert len(t.orders) == 8


def test_people_do_not_wait_for_a_comparison():
    t = spread()
    fail(t, *range(1, 7))
    t.run("h-9")
    assert t.orders[-1].host == "h-9"
