"""Trust, approval, maintenance, storms, floors, people at work, doubt, debt: what keeps healing from making it worse."""

from dataclasses import replace

from fleetmend_controller.core import flaps
from fleetmend_controller.core.effects import ApprovalWanted, Why
from fleetmend_controller.core.events import (
    DeciderStarted,
    Deny,
    HostConnected,
    HostEnrolled,
    HostRemoved,
    ObserverDoubted,
    Paused,
    PersonSeen,
    PolicyLoaded,
    TrustRestored,
    WindowAdded,
    WindowRemoved,
)
from fleetmend_controller.core.model import (
    Approval,
    Cost,
    Flapping,
    FleetBudget,
    Floor,
    NeedApproval,
    Outcome,
    Phase,
    Rate,
    Status,
    Storm,
    Subject,
    Trust,
    Window,
)
from fleetmend_controller.core.standing import tries_left

from .timeline import CALM, LIMITS, RESTART, Timeline, playbook, policy

LOOSE = replace(LIMITS, per_host=Rate(999, 3_600_000), flapping=CALM)
WIPE = replace(RESTART, action="clear_directory", cost=Cost.DESTRUCTIVE)


def heal(t: Timeline, **where: object) -> None:
    """One whole story of the newest order, ending healed."""
    t.ended(t.orders[-1])
    t.wait(10)
    t.seen(Status.OK, **where)
    t.wait(10_000)
    t.seen(Status.OK, **where)


def test_a_playbook_that_suggests_waits_for_a_person():
    t = Timeline(policy(playbook(trust=Trust.SUGGEST)))
    t.seen(Status.CRIT)
    assert t.only.holds == ("approval:approval_needed",)
    (wanted,) = t.all(ApprovalWanted)
    assert (wanted.order, wanted.to, wanted.people) == ("ord-1-1", "platform-oncall", 1)
    t.wait(60_000)
    t.confirm(t.only.id)
    t.approve("ord-1-1", "ann")
    assert [o.id for o in t.orders] == ["ord-1-1"]


def test_what_destroys_needs_a_person_unless_the_playbook_says_never():
    t = Timeline(policy(playbook(steps=(WIPE,))))
    t.seen(Status.CRIT)
    assert t.orders == []
    t = Timeline(policy(playbook(steps=(WIPE,), approval=Approval(NeedApproval.NEVER))))
    t.seen(Status.CRIT)
    assert len(t.orders) == 1


def test_two_people_means_two_different_people():
    t = Timeline(policy(playbook(steps=(WIPE,), approval=Approval(people=2))))
    t.seen(Status.CRIT)
    t.approve("ord-1-1", "ann")
    t.approve("ord-1-1", "ann")
    assert t.orders == []
    t.approve("ord-1-1", "bob")
    assert len(t.orders) == 1


def test_an_approval_is_for_one_order_only():
    t = Timeline(policy(playbook(trust=Trust.SUGGEST, steps=(RESTART, RESTART), limits=LOOSE)))
    t.seen(Status.CRIT)
    t.approve("ord-1-1", "ann")
    t.ended(t.orders[0], Outcome.FAILED)
    t.wait(20_000)
    assert len(t.orders) == 1
    t.approve("ord-1-1", "ann")
    assert len(t.orders) == 1
    t.approve("ord-1-2", "ann")
    assert len(t.orders) == 2


def test_a_denial_and_silence_both_end_with_a_person():
    t = Timeline(policy(playbook(steps=(WIPE,))))
    t.seen(Status.CRIT)
    t.feed(Deny(t.now_ms, "ord-1-1", "ann", "not now"))
    assert [e.why for e in t.escalated] == [Why.DENIED]
    t = Timeline(policy(playbook(steps=(WIPE,))))
    t.seen(Status.CRIT)
    t.wait(3_700_000)
    assert [e.why for e in t.escalated] == [Why.APPROVAL_EXPIRED]
    assert t.orders == []


def test_nobody_is_asked_while_something_else_holds():
    t = Timeline(policy(playbook(steps=(WIPE,), for_ms=30_000)))
    t.seen(Status.CRIT)
    assert t.all(ApprovalWanted) == []
    t.wait(30_000)
    assert len(t.all(ApprovalWanted)) == 1


def test_an_operators_own_request_counts_as_approval():
    t = Timeline()
    t.run()
    assert len(t.orders) == 1


def window(t: Timeline, **changes: object) -> Window:
    plain = Window("m1", (("role", ("web",)),), (), t.now_ms, t.now_ms + 600_000, "", "ann", "kernel")
    return replace(plain, **changes)


