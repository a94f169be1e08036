"""Each gate: when it allows, holds and refuses, and that people see all blockers at once."""

from dataclasses import replace

from fleetmend_controller.core.effects import Step, Verdict, Why
from fleetmend_controller.core.events import EvidenceConfirmed, Paused, Resumed
from fleetmend_controller.core.model import FleetBudget, Floor, Outcome, Phase, Rate, Status, Trust

from .timeline import EVIDENCE, LIMITS, RESTART, Timeline, playbook, policy

MANY = replace(LIMITS, per_host=Rate(99, 3_600_000))


def test_a_pause_holds_and_its_end_is_judged_afresh():
    t = Timeline()
    t.feed(Paused(t.now_ms, "global", "ann", "migration", None))
    t.seen(Status.CRIT)
    assert t.only.holds == ("paused:paused",)
    t.feed(Resumed(t.now_ms, "global", "ann"))
    assert len(t.orders) == 1


def test_a_pause_expires_by_itself():
    t = Timeline()
    t.feed(Paused(t.now_ms, "host:h-1", "ann", "migration", t.now_ms + 60_000))
    t.seen(Status.CRIT)
    t.wait(59_999)
    assert t.orders == []
    t.wait(1)
    assert len(t.orders) == 1


def test_pauses_cover_group_and_playbook_and_nothing_else():
    for scope, held in (
        ("group:role=web", True),
        ("playbook:restart-failed-unit", True),
        ("group:role=db", False),
        ("host:h-2", False),
    ):
        t = Timeline()
        t.feed(Paused(t.now_ms, scope, "ann", "why", None))
        t.seen(Status.CRIT)
        assert (t.orders == []) is held, scope


def test_a_pause_that_ends_after_the_fault_replays_nothing():
    t = Timeline()
    t.feed(Paused(t.now_ms, "global", "ann", "why", None))
    t.seen(Status.CRIT)
    t.seen(Status.OK)
    t.feed(Resumed(t.now_ms, "global", "ann"))
    assert t.orders == []


def test_the_end_of_another_pause_is_no_reason_to_look():
    t = Timeline(hosts=2)
    t.feed(Paused(t.now_ms, "host:h-1", "ann", "why", None))
    t.seen(Status.CRIT)
    for other in ("host:h-2", "host:h-3", "group:role=db"):
        t.feed(Paused(t.now_ms, other, "ann", "why", None))
        assert t.feed(Resumed(t.now_ms, other, "ann")) == Step((), ())
    assert t.orders == []
    t.feed(Resumed(t.now_ms, "host:h-1", "ann"))
    assert len(t.orders) == 1


def test_the_end_of_a_pause_of_a_group_or_a_playbook_frees_what_it_held():
    for scope in ("group:role=web", "playbook:restart-failed-unit", "global"):
        t = Timeline()
        t.feed(Paused(t.now_ms, scope, "ann", "why", None))
        t.seen(Status.CRIT)
        t.feed(Resumed(t.now_ms, scope, "ann"))
        assert len(t.orders) == 1, scope


def test_heartbeats_are_no_reason_to_look_at_what_they_cannot_free():
    t = Timeline()
    t.feed(Paused(t.now_ms, "global", "ann", "why", None))
    t.seen(Status.CRIT)
    t.now_ms += 10_000
    heard = EvidenceConfirmed(t.now_ms, "h-1", "unit_failed", "nginx.service", "boot-1", t.clock(), t.clock())
    assert t.feed(heard) == Step((), ())
    assert t.only.evidence_ms == t.now_ms


def test_what_hangs_on_a_group_that_cannot_be_counted_goes_to_a_person_in_time():
    floor = Floor("role", 50)
    # No multiple of the time after which it looks at itself anyway.
    t = Timeline(replace(policy(playbook(limits=replace(LIMITS, floor=floor))), stuck_ms=400_001), labels={})
    begun_ms = t.now_ms
    t.seen(Status.CRIT)
    assert t.only.holds == ("minimum_healthy:group_unknown",)
    t.wait(t.policy.stuck_ms - 1)
    assert t.escalated == []
    t.wait(1)
    assert [e.why for e in t.escalated] == [Why.GROUP_UNKNOWN]
    assert t.now_ms == begun_ms + t.policy.stuck_ms


def test_a_playbook_that_observes_never_acts():
    t = Timeline(policy(playbook(trust=Trust.OBSERVE)))
    t.seen(Status.CRIT)
    assert t.orders == []
    assert [e.why for e in t.escalated] == [Why.TRUST_OBSERVE]


def test_old_evidence_holds_until_a_heartbeat_brings_a_newer_sample():
    t = Timeline()
    t.seen(Status.CRIT, sampled_ms=t.now_ms - 31_000)
    assert t.only.holds == ("evidence_fresh:evidence_stale",)
    t.confirm(t.only.id)
    assert len(t.orders) == 1


def test_evidence_that_stays_away_ends_with_a_person():
    t = Timeline()
    t.seen(Status.CRIT, sampled_ms=t.now_ms - 31_000)
    t.wait(700_000, fresh=False)
    assert [e.why for e in t.escalated] == [Why.EVIDENCE_STALE]
    assert t.orders == []


