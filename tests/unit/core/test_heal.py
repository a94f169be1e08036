"""The main story and its wrong turns, as time lines."""

from dataclasses import replace

from fleetmend_controller.core.effects import Why
from fleetmend_controller.core.events import HostConnected, HostEnrolled, HostRemoved, OrderEnded
from fleetmend_controller.core.model import Cost, Outcome, Phase, Rate, Status, WaitStep
from fleetmend_controller.core.policy import Match, MatchAnswer

from .timeline import CALM, EVIDENCE, LIMITS, RESTART, Timeline, playbook, policy


def healed_after_stay_ok(t: Timeline) -> None:
    order = t.orders[-1]
    t.wait(20)
    t.started(order)
    t.wait(80)
    t.ended(order)
    t.wait(5)
    t.seen(Status.OK)
    t.wait(10_000)
    t.seen(Status.OK)


def test_a_failed_unit_is_restarted_proved_and_closed_as_healed():
    t = Timeline()
    t.seen(Status.CRIT)
    assert [o.action for o in t.orders] == ["restart_unit"]
    assert t.orders[0].params == (("unit", "nginx.service"),)
    assert t.only.phase is Phase.ORDERED
    healed_after_stay_ok(t)
    assert [c.why for c in t.closed] == [Why.HEALED]
    assert t.fleet.incidents == {}
    assert t.escalated == []


def test_the_order_is_bound_to_host_boot_and_the_hosts_own_clock():
    t = Timeline()
    t.seen(Status.CRIT)
    order = t.orders[0]
    assert (order.host, order.boot) == ("h-1", "boot-1")
    assert order.expires_clock_ms == t.clock(order.issued_ms) + t.policy.order_ttl_ms


def test_an_ok_sampled_before_the_action_ended_proves_nothing():
    t = Timeline()
    t.seen(Status.CRIT)
    before = t.now_ms
    t.wait(100)
    t.ended(t.orders[0])
    t.wait(10_000)
    t.seen(Status.OK, sampled_ms=before + 50)
    assert t.only.ok_clock_ms is None
    t.wait(10_000)
    t.seen(Status.OK, sampled_ms=before + 60)
    assert t.only.phase is Phase.PROVING


def test_an_ok_sampled_in_the_very_millisecond_of_the_end_proves_nothing():
    t = Timeline()
    t.seen(Status.CRIT)
    t.ended(t.orders[0])
    t.seen(Status.OK)
    assert t.only.ok_clock_ms is None
    t.wait(1)
    t.seen(Status.OK)
    assert t.only.ok_clock_ms == t.clock()


def test_unknown_and_warn_prove_nothing_and_the_window_ends_in_the_next_try():
    t = Timeline()
    t.seen(Status.CRIT)
    t.ended(t.orders[0])
    t.wait(10)
    t.seen(Status.UNKNOWN)
    t.wait(10_000)
    t.seen(Status.WARN)
    t.wait(20_001)
    t.seen(Status.UNKNOWN)
    assert "proof_timeout" in t.why()
    assert t.only.phase is Phase.HELD


def test_a_fault_that_comes_back_after_a_repair_must_last_again():
    limits = replace(LIMITS, attempts=replace(LIMITS.attempts, backoff_ms=0))
    t = Timeline(policy(playbook(for_ms=2_000, steps=(RESTART, RESTART), limits=limits)))
    t.seen(Status.CRIT)
    t.wait(2_000)
    t.ended(t.orders[0])
    t.wait(10)
    t.seen(Status.OK)
    t.wait(5_000)
    t.seen(Status.CRIT)
    t.wait(1_990)
    assert len(t.orders) == 1
    t.wait(10)
    assert len(t.orders) == 2


def test_silence_ends_no_window_and_a_service_that_is_well_is_not_restarted_again():
    t = Timeline()
    t.seen(Status.CRIT)
    t.ended(t.orders[0])
    t.wait(10)
    t.seen(Status.CRIT)
    t.wait(120_000, fresh=False)
    assert t.only.phase is Phase.PROVING
    t.feed(HostConnected(t.now_ms, "h-1", "boot-1", t.clock()))
    t.seen(Status.OK)
    t.wait(10_000)
    t.seen(Status.OK)
    assert t.closed[0].why is Why.HEALED
    assert len(t.orders) == 1


