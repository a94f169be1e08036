"""Many hosts, one cause: noticed wherever they belong together, held until they are well again, and told once."""

from collections import Counter
from dataclasses import replace

import pytest

from fleetmend_controller.core import storms
from fleetmend_controller.core.effects import PhaseChanged, Verdict, Why
from fleetmend_controller.core.events import ObserverDoubted
from fleetmend_controller.core.model import Fleet, FleetBudget, Outbreak, Outcome, Phase, Rate, Status, Storm, Subject, Trust

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
    assert over == "no new unit_failed for 5 min, 19 hosts of role=web and 19 hosts of the fleet still sick"
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


def test_the_last_fault_of_a_host_takes_it_out_of_the_groups_of_the_earlier():
    t = alone()
    t.seen(Status.CRIT, unit="a.service")
    t.relabel("h-1", role="db")
    t.seen(Status.CRIT, unit="b.service")
    t.seen(Status.OK, unit="a.service")
    assert ("unit_failed", "role", "web") in t.fleet.fresh_bad, "it has another fault of the type"
    t.seen(Status.OK, unit="b.service")
    assert t.fleet.fresh_bad == {}


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


def small_roles(t: Timeline, roles: int) -> None:
    """As many groups; none of their labels joins many hosts."""
    for number in range(1, len(t.fleet.hosts) + 1):
        t.relabel(f"h-{number}", role=f"r{number % roles}")


def test_a_whole_fleet_of_small_groups_is_one_storm_and_never_much_at_once():
    t = Timeline(hosts=100)
    small_roles(t, 25)
    fail(t, *range(1, 26))
    assert len(t.orders) == 4, "the fifth makes them wait for what they have in common"
    t.wait(5_000)
    assert len(t.orders) == 10, "the ceiling: a tenth of the fleet, whatever each role may have"
    fail(t, *range(26, 101))
    assert ("", "fleet") in t.fleet.outbreaks["unit_failed"].where
    t.wait(320_000)
    assert len({o.host for o in t.orders}) == 10


def test_a_hundred_hosts_are_a_storm_in_any_fleet():
    t = Timeline(policy(playbook(limits=replace(LOOSE, fleet=FleetBudget("role", 100, 9)))), hosts=340)
    small_roles(t, 170)
    fail(t, *range(1, 100))
    assert t.fleet.outbreaks == {}
    fail(t, 100)
    assert t.fleet.outbreaks["unit_failed"].groups == {"the fleet": 100}


@pytest.mark.parametrize(("size", "most"), [(1, 3), (2, 3), (3, 3), (4, 4), (5, 5), (6, 5), (17, 6), (100, 30)])
def test_all_of_a_small_group_are_a_storm_and_two_hosts_never(size: int, most: int):
    t = Timeline(hosts=120)
    for number in range(1, 121):
        t.relabel(f"h-{number}", role="web" if number <= size else f"r{number}")
    fail(t, *range(1, min(size, most - 1) + 1))
    assert t.fleet.outbreaks == {}
    if most <= size:
        fail(t, most)
        assert t.fleet.outbreaks["unit_failed"].where == [("role", "web")]


def test_a_playbook_may_say_how_few_hosts_can_be_a_storm():
    t = Timeline(policy(playbook(limits=replace(LIMITS, storm=Storm("role", 30, 300_000, hosts=6)))), hosts=5)
    fail(t, 1, 2, 3, 4, 5)
    assert t.fleet.outbreaks == {}


def racks(t: Timeline) -> None:
    """Four racks, each with every role."""
    for number in range(1, len(t.fleet.hosts) + 1):
        t.relabel(f"h-{number}", role=f"r{number % 25}", rack=f"k{number % 4}")


def test_a_budget_over_role_and_rack_is_kept_in_both():
    t = Timeline(policy(playbook(limits=replace(LIMITS, fleet=FleetBudget("role", 50, 2, ("rack",))))), hosts=100)
    racks(t)
    fail(t, 4, 8, 12)
    assert [o.host for o in t.orders] == ["h-4", "h-8"], "three roles, but one rack"
    assert "2 hosts of rack=k0 are being healed, limit 2" in [r.text for s in t.steps for r in s.reasons]
    fail(t, 1)
    assert [o.host for o in t.orders][-1] == "h-1"


def test_who_waits_for_a_rack_goes_on_when_its_place_comes_free():
    t = Timeline(policy(playbook(limits=replace(LIMITS, fleet=FleetBudget("role", 50, 1, ("rack",))))), hosts=100)
    racks(t)
    fail(t, 4, 8)
    assert [o.host for o in t.orders] == ["h-4"]
    t.ended(t.orders[0], Outcome.REFUSED)
    assert [o.host for o in t.orders] == ["h-4", "h-8"]