def test_maintenance_holds_and_its_end_asks_whether_the_check_still_fails():
    t = Timeline()
    t.feed(WindowAdded(t.now_ms, window(t)))
    t.seen(Status.CRIT)
    t.wait(599_999)
    assert t.orders == []
    t.wait(1)
    assert len(t.orders) == 1


def test_maintenance_that_outlives_the_fault_leads_to_nothing():
    t = Timeline()
    t.feed(WindowAdded(t.now_ms, window(t)))
    t.seen(Status.CRIT)
    t.wait(100_000)
    t.seen(Status.OK)
    t.wait(600_000)
    assert t.orders == []
    assert [c.why for c in t.closed] == [Why.WENT_AWAY]


def test_maintenance_covers_whom_it_names_and_nobody_when_it_names_nobody():
    for terms, hosts, held in (((("role", ("db",)),), (), False), ((), ("h-1",), True), ((), (), False)):
        t = Timeline()
        t.feed(WindowAdded(t.now_ms, window(t, terms=terms, hosts=hosts)))
        t.seen(Status.CRIT)
        assert (t.orders == []) is held


def test_maintenance_withdrawn_lets_healing_go_on():
    t = Timeline()
    t.feed(WindowAdded(t.now_ms, window(t)))
    t.seen(Status.CRIT)
    t.feed(WindowRemoved(t.now_ms, "m1", "ann"))
    assert len(t.orders) == 1


def test_a_person_at_work_stops_healing_on_that_host_for_a_while():
    t = Timeline(hosts=2)
    t.feed(PersonSeen(t.now_ms, "h-1", "ann on pts/0", t.now_ms + 900_000))
    t.seen(Status.CRIT, host="h-1", seq=1)
    assert t.only.holds == ("human_present:human_present",)
    t.wait(900_000)
    assert [o.host for o in t.orders] == ["h-1"]


def test_what_flaps_is_told_once_and_not_repaired_again():
    t = Timeline(policy(playbook(for_ms=60_000, limits=replace(LOOSE, flapping=Flapping(4, 600_000, 300_000)))))
    for _ in range(8):
        t.seen(Status.CRIT)
        t.wait(5_000)
        t.seen(Status.OK)
        t.wait(5_000)
    assert [e.why for e in t.escalated] == [Why.FLAPPING]
    assert t.orders == []
    t.wait(600_000)
    t.seen(Status.CRIT)
    t.wait(60_000)
    assert len(t.orders) == 1


def fail_all(t: Timeline, count: int, first: int = 1) -> None:
    for number in range(first, first + count):
        t.seen(Status.CRIT, host=f"h-{number}", seq=1)


def test_a_storm_holds_all_pages_once_and_ends_by_itself():
    budget = replace(LIMITS, fleet=FleetBudget("role", 10, 20))
    t = Timeline(policy(playbook(limits=budget)), hosts=20)
    fail_all(t, 12)
    assert len(t.orders) == 2
    t.wait(5_000)
    pages = [e for e in t.escalated if e.severity == "page"]
    assert [(e.subject.host, e.why) for e in pages] == [("fleet", Why.STORM)]
    t.wait(60_000)
    assert len(t.orders) == 2
    for number in range(3, 12):
        t.seen(Status.OK, host=f"h-{number}", seq=2)
    t.wait(700_000)
    assert t.fleet.outbreaks == {}
    assert "storm_over" in t.why()
    assert "h-12" in [o.host for o in t.orders]


def test_a_storm_in_one_rack_is_seen_although_the_role_is_mostly_well():
    t = Timeline(hosts=60)
    for number in range(1, 61):
        labels = {"role": "web", "rack": f"r{number % 6}"}
        t.feed(HostEnrolled(t.now_ms, f"h-{number}", f"web-{number}", labels))
    for number in range(6, 61, 6):
        t.seen(Status.CRIT, host=f"h-{number}", seq=1)
    assert list(t.fleet.outbreaks["unit_failed"].groups) == ["rack=r0"]


def test_a_playbooks_own_storm_limit_counts():
    t = Timeline(policy(playbook(limits=replace(LIMITS, storm=Storm("role", 10, 300_000)))), hosts=60)
    fail_all(t, 6)
    assert "unit_failed" in t.fleet.outbreaks


def test_capacity_is_never_taken_below_its_floor():
    floor = replace(LIMITS, floor=Floor("role", 70), fleet=FleetBudget("role", 50, 20))
    t = Timeline(policy(playbook(limits=floor)), hosts=10)
    fail_all(t, 4)
    assert [o.host for o in t.orders] == ["h-1", "h-2", "h-3"]
    assert "minimum_healthy" in t.why()


def test_a_group_of_one_can_be_healed_in_spite_of_its_floor():
    t = Timeline(policy(playbook(limits=replace(LIMITS, floor=Floor("role", 90)))))
    t.seen(Status.CRIT)
    assert len(t.orders) == 1