def test_silence_that_lasts_goes_to_a_person():
    t = Timeline()
    t.seen(Status.CRIT)
    t.ended(t.orders[0])
    t.wait(700_000, fresh=False)
    assert t.only.phase is Phase.ESCALATED
    assert len(t.orders) == 1


def test_an_escalated_incident_is_asked_about_when_its_host_comes_back():
    t = Timeline()
    t.seen(Status.CRIT)
    t.ended(t.orders[0])
    t.wait(700_000, fresh=False)
    asked = len(t.asked)
    t.feed(HostConnected(t.now_ms, "h-1", "boot-1", t.clock()))
    assert len(t.asked) == asked + 1
    t.seen(Status.OK)
    assert t.closed[0].why is Why.HEALED_BY_PERSON


def test_ok_that_does_not_last_is_no_proof():
    t = Timeline()
    t.seen(Status.CRIT)
    t.ended(t.orders[0])
    t.wait(10)
    t.seen(Status.OK)
    t.wait(5_000)
    t.seen(Status.CRIT)
    assert "proof_broken" in t.why()
    assert t.only.phase is Phase.HELD


def test_fresh_results_are_asked_for_until_they_come():
    t = Timeline()
    t.seen(Status.CRIT)
    t.ended(t.orders[0])
    t.wait(5_100)
    assert len(t.asked) == 6
    t.seen(Status.OK)
    t.wait(12_000)
    assert len(t.asked) > 6


def test_a_unit_that_fails_again_at_once_is_tried_again_and_then_handed_over():
    t = Timeline()
    t.seen(Status.CRIT)
    for _ in range(200):
        if t.escalated:
            break
        if t.only.order and t.only.phase is Phase.ORDERED:
            t.ended(t.only.order)
            t.wait(10)
            t.seen(Status.CRIT)
        t.wait(1_000)
        t.confirm(t.only.id)
    assert [o.id for o in t.orders] == ["ord-1-1", "ord-1-2"]
    assert t.orders[1].issued_ms - t.orders[0].issued_ms >= 60_000
    assert [(e.to, e.severity, e.why) for e in t.escalated] == [("platform-oncall", "page", Why.STEPS_EXHAUSTED)]
    t.seen(Status.OK)
    assert [c.why for c in t.closed] == [Why.HEALED_BY_PERSON]


def test_repeated_faults_back_off_geometrically_and_end_with_a_person():
    t = Timeline(policy(playbook(limits=replace(LIMITS, per_host=Rate(99, 3_600_000), flapping=CALM))))
    waited = []
    while not t.escalated:
        tries = len(t.orders)
        begun_ms = t.now_ms
        t.seen(Status.CRIT)
        while len(t.orders) == tries and not t.escalated:
            t.wait(100)
        waited.append(t.now_ms - begun_ms)
        if t.escalated:
            break
        t.ended(t.orders[-1])
        t.wait(10)
        t.seen(Status.OK)
        t.wait(10_000)
        t.seen(Status.OK)
    assert len(t.orders) == 5
    assert waited[:3] == [0, 0, 0]
    assert [round(ms, -3) for ms in waited[3:]] == [10_000, 30_000, 0]
    assert [e.why for e in t.escalated] == [Why.ATTEMPTS_EXHAUSTED]


def test_the_second_attempt_soon_after_the_first_waits_for_the_back_off():
    t = Timeline(policy(playbook(steps=(RESTART, RESTART))))
    t.seen(Status.CRIT)
    t.ended(t.orders[0], Outcome.FAILED, detail="exit 1")
    assert "backing_off" in t.why()
    t.wait(5_000)
    assert [o.id for o in t.orders] == ["ord-1-1", "ord-1-2"]
    assert t.orders[1].issued_ms - t.orders[0].issued_ms == 5_000


def test_a_fault_that_goes_away_is_not_claimed():
    t = Timeline(policy(playbook(for_ms=5_000)))
    t.seen(Status.CRIT)
    t.wait(2_000)
    t.seen(Status.OK)
    assert [c.why for c in t.closed] == [Why.WENT_AWAY]
    assert t.orders == []


def test_a_fault_younger_than_the_playbook_asks_is_held_then_healed():
    t = Timeline(policy(playbook(for_ms=5_000)))
    t.seen(Status.CRIT)
    assert t.only.phase is Phase.HELD
    t.wait(5_000)
    assert len(t.orders) == 1


def test_no_playbook_means_a_person():
    t = Timeline()
    t.seen(Status.CRIT, check="memory_available", unit="", finding={})
    assert [(e.why, e.severity) for e in t.escalated] == [(Why.NO_PLAYBOOK, "ticket")]


