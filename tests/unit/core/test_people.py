"""People act under the same limits as playbooks, and nobody alone does what cannot be undone."""

from dataclasses import replace

from fleetmend_controller.core.effects import ApprovalWanted, Why
from fleetmend_controller.core.events import Deny, RunRequested
from fleetmend_controller.core.model import Approval, Cost, FleetBudget, Floor, NeedApproval, Phase, Status, Trust

from .timeline import LIMITS, RESTART, Timeline, playbook, policy

WIPE = replace(RESTART, action="clear_directory", params=(("path", "/srv/x"),), cost=Cost.DESTRUCTIVE)
WIDE = replace(LIMITS, fleet=FleetBudget("role", 50, 20))


def wipe(t: Timeline, by: str = "ann (responder)", host: str = "h-1", **more: bool) -> None:
    t.feed(RunRequested(t.now_ms, host, "clear_directory", WIPE.params, "destructive", 60_000, by, f"r-{t.seq}", **more))


def floored(percent: int, hosts: int, **more: object) -> Timeline:
    """One playbook with a floor, and one of another check without."""
    first = playbook(limits=replace(WIDE, floor=Floor("role", percent)))
    return Timeline(policy(first, playbook(name="nofloor", check="other", limits=WIDE)), hosts=hosts, **more)


def test_a_floor_binds_the_playbook_that_has_none():
    t = floored(80, 10)
    for number in (1, 2):
        t.seen(Status.CRIT, host=f"h-{number}")
    for number in (4, 5, 6):
        t.seen(Status.CRIT, host=f"h-{number}", check="other", unit="b.service")
    assert [o.host for o in t.orders] == ["h-1", "h-2"]
    assert "minimum_healthy:minimum_healthy" in t.fleet.incidents["inc-3"].holds


def test_a_floor_binds_people():
    t = floored(98, 100)
    for number in range(1, 11):
        t.run(f"h-{number}")
    assert [o.host for o in t.orders] == ["h-1", "h-2"]


def test_the_highest_floor_of_all_playbooks_counts_for_each_label():
    one = playbook(limits=replace(WIDE, floor=Floor("role", 50)))
    two = playbook(name="two", check="other", limits=replace(WIDE, floor=Floor("role", 90)))
    three = playbook(name="three", check="third", limits=replace(WIDE, floor=Floor("rack", 100)))
    t = Timeline(policy(one, two, three), hosts=20)
    for number in range(1, 21):
        t.relabel(f"h-{number}", role="web", **({"rack": "a"} if number > 10 else {}))
    for number in (1, 2, 3):
        t.seen(Status.CRIT, host=f"h-{number}")
    assert [o.host for o in t.orders] == ["h-1", "h-2"], "90 % of 20 are 18"
    assert t.fleet.incidents["inc-3"].holds == ("minimum_healthy:minimum_healthy",)
    t = Timeline(policy(three), hosts=4)
    for number in (1, 2, 3, 4):
        t.relabel(f"h-{number}", role="web", rack="a")
    t.run("h-1")
    t.run("h-2")
    assert [o.host for o in t.orders] == ["h-1"]


def test_a_host_that_a_foreign_floor_does_not_speak_of_is_free():
    t = Timeline(policy(playbook(name="racks", check="other", limits=replace(LIMITS, floor=Floor("rack", 90))), playbook()))
    t.seen(Status.CRIT)
    assert len(t.orders) == 1
    assert "no floor is set for a label of this host" in [r.text for s in t.steps for r in s.reasons]


def test_what_cannot_be_undone_takes_another_person():
    t = Timeline()
    wipe(t)
    assert t.orders == []
    assert t.only.holds == ("approval:approval_needed",)
    (wanted,) = t.all(ApprovalWanted)
    assert (wanted.to, wanted.people) == ("oncall", 1)
    assert wanted.text == "0 of 1 people other than ann approved ord-1-1 (clear_directory)"
    t.approve("ord-1-1", "ann (admin)")
    assert t.orders == [], "she asked for it, whatever her role"
    t.approve("ord-1-1", "bob (responder)")
    assert [(o.action, o.requested_by) for o in t.orders] == [("clear_directory", "ann (responder)")]


def test_an_admin_may_say_that_it_is_hers_alone():
    t = Timeline()
    wipe(t, "ann (admin)", approve_myself=True)
    assert len(t.orders) == 1
    told = [r.text for s in t.steps for r in s.reasons if r.gate == "approval"]
    assert told == ["ann (admin) asked for it and approves it alone, in so many words"]