def test_a_floor_over_a_label_that_the_host_lacks_holds():
    t = Timeline(policy(playbook(limits=replace(LIMITS, floor=Floor("rack", 50)))))
    t.seen(Status.CRIT)
    assert t.only.holds == ("minimum_healthy:group_unknown",)


def test_when_most_hosts_seem_lost_the_observer_is_suspected_and_pages_once():
    t = Timeline(hosts=6)
    for number in (1, 2, 3, 4):
        t.silent(f"h-{number}")
    t.seen(Status.CRIT, host="h-6", seq=1)
    assert t.orders == []
    pages = [e for e in t.escalated if e.severity == "page"]
    assert [e.why for e in pages] == [Why.MANY_HOSTS_LOST]
    for number in (1, 2, 3, 4):
        t.feed(HostConnected(t.now_ms, f"h-{number}", "boot-1", t.clock()))
    assert t.orders == []
    t.wait(100)
    t.seen(Status.CRIT, host="h-6", seq=2)
    assert [o.host for o in t.orders] == ["h-6"]


def test_after_a_start_or_a_doubt_only_fresh_evidence_counts():
    for doubt in (DeciderStarted(0, 2), ObserverDoubted(0, "the clock jumped by an hour")):
        t = Timeline(policy(playbook(for_ms=10_000)))
        t.seen(Status.CRIT)
        t.feed(replace(doubt, at_ms=t.now_ms + 1_000))
        t.wait(10_000, fresh=False)
        assert t.orders == []
        t.confirm(t.only.id)
        assert len(t.orders) == 1


def test_failed_proofs_lower_trust_until_a_person_lifts_it():
    t = Timeline(policy(playbook(steps=(RESTART,), limits=LOOSE)))
    for number in range(3):
        t.seen(Status.CRIT, unit=f"s{number}.service")
        t.ended(t.orders[-1])
        t.wait(40_000)
    assert t.fleet.standing["restart-failed-unit"].lowered is Trust.SUGGEST
    assert Why.TRUST_DEMOTED in [e.why for e in t.escalated]
    t.seen(Status.CRIT, unit="s9.service")
    assert len(t.orders) == 3
    t.feed(TrustRestored(t.now_ms, "restart-failed-unit", "ann"))
    t.seen(Status.CRIT, unit="s10.service")
    assert len(t.orders) == 4


def test_a_proved_repair_ends_a_row_of_failures():
    t = Timeline(policy(playbook(steps=(RESTART,), limits=LOOSE)))
    for number in range(6):
        t.seen(Status.CRIT, unit=f"s{number}.service")
        if number % 2:
            heal(t, unit=f"s{number}.service")
        else:
            t.ended(t.orders[-1])
            t.wait(40_000)
    assert t.fleet.standing["restart-failed-unit"].lowered is None


def test_what_is_healed_again_and_again_is_debt_of_its_owner():
    t = Timeline(policy(playbook(limits=replace(LOOSE, attempts=replace(LIMITS.attempts, max=99, backoff_ms=0)))))
    for _ in range(10):
        t.seen(Status.CRIT)
        heal(t)
        t.wait(3_600_000)
    assert [(e.to, e.why) for e in t.escalated] == [("platform", Why.MASKING)]
    assert (tries_left(5, 9), tries_left(5, 10), tries_left(5, 30)) == (5, 2, 1)


def test_budget_that_never_comes_free_ends_with_a_person():
    t = Timeline(policy(playbook(steps=(replace(RESTART, timeout_ms=3_600_000),))), hosts=3)
    fail_all(t, 2)
    t.wait(700_000)
    assert [e.why for e in t.escalated] == [Why.FLEET_BUDGET]
    assert t.fleet.incidents["inc-1"].phase is Phase.ORDERED


def test_maintenance_does_not_stop_the_people_who_do_it():
    t = Timeline()
    t.feed(WindowAdded(t.now_ms, window(t)))
    t.run()
    assert len(t.orders) == 1


def flap(t: Timeline, times: int = 4) -> None:
    """A subject that comes and goes, shorter than a playbook waits for."""
    for _ in range(times):
        t.seen(Status.CRIT)
        t.wait(5_000)
        t.seen(Status.OK)
        t.wait(5_000)


def over(t: Timeline) -> list[tuple[str, str]]:
    return [(r.incident, r.text) for s in t.steps for r in s.reasons if r.why is Why.FLAPPING_OVER]


def flapping() -> Timeline:
    """Four times within 40 s; quiet is 5 min."""
    t = Timeline(policy(playbook(for_ms=60_000, limits=replace(LOOSE, flapping=Flapping(4, 600_000, 300_000)))))
    flap(t)
    assert [e.why for e in t.escalated] == [Why.FLAPPING]
    return t