def test_a_missing_finding_field_is_never_guessed():
    t = Timeline()
    t.seen(Status.CRIT, finding={})
    assert t.orders == []
    assert [e.why for e in t.escalated] == [Why.PLAYBOOK_BAD_PARAMETER]


def test_a_host_that_refuses_ends_with_a_person_and_its_reason():
    t = Timeline()
    t.seen(Status.CRIT)
    t.ended(t.orders[0], Outcome.REFUSED, detail="cannot restart nginx.service: undeclared")
    assert [e.why for e in t.escalated] == [Why.ACTION_REFUSED]
    assert "undeclared" in t.escalated[0].text


def test_evidence_is_collected_first_and_its_failure_stops_nothing():
    t = Timeline(policy(playbook(steps=(EVIDENCE, RESTART))))
    t.seen(Status.CRIT)
    assert t.orders[-1].cost is Cost.HARMLESS
    t.ended(t.orders[-1], Outcome.REFUSED, detail="not permitted")
    assert t.orders[-1].action == "restart_unit"


def test_an_expired_order_goes_back_to_the_gates():
    t = Timeline()
    t.seen(Status.CRIT)
    t.ended(t.orders[0], Outcome.EXPIRED)
    assert t.only.phase is Phase.HELD
    t.wait(5_000)
    assert [o.id for o in t.orders] == ["ord-1-1", "ord-1-2"]


def test_an_order_without_word_is_unknown_and_only_the_check_decides():
    t = Timeline()
    t.seen(Status.CRIT)
    t.wait(30_000 + 60_000 + 15_000)
    assert "action_unknown" in t.why()
    assert t.only.phase is Phase.PROVING
    t.wait(5)
    t.seen(Status.OK)
    t.wait(10_000)
    t.seen(Status.OK)
    assert [c.why for c in t.closed] == [Why.RECOVERED_UNSURE]


def test_a_late_outcome_decides_nothing():
    t = Timeline()
    t.seen(Status.CRIT)
    order = t.orders[0]
    t.wait(105_000)
    phase = t.only.phase
    t.ended(order, Outcome.FAILED, detail="late")
    assert t.only.phase is phase
    assert t.only.attempts[0].outcome is Outcome.FAILED


def test_an_outcome_from_another_host_is_ignored():
    t = Timeline(hosts=2)
    t.seen(Status.CRIT)
    t.ended(t.orders[0], host="h-2")
    assert t.only.phase is Phase.ORDERED


def test_fault_gone_waits_for_the_agents_own_word():
    t = Timeline()
    t.seen(Status.CRIT)
    t.ended(t.orders[0], Outcome.REFUSED, refusal="fault_gone")
    assert t.only.phase is Phase.HELD
    assert len(t.orders) == 1
    t.seen(Status.OK)
    assert [c.why for c in t.closed] == [Why.WENT_AWAY]


def test_an_unreachable_executor_is_tried_again_and_then_handed_over():
    t = Timeline()
    t.seen(Status.CRIT)
    for _ in range(10):
        if t.escalated:
            break
        t.ended(t.orders[-1], Outcome.REFUSED, refusal="executor_unreachable", detail="no socket")
        t.wait(90_000)
    assert len(t.orders) == 3
    assert [e.why for e in t.escalated] == [Why.HOST_RATE]


def test_a_record_that_was_seen_already_changes_nothing():
    t = Timeline()
    t.seen(Status.CRIT, seq=5)
    step = t.seen(Status.OK, seq=5)
    assert step.effects == ()
    assert t.only.status is Status.CRIT


def test_a_result_from_before_the_last_boot_is_history():
    t = Timeline()
    t.feed(HostConnected(t.now_ms, "h-1", "boot-2", 500))
    t.seen(Status.CRIT, boot="boot-1")
    assert t.fleet.incidents == {}


def test_a_reboot_while_an_order_is_out_leaves_its_effect_unknown():
    t = Timeline()
    t.seen(Status.CRIT)
    t.feed(HostConnected(t.now_ms, "h-1", "boot-2", 500))
    assert "action_unknown" in t.why()
    assert t.only.phase is Phase.PROVING


def test_a_reconnect_sends_the_same_order_again():
    t = Timeline()
    t.seen(Status.CRIT)
    t.feed(HostConnected(t.now_ms, "h-1", "boot-1", t.clock()))
    assert [o.id for o in t.orders] == ["ord-1-1", "ord-1-1"]