def test_people_obey_the_tightest_budget_of_every_label():
    strict = playbook(name="drain", check="other", limits=replace(LIMITS, fleet=FleetBudget("rack", 1, 1)))
    t = Timeline(policy(playbook(), strict), hosts=100)
    racks(t)
    t.run("h-4")
    t.run("h-8")
    t.run("h-1")
    assert [o.host for o in t.orders] == ["h-4", "h-1"]
    assert t.fleet.incidents["inc-2"].holds == ("fleet_budget:fleet_budget",)


def test_a_host_without_the_label_shares_the_budget_of_those_without_it():
    t = Timeline(policy(playbook(limits=replace(LIMITS, fleet=FleetBudget("role", 50, 9, ("rack",))))), hosts=3)
    fail(t, 1, 2)
    assert [o.host for o in t.orders] == ["h-1"]


@pytest.mark.parametrize(
    ("book", "before"),
    [
        (playbook(trust=Trust.OBSERVE), Why.TRUST_OBSERVE),
        (playbook(check="other"), Why.NO_PLAYBOOK),
        (playbook(limits=replace(LIMITS, per_host=Rate(0, 3_600_000))), Why.HOST_RATE),
        (playbook(trust=Trust.SUGGEST), None),
    ],
    ids=["observes", "no playbook", "a gate refuses", "suggests"],
)
def test_a_storm_is_told_once_whatever_the_playbook_may_do(book, before):
    t = Timeline(policy(book), hosts=100)
    fail(t, *range(1, 61))
    t.wait(5_000)
    told = Counter(e.why for e in t.escalated)
    assert told == Counter({Why.STORM: 1} | ({before: 4} if before else {})), "the fifth may be one of many"
    t.wait(600_000)
    assert Counter(e.why for e in t.escalated) == told
    assert all(i.phase is Phase.HELD for i in t.fleet.incidents.values() if i.subject.host in {f"h-{n}" for n in range(5, 61)})


def test_after_the_storm_each_fault_goes_its_way():
    t = Timeline(policy(playbook(check="other")), hosts=40)
    fail(t, *range(1, 14))
    recover(t, *range(1, 12))
    t.wait(600_000)
    assert t.fleet.outbreaks == {}
    after = [e for e in t.escalated if e.why is Why.NO_PLAYBOOK and e.subject.host in ("h-12", "h-13")]
    assert len(after) == 2


def test_when_most_hosts_are_lost_a_refusal_waits_like_everything_else():
    t = Timeline(policy(playbook(trust=Trust.OBSERVE)), hosts=6)
    for number in (1, 2, 3, 4):
        t.silent(f"h-{number}")
    told = len(t.escalated)
    t.seen(Status.CRIT, host="h-6")
    assert len(t.escalated) == told
    assert (
        "observer:many_hosts_lost"
        in t.fleet.incidents[t.fleet.by_subject[Subject("h-6", "unit_failed", "nginx.service")]].holds
    )


def test_people_hear_at_once_what_their_own_request_may_not_do():
    t = Timeline(hosts=6)
    for number in (1, 2, 3, 4):
        t.silent(f"h-{number}")
    t.run("h-1")
    assert [c.why for c in t.closed] == [Why.HOST_LOST]


def test_a_refusal_under_doubt_reaches_people_in_the_end():
    t = Timeline(policy(playbook(trust=Trust.OBSERVE)))
    t.feed(ObserverDoubted(t.now_ms + 1, "the clock jumped"))
    t.seen(Status.CRIT)
    assert t.escalated == []
    t.wait(700_000, fresh=False)
    assert [e.why for e in t.escalated] == [Why.OBSERVER_DOUBTED]


def test_who_has_recovered_does_not_count_any_more():
    t = Timeline(policy(playbook(check="other")), hosts=20)
    for number in range(1, 21):
        fail(t, number)
        recover(t, number)
    assert t.fleet.outbreaks == {}
    assert t.fleet.fresh_bad == {}
    fail(t, 1, 2, 3, 4, 5)
    recover(t, 5)
    fail(t, 6)
    assert t.fleet.outbreaks == {}
    fail(t, 7)
    assert "unit_failed" in t.fleet.outbreaks, "six of twenty are sick at once"


def alone(hosts: int = 20) -> Timeline:
    """Nothing is repaired, so that whoever falls sick stays so."""
    return Timeline(policy(playbook(check="other")), hosts=hosts)


