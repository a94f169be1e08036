"""Events that come late, twice, for nobody or in the wrong state change nothing, or say why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetmend_controller.core import invariants
from fleetmend_controller.core.effects import Why
from fleetmend_controller.core.events import (
    EvidenceConfirmed,
    HostConnected,
    HostEnrolled,
    HostRemoved,
    HostSilent,
    ObserverDoubted,
    OrderEnded,
    OrderStarted,
    PersonSeen,
    RunRequested,
    TrustRestored,
    Woken,
)
from fleetmend_controller.core.model import Cost, Flapping, Outcome, Phase, Status, Trust
from fleetmend_controller.core.policy import Match, MatchAnswer
from fleetmend_controller.core.survey import survey
from fleetmend_controller.core.transitions import IllegalTransition, Trigger, after
from fleetmend_controller.store import codec

from .timeline import CALM, EVIDENCE, LIMITS, RESTART, Timeline, playbook, policy


def test_nobody_is_not_a_host():
    t = Timeline()
    before = repr(t.fleet.hosts)
    for event in (
        HostConnected(t.now_ms, "h-9", "b", 1),
        HostSilent(t.now_ms, "h-9", 1),
        HostRemoved(t.now_ms, "h-9", "ann"),
        PersonSeen(t.now_ms, "h-9", "ann", t.now_ms + 1),
        OrderStarted(t.now_ms, "h-9", "ord-1-1"),
        OrderEnded(t.now_ms, "h-9", "ord-1-1", Outcome.DONE, "", "", "b", 1, 1),
        EvidenceConfirmed(t.now_ms, "h-9", "unit_failed", "a", "b", 1, 1),
        RunRequested(t.now_ms, "h-9", "restart_unit", (), "disruptive", 1, "ann", "r"),
        Woken(t.now_ms, "inc-9"),
        TrustRestored(t.now_ms, "nothing", "ann"),
    ):
        step = t.feed(event)
        assert (step.effects, step.reasons) == ((), ())
    assert repr(t.fleet.hosts) == before
    assert t.fleet.incidents == {}


def test_a_record_that_came_before_changes_nothing():
    t = Timeline()
    t.seen(Status.CRIT, seq=5)
    order = t.orders[0]
    started = OrderStarted(t.now_ms, "h-1", order.id, "box-h-1", 6)
    t.feed(started)
    assert t.only.phase is Phase.RUNNING
    assert t.feed(started).reasons == ()
    ended = OrderEnded(t.now_ms, "h-1", order.id, Outcome.DONE, "", "", "boot-1", t.clock(), t.clock(), "", "box-h-1", 7)
    t.feed(ended)
    assert t.feed(ended).reasons == ()
    assert t.feed(replace(ended, seq=8)).reasons == (), "it has ended, under whatever number"
    assert t.seen(Status.CRIT, seq=3).reasons == ()


def test_a_start_of_an_order_that_is_not_out_is_ignored():
    t = Timeline()
    t.seen(Status.CRIT)
    assert t.feed(OrderStarted(t.now_ms, "h-1", "ord-1-7")).effects == ()
    assert t.feed(OrderStarted(t.now_ms, "h-1", "ord-7-1")).effects == ()
    assert t.only.phase is Phase.ORDERED


def test_evidence_of_another_boot_or_of_no_incident_is_none():
    t = Timeline(policy(playbook(for_ms=5_000)))
    t.seen(Status.CRIT)
    seen_ms = t.only.evidence_ms
    t.now_ms += 100
    t.feed(EvidenceConfirmed(t.now_ms, "h-1", "unit_failed", "nginx.service", "boot-0", t.clock(), t.clock()))
    t.feed(EvidenceConfirmed(t.now_ms, "h-1", "unit_failed", "other.service", "boot-1", t.clock(), t.clock()))
    assert t.only.evidence_ms == seen_ms


def test_a_sample_of_another_boot_is_history():
    t = Timeline()
    assert t.seen(Status.CRIT, boot="boot-0").effects == ()


def test_waking_too_early_or_without_wish_does_nothing():
    t = Timeline(policy(playbook(for_ms=5_000)))
    t.seen(Status.CRIT)
    assert t.feed(Woken(t.now_ms, t.only.id)).effects == ()
    t.silent()
    (lost,) = [i for i in t.fleet.incidents.values() if i.check_type == "host_lost"]
    lost.wake_ms = t.now_ms
    assert t.feed(Woken(t.now_ms, lost.id)).effects == ()
    assert lost.wake_ms is None


def test_a_host_never_connected_has_nothing_done_to_it():
    t = Timeline()
    t.feed(HostEnrolled(t.now_ms, "h-2", "web-2", {"role": "web"}))
    t.run("h-2")
    assert t.orders == []
    assert [c.why for c in t.closed] == [Why.HOST_NEVER_CONNECTED]


def test_an_operators_run_ends_at_once_on_a_lost_host():
    t = Timeline()
    t.silent()
    t.run()
    assert t.orders == []
    assert Why.HOST_LOST in [c.why for c in t.closed]


def test_new_labels_move_what_is_open_to_the_new_groups():
    t = Timeline(policy(playbook(for_ms=60_000)))
    t.seen(Status.CRIT)
    t.feed(HostEnrolled(t.now_ms, "h-1", "db-1", {"role": "db"}))
    assert t.fleet.sick == {("role", "db"): {"h-1": 1}}
    assert t.fleet.group_size == {("role", "db"): 1, ("role", "*"): 1}


def test_a_host_that_is_removed_leaves_nothing_behind():
    t = Timeline(hosts=2)
    t.seen(Status.CRIT)
    t.seen(Status.CRIT, host="h-2", unit="b.service")
    t.feed(PersonSeen(t.now_ms, "h-1", "ann", t.now_ms + 60_000))
    t.feed(HostRemoved(t.now_ms, "h-1", "ann"))
    assert "h-1" not in repr(t.fleet)


@pytest.mark.parametrize(
    ("answer", "why"), [(MatchAnswer.NO, Why.PLAYBOOK_WHERE_FALSE), (MatchAnswer.ERROR, Why.PLAYBOOK_WHERE_ERROR)]
)
def test_a_condition_that_does_not_say_yes_is_told_with_its_term(answer: MatchAnswer, why: Why):
    rules = policy(playbook(), conditions={"restart-failed-unit": lambda host, incident: Match(answer, "role == 'db'")})
    t = Timeline(rules)
    step = t.seen(Status.CRIT)
    (said,) = [reason for reason in step.reasons if reason.why is why]
    assert said.text == "restart-failed-unit does not match: role == 'db'"
    assert t.orders == []


def test_a_condition_that_says_yes_lets_the_playbook_answer():
    t = Timeline(policy(playbook(), conditions={"restart-failed-unit": lambda host, incident: Match(MatchAnswer.YES)}))
    t.seen(Status.CRIT)
    assert len(t.orders) == 1


def test_a_finding_without_the_wanted_field_goes_to_people():
    t = Timeline()
    t.seen(Status.CRIT, finding={})
    assert Why.PLAYBOOK_BAD_PARAMETER in [e.why for e in t.escalated]
    assert t.orders == []


def test_a_move_that_no_row_has_is_a_defect():
    with pytest.raises(IllegalTransition, match="cannot move an incident from resolved on allow"):
        after(Phase.RESOLVED, Trigger.ALLOW)


def test_a_calm_subject_may_flap_anew():
    limits = replace(LIMITS, flapping=Flapping(2, 60_000, 30_000))
    t = Timeline(policy(playbook(limits=limits, for_ms=5_000)))
    for _ in range(2):
        t.seen(Status.CRIT)
        t.wait(1_000)
        t.seen(Status.OK)
    assert [e.why for e in t.escalated] == [Why.FLAPPING]
    t.wait(70_000)
    t.seen(Status.CRIT)
    assert t.only.phase is Phase.HELD
    t.wait(6_000)
    assert len(t.orders) == 1


def test_a_demotion_that_is_lifted_lets_the_playbook_act_again():
    t = Timeline(policy(playbook(steps=(RESTART,), limits=replace(LIMITS, flapping=CALM))))
    for _ in range(3):
        t.seen(Status.CRIT)
        if t.only.order is None:
            t.wait(60_000)
        t.ended(t.orders[-1])
        t.wait(30_001)
        t.seen(Status.CRIT)
        t.seen(Status.OK)
    assert Why.TRUST_DEMOTED in [e.why for e in t.escalated]
    assert t.fleet.standing["restart-failed-unit"].lowered is Trust.SUGGEST
    step = t.feed(TrustRestored(t.now_ms, "restart-failed-unit", "ann"))
    assert [reason.why for reason in step.reasons] == [Why.TRUST_RESTORED]
    assert "restart-failed-unit" not in t.fleet.standing


def test_doubt_while_an_order_is_out_asks_nothing_of_it():
    t = Timeline()
    t.seen(Status.CRIT)
    assert t.feed(ObserverDoubted(t.now_ms, "the clock jumped")).effects == ()
    assert t.only.phase is Phase.ORDERED


def test_a_late_word_about_a_lost_order_is_told_once_and_decides_nothing():
    t = Timeline()
    t.seen(Status.CRIT)
    order = t.orders[0]
    t.wait(200_000)
    step = t.ended(order, Outcome.DONE)
    assert [reason.text for reason in step.reasons if "late word" in reason.text] == ["late word about ord-1-1: done"]
    assert t.ended(order, Outcome.DONE).reasons == ()


def test_invariants_see_an_order_without_and_with_the_wrong_phase():
    t = Timeline()
    t.seen(Status.CRIT)
    order, t.only.order = t.only.order, None
    assert invariants.an_order_out_has_its_incident(t.fleet, t.policy) == ["inc-1 is ordered without an order"]
    t.only.order, t.only.phase = order, Phase.HELD
    assert invariants.an_order_out_has_its_incident(t.fleet, t.policy) == ["inc-1 is held and still has ord-1-1"]
    t.fleet.in_flight[("role", "web")] = {"h-1": 1, "h-2": 1}
    assert invariants.budgets_are_kept(t.fleet, t.policy) == ["role=web: 2 hosts in work"]


def test_a_survey_asks_every_gate_of_what_waits_and_changes_nothing():
    t = Timeline(policy(playbook(for_ms=60_000, steps=(EVIDENCE, RESTART))))
    t.seen(Status.CRIT)
    before = repr(t.fleet)
    (look,) = survey(t.fleet, t.policy, "h-1", t.now_ms)
    assert look.action == "collect_evidence"
    assert [name for name, _ in look.answers] == [gate.name for gate in t.policy.gates]
    assert repr(t.fleet) == before
    assert survey(t.fleet, t.policy, "h-9", t.now_ms) == ()
    t.silent()
    assert [s.action for s in survey(t.fleet, t.policy, "h-1", t.now_ms)] == ["collect_evidence", ""]


def test_a_survey_of_a_wait_step_has_no_action():
    t = Timeline(policy(playbook(limits=replace(LIMITS, flapping=CALM))))
    t.seen(Status.CRIT)
    t.ended(t.orders[0], Outcome.FAILED)
    (look,) = survey(t.fleet, t.policy, "h-1", t.now_ms)
    assert (look.action, look.answers) == ("", ())


def test_a_harmless_step_is_no_business_of_the_limits():
    t = Timeline(policy(playbook(steps=(EVIDENCE,))))
    t.seen(Status.CRIT)
    assert t.orders[0].cost is Cost.HARMLESS
    t.ended(t.orders[0])
    assert Why.STEPS_EXHAUSTED in [e.why for e in t.escalated]


def test_the_order_of_labels_says_nothing():
    """The journal sorts them, so a replay meets them in another order than the first time."""
    one, other = Timeline(), Timeline()
    for t, labels in ((one, {"role": "web", "rack": "r1"}), (other, {"rack": "r1", "role": "web"})):
        t.feed(HostEnrolled(t.now_ms, "h-2", "web-2", labels))
        t.feed(HostConnected(t.now_ms, "h-2", "boot-1", t.clock()))
        t.seen(Status.CRIT, host="h-2")
    assert codec.encode(one.fleet) == codec.encode(other.fleet)