def test_one_crash_seen_by_two_checks_is_one_incident_and_one_order():
    t = Timeline(policy(playbook(), playbook(name="hung", check="health")))
    t.seen(Status.CRIT)
    t.seen(Status.CRIT, check="health")
    assert len(t.fleet.incidents) == 1
    assert len(t.orders) == 1
    t.seen(Status.OK, check="health")
    assert t.only.symptoms == {}


def test_a_symptom_from_before_the_repair_is_asked_for_and_leads_to_no_second_repair():
    t = Timeline(policy(playbook(), playbook(name="hung", check="health")))
    t.seen(Status.CRIT)
    t.seen(Status.CRIT, check="health")
    healed_after_stay_ok(t)
    assert t.fleet.incidents == {}
    assert t.asked[-1].subject.check == "health"
    assert len(t.orders) == 1


def test_a_symptom_that_outlives_the_incident_becomes_one():
    t = Timeline(policy(playbook(), playbook(name="hung", check="health")))
    t.seen(Status.CRIT)
    t.seen(Status.CRIT, check="health")
    t.wait(20)
    t.ended(t.orders[0])
    t.wait(5)
    t.seen(Status.OK)
    t.wait(10_000)
    t.seen(Status.OK)
    assert t.fleet.incidents == {}
    assert t.asked[-1].subject.check == "health"
    assert len(t.orders) == 1
    t.seen(Status.CRIT, check="health")
    assert t.only.subject.check == "health"


def test_steps_wait_and_are_judged_afresh():
    t = Timeline(policy(playbook(steps=(WaitStep(30_000), RESTART))))
    t.seen(Status.CRIT)
    assert t.only.phase is Phase.HELD
    t.wait(29_999)
    assert t.orders == []
    t.wait(1)
    assert len(t.orders) == 1


def test_a_removed_host_leaves_nothing_behind():
    t = Timeline()
    t.seen(Status.CRIT)
    t.feed(HostRemoved(t.now_ms, "h-1", "ann"))
    assert (t.fleet.hosts, t.fleet.incidents, t.fleet.acting, t.fleet.in_flight, t.fleet.group_size) == ({}, {}, {}, {}, {})


def test_new_labels_move_a_host_between_groups():
    t = Timeline()
    t.feed(HostEnrolled(t.now_ms, "h-1", "web-1", {"role": "db"}))
    assert t.fleet.group_size == {("role", "db"): 1, ("role", "*"): 1}


def test_an_unknown_outcome_for_an_unknown_order_is_harmless():
    t = Timeline()
    step = t.feed(OrderEnded(t.now_ms, "h-1", "ord-99-1", Outcome.DONE, "", "", "boot-1", 0, 0))
    assert step.effects == ()


def test_every_playbook_says_what_it_thinks_of_an_incident():
    yes, no = Match(MatchAnswer.YES), Match(MatchAnswer.NO, "host.labels.role is web")
    books = [playbook(name=name) for name in ("first", "chosen", "late", "later")]
    others = [playbook(name=f"other-{number}", check="disk") for number in range(25)]
    answers = {"first": no, "late": no, "later": yes}
    rules = policy(*books, *others, conditions={n: lambda _h, _i, a=a: a for n, a in answers.items()})
    t = Timeline(rules)
    t.seen(Status.CRIT)
    said = [(r.why, r.text) for r in t.steps[-1].reasons if r.why.value.startswith("playbook")]
    names = ", ".join(f"other-{number}" for number in range(20))
    assert said == [
        (Why.PLAYBOOK_WHERE_FALSE, "first does not match: host.labels.role is web"),
        (Why.PLAYBOOK_MATCHED, "chosen answers it: Restart a failed systemd unit."),
        (Why.PLAYBOOK_WHERE_FALSE, "late does not match: host.labels.role is web"),
        (Why.PLAYBOOK_LATER, "later would answer it, too, but chosen comes before it"),
        (Why.PLAYBOOK_OTHER_CHECK, f"{names} and 5 more answer other checks"),
    ]
    assert t.only.playbook == "chosen"
    assert len(t.orders) == 1


def test_one_playbook_of_another_check_is_told_by_itself():
    t = Timeline(policy(playbook(), playbook(name="disk", check="disk")))
    t.seen(Status.CRIT)
    assert "disk answers other checks" in [r.text for r in t.steps[-1].reasons]
