"""Many hosts, one cause: noticed wherever they belong together, held until they are well again, and told once."""

from collections import Counter
from dataclasses import replace

from fleetmend_controller.core.effects import Why
from fleetmend_controller.core.model import Outbreak, Outcome, Rate, Status, Storm

from .timeline import CALM, LIMITS, Timeline, playbook, policy

LOOSE = replace(LIMITS, per_host=Rate(999, 3_600_000), flapping=CALM)


def fail(t: Timeline, *hosts: int) -> None:
    for number in hosts:
        t.seen(Status.CRIT, host=f"h-{number}")


def recover(t: Timeline, *hosts: int) -> None:
    for number in hosts:
        t.seen(Status.OK, host=f"h-{number}")


def pages(t: Timeline) -> Counter:
    return Counter(e.why for e in t.escalated if e.severity == "page")


def test_a_storm_lasts_while_its_hosts_are_sick_although_no_new_one_comes():
    t = Timeline(policy(playbook(limits=LOOSE)), hosts=100)
    fail(t, *range(1, 61))
    ordered = len(t.orders)
    for order in t.orders:
        t.ended(order, Outcome.FAILED)
    t.wait(20 * 60_000)
    assert "unit_failed" in t.fleet.outbreaks
    assert len(t.orders) == ordered, "everybody is sick already: that nobody falls sick any more means nothing"
    recover(t, *range(20, 61))
    t.wait(300_000)
    assert t.fleet.outbreaks == {}
    assert [c.why for c in t.closed if c.subject.host == "fleet"] == [Why.STORM_OVER]
    over = next(r.text for s in t.steps for r in s.reasons if r.why is Why.STORM_OVER)
    assert over == "no new unit_failed for 5 min, 19 hosts of role=web still sick"
    assert len(t.orders) > ordered


def test_a_storm_ends_one_host_below_what_makes_one():
    t = Timeline(hosts=40)
    fail(t, *range(1, 13))
    recover(t, *range(3, 13))
    fail(t, *range(3, 13))
    t.wait(600_000)
    assert "unit_failed" in t.fleet.outbreaks, "12 of 40 make a storm"
    recover(t, 12)
    t.wait(60_000)
    assert t.fleet.outbreaks == {}


def test_a_storm_ends_by_the_limit_that_noticed_it():
    t = Timeline(policy(playbook(limits=replace(LIMITS, storm=Storm("role", 10, 3_600_000)))), hosts=60)
    fail(t, *range(1, 7))
    assert t.fleet.outbreaks["unit_failed"].limit == Storm("role", 10, 3_600_000)
    recover(t, 6)
    t.wait(3_599_999)
    assert "unit_failed" in t.fleet.outbreaks, "something new came less than an hour ago"
    t.wait(1)
    assert t.fleet.outbreaks == {}


def test_who_is_sick_elsewhere_does_not_keep_a_storm_alive():
    t = Timeline(hosts=40)
    for number in range(21, 41):
        t.relabel(f"h-{number}", role="db")
    fail(t, *range(21, 26))
    t.wait(3_600_000)
    fail(t, *range(1, 7))
    assert t.fleet.outbreaks["unit_failed"].where == [("role", "web")]
    recover(t, *range(1, 7))
    t.wait(300_000)
    assert t.fleet.outbreaks == {}, "the five of role=db were sick long before"


def test_a_host_with_a_second_fault_of_the_type_still_counts():
    t = Timeline(hosts=20)
    t.seen(Status.CRIT, unit="other.service", host="h-1")
    fail(t, *range(1, 6))
    recover(t, 1)
    fail(t, 6)
    assert "unit_failed" in t.fleet.outbreaks


def test_a_storm_from_before_its_groups_were_kept_looks_at_all():
    t = Timeline(hosts=20)
    fail(t, *range(1, 7))
    known = t.fleet.outbreaks["unit_failed"]
    t.fleet.outbreaks["unit_failed"] = Outbreak(known.incident, known.since_ms, known.last_ms, {"role=web": 6})
    t.wait(900_000)
    assert "unit_failed" in t.fleet.outbreaks
    recover(t, *range(1, 7))
    t.wait(60_000)
    assert t.fleet.outbreaks == {}