def test_a_request_waits_for_people_as_long_as_a_playbook_does():
    t = Timeline()
    wipe(t)
    t.wait(3_599_999)
    assert t.only.phase is Phase.HELD
    t.wait(1)
    assert [c.why for c in t.closed] == [Why.APPROVAL_EXPIRED]
    assert t.escalated == [], "who asked hears it; nobody else has lost anything"


def test_a_request_that_is_denied_is_over():
    t = Timeline()
    wipe(t)
    t.feed(Deny(t.now_ms, "ord-1-1", "bob", "no"))
    assert [c.why for c in t.closed] == [Why.DENIED]


def test_a_request_is_no_way_round_what_a_playbook_asks_of_people():
    book = playbook(check="other", steps=(WIPE,), approval=Approval(people=3, role="admin"))
    t = Timeline(policy(book))
    wipe(t)
    assert t.only.run.approval == Approval(people=2, role="admin")
    t.approve("ord-1-1", "bob (admin)")
    assert t.orders == []
    t.approve("ord-1-1", "bob (responder)")
    assert t.orders == [], "one person is one person"
    t.approve("ord-1-1", "cat (admin)")
    assert len(t.orders) == 1


def test_what_only_interrupts_needs_nobody_else():
    t = Timeline()
    t.run()
    assert len(t.orders) == 1


def test_two_roles_of_one_person_are_one_person_for_a_playbook_too():
    t = Timeline(policy(playbook(steps=(WIPE,), approval=Approval(people=2))))
    t.seen(Status.CRIT)
    t.approve("ord-1-1", "ann (admin)")
    t.approve("ord-1-1", "ann (responder)")
    assert t.orders == []
    t.approve("ord-1-1", "bob (responder)")
    assert len(t.orders) == 1


def test_what_waits_for_room_before_people_are_asked_does_not_wait_for_ever():
    t = Timeline(policy(playbook(trust=Trust.SUGGEST, limits=replace(LIMITS, floor=Floor("role", 100)))), hosts=2)
    t.seen(Status.CRIT, host="h-2", check="disk")
    t.seen(Status.CRIT, host="h-1")
    waiting = t.fleet.incidents["inc-2"]
    assert waiting.holds == ("minimum_healthy:minimum_healthy", "approval:approval_needed")
    t.wait(599_999)
    assert waiting.phase is Phase.HELD
    t.wait(1)
    assert waiting.phase is Phase.ESCALATED
    assert Why.MINIMUM_HEALTHY in [e.why for e in t.escalated]


def test_a_request_that_was_approved_late_has_its_time_to_find_room():
    t = Timeline(hosts=2)
    t.run("h-2")
    wipe(t)
    t.ended(t.orders[0])
    t.wait(1_200_000)
    t.run("h-2")
    t.approve("ord-2-1", "bob (responder)")
    assert t.fleet.incidents["inc-2"].holds == ("fleet_budget:fleet_budget",)
    t.ended(t.orders[-1])
    assert t.orders[-1].action == "clear_directory"


def said(t: Timeline, gate: str) -> list[str]:
    return [r.text for s in t.steps for r in s.reasons if r.gate == gate]


def test_who_approves_alone_is_said_only_of_what_somebody_approves_alone():
    t = Timeline()
    t.run()
    assert said(t, "approval") == ["no approval is needed"]
    t = Timeline(policy(playbook(steps=(WIPE,), approval=Approval(NeedApproval.NEVER))))
    t.seen(Status.CRIT)
    assert said(t, "approval") == ["no approval is needed"]


def test_one_broken_floor_of_several_holds_and_says_which():
    books = [playbook(name=by, check=by, limits=replace(WIDE, floor=Floor(by, percent))) for by, percent in PERCENTS]
    t = Timeline(policy(*books), hosts=4)
    for number in (1, 2, 3, 4):
        t.relabel(f"h-{number}", role="web", rack="a", site="s")
    t.run("h-1")
    t.run("h-2")
    assert [o.host for o in t.orders] == ["h-1"]
    assert said(t, "minimum_healthy")[-1] == "2 other hosts of rack=a are healthy, 3 needed"


PERCENTS = (("role", 25), ("rack", 75), ("site", 25))


def test_the_tightest_of_two_budgets_over_one_label_binds_people():
    strict = playbook(name="drain", check="other", limits=replace(LIMITS, fleet=FleetBudget("role", 10, 1)))
    t = Timeline(policy(strict, playbook()), hosts=40)
    t.run("h-1")
    t.run("h-2")
    assert [o.host for o in t.orders] == ["h-1"]