def test_who_fell_sick_before_the_window_makes_no_storm():
    t = alone()
    fail(t, 1, 2, 3, 4, 5)
    t.wait(300_000)
    fail(t, 6, 7, 8, 9, 10)
    assert t.fleet.outbreaks == {}
    fail(t, 11)
    assert t.fleet.outbreaks["unit_failed"].groups == {"role=web": 6, "the fleet": 6}


def test_a_host_that_falls_sick_again_does_not_keep_others_in_the_window():
    t = alone()
    fail(t, 1, 2, 3, 4, 5)
    t.wait(200_000)
    t.seen(Status.CRIT, unit="other.service", host="h-1")
    t.wait(100_000)
    fail(t, 6, 7, 8, 9)
    assert t.fleet.outbreaks == {}, "with h-1 they are five"
    fail(t, 10)
    assert "unit_failed" in t.fleet.outbreaks


def test_who_recovers_after_the_window_was_forgotten_already():
    t = alone()
    fail(t, 1)
    t.wait(400_000)
    fail(t, 2)
    recover(t, 2)
    recover(t, 1)
    assert t.fleet.fresh_bad == {}


def test_a_storm_that_is_mended_at_once_lasts_its_window_all_the_same():
    t = Timeline(hosts=20)
    fail(t, *range(1, 8))
    recover(t, *range(1, 8))
    t.wait(299_999)
    assert "unit_failed" in t.fleet.outbreaks
    t.wait(1)
    assert t.fleet.outbreaks == {}


def test_whoever_falls_sick_in_a_storm_makes_it_last():
    t = Timeline(hosts=20)
    fail(t, *range(1, 7))
    t.wait(200_000)
    fail(t, 7)
    recover(t, *range(1, 8))
    t.wait(299_999)
    assert "unit_failed" in t.fleet.outbreaks
    t.wait(60_000)
    assert t.fleet.outbreaks == {}


def test_faults_of_another_type_do_not_keep_a_storm_alive():
    t = Timeline(policy(playbook(check="other")), hosts=20)
    fail(t, *range(1, 7))
    t.wait(400_000)
    for number in range(1, 20):
        t.seen(Status.CRIT, host=f"h-{number}", check=f"check-{number}", unit="a.service")
    recover(t, *range(1, 7))
    t.wait(60_000)
    assert t.fleet.outbreaks == {}


def test_those_without_the_label_are_a_group_of_their_own():
    t = alone(40)
    for number in range(1, 11):
        t.relabel(f"h-{number}", site="s")
    for number in range(11, 41):
        t.relabel(f"h-{number}", role="web", site=f"s{number}")
    fail(t, 1, 2, 3, 4)
    assert t.fleet.outbreaks == {}
    fail(t, 5)
    assert t.fleet.outbreaks["unit_failed"].groups == {"site=s": 5, "without role": 5}


def test_where_nobody_has_the_label_all_are_without_it():
    t = Timeline(policy(playbook(check="other")), hosts=17, labels={})
    fail(t, 1, 2, 3, 4, 5)
    assert t.fleet.outbreaks == {}
    fail(t, 6)
    assert t.fleet.outbreaks["unit_failed"].groups == {"without role": 6, "the fleet": 6}


def test_the_share_is_of_a_hundred():
    fleet = Fleet(group_size={("role", "web"): 1_000, ("role", "*"): 1_000})
    assert storms._threshold(fleet, Storm("role", 30, 1), ("role", "web")) == 300


def test_a_storm_is_an_incident_like_any_other():
    t = alone()
    fail(t, *range(1, 7))
    storm = t.fleet.outbreaks["unit_failed"].incident
    assert storm == "inc-7"
    moved = [e for e in t.all(PhaseChanged) if e.incident == storm]
    assert moved == [PhaseChanged(storm, Subject("fleet", "storm", "unit_failed"), None, Phase.ESCALATED, 0)]
    text = "6 hosts of role=web fail unit_failed together: held, one cause is more likely than 6"
    assert [r.text for r in t.steps[-1].reasons if r.incident == storm] == [text]
    fail(t, 8)
    assert "inc-8" in t.fleet.incidents


def test_what_no_playbook_answers_is_told_why_it_waits_once():
    t = alone()
    fail(t, *range(1, 8))
    held = t.fleet.incidents["inc-8"]
    assert (held.holds, held.wake_ms) == (("storm:storm",), t.now_ms + 300_000)
    t.wait(1_000_000)
    said = [(r.gate, r.verdict) for s in t.steps for r in s.reasons if r.incident == "inc-8" and r.why is Why.STORM]
    assert said == [("storm", Verdict.HOLD)]