def test_flapping_that_is_over_is_said_with_the_incident_that_told_of_it():
    t = flapping()
    last_ms = t.fleet.opened_at[Subject("h-1", "", "nginx.service")][-1]
    assert flaps.count(t.fleet, t.now_ms) == 1
    t.wait(last_ms + 299_999 - t.now_ms)
    t.seen(Status.CRIT, unit="other.service")
    assert over(t) == []
    assert flaps.count(t.fleet, t.now_ms) == 1
    t.wait(1)
    assert flaps.count(t.fleet, t.now_ms) == 0
    t.seen(Status.OK, unit="other.service")
    assert over(t) == [("inc-4", "nginx.service flaps no more: it was quiet for 5 min")]
    assert t.fleet.flapping == {}


def test_flapping_that_goes_on_is_over_later():
    t = flapping()
    t.wait(200_000)
    flap(t, 1)
    t.wait(200_000)
    t.seen(Status.CRIT, unit="other.service")
    assert over(t) == []
    t.wait(100_000)
    t.seen(Status.OK, unit="other.service")
    assert len(over(t)) == 1


def test_an_incident_that_stays_bad_after_flapping_wakes_up_to_say_so():
    t = Timeline(policy(playbook(for_ms=60_000, limits=replace(LOOSE, flapping=Flapping(4, 600_000, 300_000)))))
    flap(t, 3)
    t.seen(Status.CRIT)
    assert t.only.phase is Phase.ESCALATED
    t.wait(300_000)
    assert [incident for incident, _ in over(t)] == [t.only.id]


def test_who_must_be_quiet_for_a_shorter_time_does_not_wait_for_the_others():
    slow, quick = (
        playbook(name=check, check=check, for_ms=60_000, limits=replace(LOOSE, flapping=Flapping(2, 600_000, quiet_ms)))
        for check, quiet_ms in (("slow", 3_600_000), ("quick", 60_000))
    )
    t = Timeline(policy(slow, quick))
    for check in ("slow", "quick"):
        for status in (Status.CRIT, Status.OK, Status.CRIT, Status.OK):
            t.seen(status, check=check, unit=f"{check}.service")
    t.wait(60_000)
    t.seen(Status.OK, check="quick", unit="quick.service")
    assert [text for _, text in over(t)] == ["quick.service flaps no more: it was quiet for 1 min"]
    assert flaps.count(t.fleet, t.now_ms) == 1


def test_a_removed_host_flaps_no_more():
    t = flapping()
    t.feed(HostRemoved(t.now_ms, "h-1", "ann"))
    assert flaps.count(t.fleet, t.now_ms) == 0


def test_two_subjects_end_to_flap_each_in_its_time():
    t = Timeline(policy(playbook(for_ms=60_000, limits=replace(LOOSE, flapping=Flapping(4, 600_000, 300_000)))), hosts=2)
    for host in ("h-1", "h-2"):
        for _ in range(4):
            t.seen(Status.CRIT, host=host)
            t.seen(Status.OK, host=host)
        t.wait(60_000)
    assert flaps.count(t.fleet, t.now_ms) == 2
    t.wait(190_000)
    t.seen(Status.CRIT, host="h-1", unit="other.service")
    assert (len(over(t)), flaps.count(t.fleet, t.now_ms)) == (1, 1)
    t.wait(60_000)
    t.seen(Status.OK, host="h-1", unit="other.service")
    assert (len(over(t)), t.fleet.flaps_look_ms) == (2, 0)


def test_a_playbook_that_asks_for_less_quiet_ends_the_flapping():
    t = flapping()
    t.wait(60_000)
    quick = Flapping(99, 600_000, 10_000)
    t.policy = policy(playbook(limits=replace(LOOSE, flapping=quick)), digest="p2")
    t.feed(PolicyLoaded(t.now_ms, "p2", "ann"))
    t.seen(Status.CRIT)
    assert len(t.orders) == 1
    assert [text for _, text in over(t)] == ["nginx.service flaps no more: by the limit of restart-failed-unit"]
    assert t.fleet.flapping == {}


def test_under_doubt_a_new_fault_is_looked_at_once_more_and_once_only():
    t = Timeline()
    t.feed(Paused(t.now_ms, "global", "ann", "freeze", None))
    t.seen(Status.CRIT, unit="other.service")
    assert t.asked == [], "a pause is no doubt"
    t.feed(ObserverDoubted(t.now_ms + 1, "the clock jumped"))
    t.seen(Status.CRIT)
    assert [asked.subject.key for asked in t.asked] == ["nginx.service"]
    t.wait(60_000, fresh=False)
    assert len(t.asked) == 1