def test_a_check_that_turns_unknown_holds_the_action():
    t = Timeline(policy(playbook(for_ms=1_000)))
    t.seen(Status.CRIT)
    t.seen(Status.UNKNOWN)
    t.wait(2_000)
    assert t.orders == []
    t.seen(Status.CRIT)
    assert len(t.orders) == 1


def test_nothing_is_ordered_on_a_lost_host():
    t = Timeline(policy(playbook(for_ms=60_000)))
    t.seen(Status.CRIT)
    t.silent()
    t.wait(120_000)
    assert t.orders == []
    assert [(e.subject.check, e.severity) for e in t.escalated] == [("host_lost", "page")]


def test_a_host_that_comes_back_closes_its_incident():
    t = Timeline()
    t.silent()
    t.silent()
    assert len(t.fleet.incidents) == 1
    from fleetmend_controller.core.events import HostConnected

    t.feed(HostConnected(t.now_ms, "h-1", "boot-1", t.clock()))
    assert [c.why for c in t.closed] == [Why.HOST_BACK]


def test_one_disruptive_action_a_host_at_a_time():
    t = Timeline(policy(playbook(limits=MANY)))
    for number in range(8):
        t.seen(Status.CRIT, unit=f"s{number}.service")
    assert len(t.orders) == 1
    for number in range(8):
        t.wait(100)
        t.ended(t.orders[number])
    assert len({o.id for o in t.orders}) == 8


def test_a_harmless_action_waits_for_nobody():
    t = Timeline(policy(playbook(limits=MANY), playbook(name="look", check="other", steps=(EVIDENCE, RESTART))))
    t.seen(Status.CRIT)
    t.seen(Status.CRIT, unit="b.service", check="other")
    assert [o.action for o in t.orders] == ["restart_unit", "collect_evidence"]


def test_the_hosts_rate_hands_over():
    t = Timeline()
    for number in range(4):
        t.seen(Status.CRIT, unit=f"s{number}.service")
        t.ended(t.orders[-1])
    assert len(t.orders) == 3
    assert [e.why for e in t.escalated] == [Why.HOST_RATE]


def test_the_fleet_budget_is_one_or_the_share_and_never_above_the_ceiling():
    for hosts, percent, at_most, expected in ((3, 10, 20, 1), (40, 10, 20, 4), (40, 50, 5, 5)):
        t = Timeline(policy(playbook(limits=replace(LIMITS, fleet=FleetBudget("role", percent, at_most)))), hosts=hosts)
        for number in range(1, min(hosts, 11) + 1):
            t.seen(Status.CRIT, host=f"h-{number}", seq=1)
        t.wait(5_000)
        assert len(t.orders) == expected


def test_budget_that_comes_free_goes_to_who_waited_longest():
    t = Timeline(hosts=4)
    for number in (1, 2, 3):
        t.seen(Status.CRIT, host=f"h-{number}", seq=1)
    assert [o.host for o in t.orders] == ["h-1"]
    t.ended(t.orders[0])
    t.wait(5)
    t.seen(Status.OK, host="h-1", seq=2)
    t.wait(10_000)
    t.seen(Status.OK, host="h-1", seq=3)
    assert [o.host for o in t.orders] == ["h-1", "h-2"]


def test_people_draw_on_the_same_budget():
    t = Timeline(hosts=3)
    t.run("h-1")
    t.seen(Status.CRIT, host="h-2", seq=1)
    assert [o.host for o in t.orders] == ["h-1"]
    t.ended(t.orders[0])
    assert [o.host for o in t.orders] == ["h-1", "h-2"]
    assert [c.why for c in t.closed] == [Why.RAN]


def test_an_operators_run_that_fails_says_so_and_calls_nobody():
    t = Timeline()
    t.run()
    t.ended(t.orders[0], Outcome.FAILED, detail="exit 5")
    assert [c.why for c in t.closed] == [Why.ACTION_FAILED]
    assert t.escalated == []


def test_an_operators_run_on_a_lost_host_is_refused_at_once():
    t = Timeline()
    t.silent()
    t.run()
    assert [c.why for c in t.closed] == [Why.HOST_LOST]
    assert t.orders == []


def test_hosts_without_the_label_share_one_budget():
    t = Timeline(hosts=3, labels={})
    for number in (1, 2, 3):
        t.seen(Status.CRIT, host=f"h-{number}", seq=1)
    assert len(t.orders) == 1


def test_every_gate_answers_even_when_several_block():
    t = Timeline(policy(playbook(for_ms=5_000)))
    t.feed(Paused(t.now_ms, "global", "ann", "why", None))
    step = t.seen(Status.CRIT, sampled_ms=t.now_ms - 40_000)
    gates = [r.gate for r in step.reasons if r.gate]
    assert gates == [gate.name for gate in t.policy.gates]
    blockers = [r.why for r in step.reasons if r.gate and r.verdict is not Verdict.ALLOW]
    assert blockers == [Why.PAUSED, Why.EVIDENCE_STALE]


def test_holds_are_said_once_while_they_stay_the_same():
    t = Timeline()
    t.feed(Paused(t.now_ms, "global", "ann", "why", None))
    t.seen(Status.CRIT)
    said = len(t.why())
    t.wait(3_000_000)
    assert len(t.why()) == said
    assert t.only.phase is Phase.HELD
