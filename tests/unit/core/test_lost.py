"""Hosts that fall silent: who is asked, what their words make of it, and that only the surely dead are touched."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetmend_controller.core.effects import ActionEnded, AskWitness, Why
from fleetmend_controller.core.events import (
    DeciderStarted,
    HostConnected,
    HostEnrolled,
    HostSilent,
    OrderEnded,
    PolicyLoaded,
    WitnessSaid,
)
from fleetmend_controller.core.inquiry import CONTROLLER, Judgement, Reach, Stream
from fleetmend_controller.core.lost import WAIT_MS, choose
from fleetmend_controller.core.model import (
    ActionStep,
    Approval,
    Cost,
    NeedApproval,
    Outcome,
    Phase,
    Proof,
    Status,
    Subject,
)
from fleetmend_controller.core.policy import Match, MatchAnswer

from .timeline import LIMITS, Timeline, playbook, policy

CYCLE = ActionStep("power_cycle", (), Cost.DESTRUCTIVE, Proof(600_000, 0), 60_000, here=True)
REBOOT = ActionStep("reboot_host", (), Cost.DESTRUCTIVE, Proof(600_000, 10_000), 60_000)
RACKS = ("a", "a", "b", "c", "b")


def is_dead(_host, incident):
    return Match(MatchAnswer.YES if incident.finding.get("verdict") == "dead" else MatchAnswer.NO, "finding.verdict")


def rules(need=NeedApproval.NEVER, **changes):
    cycle = playbook(
        name="power-cycle", check="host_lost", where="finding.verdict", steps=(CYCLE,), approval=Approval(need), **changes
    )
    return policy(cycle, conditions={"power-cycle": is_dead})


def fleet(racks=RACKS, rules_=None):
    """h-1, h-2, ... in these racks, all connected."""
    t = Timeline(rules_, hosts=0)
    for number, rack in enumerate(racks, 1):
        labels = {"role": "web"} | ({"rack": rack} if rack else {})
        t.feed(HostEnrolled(t.now_ms, f"h-{number}", f"web-{number}", labels))
        t.feed(HostConnected(t.now_ms, f"h-{number}", "boot-1", t.clock()))
    return t


def lose(t, host="h-1", stream=Stream.QUIET):
    t.feed(HostSilent(t.now_ms, host, 30_000, stream))
    return t.fleet.incidents[t.fleet.by_subject[Subject(host, "host_lost", "")]]


def asked(t):
    return [effect.witness for effect in t.all(AskWitness)]


def say(t, incident, witness, reach, round_=None):
    round_ = incident.inquiry.round if round_ is None else round_
    return t.feed(WitnessSaid(t.now_ms, incident.subject.host, incident.id, witness, round_, reach, reach.value))


def all_say(t, incident, reach, here=Reach.UNABLE):
    for word in list(incident.inquiry.words):
        say(t, incident, word.host, here if word.host == CONTROLLER else reach)


def test_two_near_it_one_elsewhere_and_the_controller_are_asked():
    t = fleet(("a", "a", "a", "a", "b"))
    incident = lose(t)
    witnesses = asked(t)[:-1]
    assert asked(t)[-1] == CONTROLLER
    assert len(witnesses) == 3
    assert "h-5" in witnesses
    assert "h-1" not in witnesses
    controls = [(effect.witness, effect.control) for effect in t.all(AskWitness) if effect.witness]
    assert all(control in witnesses and control != witness for witness, control in controls)
    assert incident.phase is Phase.HELD
    assert t.escalated == []


def test_the_lost_are_not_asked_and_nobody_alone_is():
    t = fleet(("", "", "", "", "", ""))
    lose(t, "h-2")
    assert {word.host for word in choose(t.fleet, t.fleet.hosts["h-1"])} <= {"h-3", "h-4", "h-5", "h-6"}
    alone = fleet(("",))
    incident = lose(alone)
    assert incident.inquiry.verdict is Judgement.UNCLEAR
    assert [(e.why, e.severity) for e in alone.escalated] == [(Why.HOST_LOST, "page")]


@pytest.mark.parametrize(
    ("reach", "here", "stream", "verdict"),
    [
        (Reach.NOT_REACHED, Reach.NOT_REACHED, Stream.QUIET, "dead"),
        (Reach.NOT_REACHED, Reach.UNABLE, Stream.UNKNOWN, "dead"),
        (Reach.NOT_REACHED, Reach.REACHED, Stream.QUIET, "agent_dead"),
        (Reach.REACHED, Reach.REACHED, Stream.QUIET, "agent_dead"),
        (Reach.REACHED, Reach.UNABLE, Stream.ENDED, "agent_dead"),
        (Reach.REACHED, Reach.NOT_REACHED, Stream.QUIET, "cut_off"),
        (Reach.REACHED, Reach.UNABLE, Stream.UNKNOWN, "unclear"),
        (Reach.UNABLE, Reach.NOT_REACHED, Stream.QUIET, "unclear"),
    ],
)
def test_what_is_said_makes_the_verdict(reach, here, stream, verdict):
    t = fleet()
    incident = lose(t, stream=stream)
    all_say(t, incident, reach, here)
    assert incident.finding["verdict"] == verdict
    (told,) = t.escalated
    assert verdict in told.text


def test_one_rack_is_one_witness():
    t = fleet(("a", "b", "b", "c"))
    incident = lose(t)
    for word in [w for w in incident.inquiry.words if w.rack == "b"]:
        say(t, incident, word.host, Reach.NOT_REACHED)
    t.wait(WAIT_MS + 1)
    assert incident.finding["verdict"] == "unclear"


def test_one_that_reaches_it_outweighs_two_that_do_not():
    t = fleet(rules_=rules())
    incident = lose(t)
    first, *rest = [w.host for w in incident.inquiry.words if w.host]
    for witness in rest:
        say(t, incident, witness, Reach.NOT_REACHED)
    say(t, incident, first, Reach.REACHED)
    say(t, incident, CONTROLLER, Reach.NOT_REACHED)
    assert incident.finding["verdict"] == "cut_off"
    assert t.orders == []


def test_who_reaches_what_was_called_dead_is_heard_though_late():
    t = fleet(rules_=rules(NeedApproval.DESTRUCTIVE))
    incident = lose(t)
    first, *rest = [w.host for w in incident.inquiry.words if w.host]
    for witness in rest:
        say(t, incident, witness, Reach.NOT_REACHED)
    t.wait(WAIT_MS + 1)
    assert incident.finding["verdict"] == "dead"
    say(t, incident, first, Reach.REACHED)
    assert incident.finding["verdict"] != "dead"
    assert incident.phase is Phase.ESCALATED
    assert t.orders == []


def test_lost_hosts_are_a_storm_whatever_witnesses_say():
    t = fleet(("a", "b", "c") * 7, rules())
    for number in range(1, 9):
        all_say(t, lose(t, f"h-{number}"), Reach.REACHED)
    t.wait(10_000)
    assert Why.STORM in [e.why for e in t.escalated]
    incident = lose(t, "h-9")
    all_say(t, incident, Reach.NOT_REACHED)
    assert incident.finding["verdict"] == "dead"
    assert t.orders == []


def test_witnesses_that_say_nothing_make_the_controller_suspect_itself():
    t = fleet(rules_=rules())
    incident = lose(t)
    t.wait(WAIT_MS + 1)
    assert incident.finding["verdict"] == "controller_cut_off"
    assert t.orders == []
    assert [e.why for e in t.escalated] == [Why.HOST_LOST]


def test_many_lost_at_once_are_the_controllers_own_trouble():
    t = fleet(rules_=rules())
    incidents = [lose(t, f"h-{number}") for number in (1, 2, 3)]
    all_say(t, incidents[0], Reach.NOT_REACHED)
    assert {i.finding.get("verdict") for i in incidents if i.inquiry.verdict} == {"controller_cut_off"}
    t.wait(WAIT_MS + 1)
    assert {i.finding.get("verdict") for i in incidents} == {"controller_cut_off"}
    assert t.orders == []


def test_words_of_another_round_twice_or_unasked_are_nothing():
    t = fleet(rules_=rules())
    incident = lose(t)
    first = incident.inquiry.words[0].host
    say(t, incident, first, Reach.NOT_REACHED, round_=7)
    say(t, incident, "h-9", Reach.NOT_REACHED)
    say(t, incident, first, Reach.UNABLE)
    say(t, incident, first, Reach.REACHED)
    assert incident.inquiry.of(first).reach is Reach.UNABLE
    t.feed(WitnessSaid(t.now_ms, "h-1", "inc-99", first, 1, Reach.REACHED, ""))


def test_dead_by_two_is_power_cycled_and_another_boot_proves_it():
    t = fleet(rules_=rules())
    incident = lose(t)
    all_say(t, incident, Reach.NOT_REACHED)
    (order,) = t.orders
    assert (order.action, order.here, order.host) == ("power_cycle", True, "h-1")
    t.started(order)
    t.ended(order)
    assert incident.phase is Phase.PROVING
    t.feed(HostConnected(t.now_ms, "h-1", "boot-2", t.clock()))
    assert [(c.why, c.subject.check) for c in t.closed] == [(Why.HEALED, "host_lost")]


def test_back_with_the_same_boot_is_no_proof_and_no_boot_at_all_goes_to_people():
    t = fleet(rules_=rules())
    all_say(t, lose(t), Reach.NOT_REACHED)
    t.ended(t.orders[0])
    t.feed(HostConnected(t.now_ms, "h-1", "boot-1", t.clock()))
    assert [c.why for c in t.closed] == [Why.HOST_BACK]
    t = fleet(rules_=rules())
    all_say(t, lose(t), Reach.NOT_REACHED)
    t.ended(t.orders[0])
    t.wait(700_000)
    assert [e.why for e in t.escalated] == [Why.STEPS_EXHAUSTED]
    assert len(t.orders) == 1


def test_a_boot_while_the_order_is_out_is_its_end():
    t = fleet(rules_=rules())
    all_say(t, lose(t), Reach.NOT_REACHED)
    t.started(t.orders[0])
    t.feed(HostConnected(t.now_ms, "h-1", "boot-2", t.clock()))
    assert [c.why for c in t.closed] == [Why.HEALED]


def test_approval_comes_late_and_the_witnesses_are_asked_afresh():
    t = fleet(rules_=rules(NeedApproval.DESTRUCTIVE))
    incident = lose(t)
    all_say(t, incident, Reach.NOT_REACHED)
    t.wait(1_800_000)
    assert t.orders == []
    assert len(asked(t)) == 4, "while people think nobody is asked"
    t.approve(f"ord-{incident.id.removeprefix('inc-')}-1", "ann")
    assert t.orders == []
    assert incident.inquiry.round == 2
    all_say(t, incident, Reach.NOT_REACHED)
    assert [o.action for o in t.orders] == ["power_cycle"]


def test_old_words_and_a_controller_that_starts_anew_are_no_reason_to_give_up_while_people_think():
    t = fleet(rules_=rules(NeedApproval.DESTRUCTIVE))
    incident = lose(t)
    all_say(t, incident, Reach.NOT_REACHED)
    t.wait(60_000)
    t.feed(DeciderStarted(t.now_ms, 2))
    t.wait(1_200_000)
    assert incident.holds == ("observer:observer_doubted", "evidence_fresh:evidence_stale", "approval:approval_needed")
    assert t.escalated == []


def test_approved_but_reached_meanwhile_is_left_alone():
    t = fleet(rules_=rules(NeedApproval.DESTRUCTIVE))
    incident = lose(t)
    all_say(t, incident, Reach.NOT_REACHED)
    t.wait(600_000)
    t.approve(f"ord-{incident.id.removeprefix('inc-')}-1", "ann")
    all_say(t, incident, Reach.REACHED)
    assert t.orders == []
    assert incident.phase is Phase.ESCALATED
    assert "cut_off" in t.escalated[-1].text


def test_a_playbook_without_condition_cannot_cycle_what_is_not_dead():
    careless = playbook(name="c", check="host_lost", steps=(CYCLE,), approval=Approval(NeedApproval.NEVER))
    t = fleet(rules_=policy(careless))
    all_say(t, lose(t), Reach.REACHED)
    assert t.orders == []
    assert [e.why for e in t.escalated] == [Why.HOST_NOT_DEAD]


def test_one_host_at_a_time_whatever_the_budget_says():
    t = fleet(("a", "a", "b", "b", "c", "c", "d", "d"), rules())
    roomy = replace(LIMITS, fleet=replace(LIMITS.fleet, percent=100))
    t.policy = rules(limits=roomy)
    first, second = lose(t, "h-1"), lose(t, "h-3")
    for incident in (first, second):
        all_say(t, incident, Reach.NOT_REACHED)
    assert [o.host for o in t.orders] == ["h-1"]
    assert any(hold.startswith("one_at_a_time") for hold in second.holds)


def test_a_controller_that_starts_anew_gives_the_witnesses_time_and_asks_those_that_come_back():
    t = fleet(rules_=rules())
    incident = lose(t)
    before = len(asked(t))
    t.feed(DeciderStarted(t.now_ms, 2))
    t.wait(WAIT_MS + 1)
    assert incident.inquiry.verdict is None
    witness = incident.inquiry.words[0].host
    t.feed(HostConnected(t.now_ms, witness, "boot-1", t.clock()))
    assert asked(t)[before:] == [CONTROLLER, witness]
    all_say(t, incident, Reach.NOT_REACHED)
    assert [o.action for o in t.orders] == ["power_cycle"]


def test_new_rules_during_the_inquiry_wait_for_its_end():
    t = fleet()
    incident = lose(t)
    t.policy = rules()
    t.feed(PolicyLoaded(t.now_ms, "p2", "ann"))
    assert incident.phase is Phase.HELD
    all_say(t, incident, Reach.NOT_REACHED)
    assert [o.action for o in t.orders] == ["power_cycle"]


def test_a_host_that_comes_back_while_others_are_asked_is_just_back():
    t = fleet(rules_=rules())
    lose(t)
    t.feed(HostConnected(t.now_ms, "h-1", "boot-1", t.clock()))
    assert [c.why for c in t.closed] == [Why.HOST_BACK]
    assert t.fleet.inquiries == {}


@pytest.mark.parametrize(("begun", "outcome"), [(False, "refused"), (True, "unknown")])
def test_a_power_cycle_that_a_host_forestalls_has_its_end(begun, outcome):
    t = fleet(rules_=rules())
    all_say(t, lose(t), Reach.NOT_REACHED)
    (order,) = t.orders
    if begun:
        t.started(order)
    t.feed(HostConnected(t.now_ms, "h-1", "boot-1", t.clock()))
    assert [(e.order, e.outcome) for e in t.all(ActionEnded)] == [(order.id, outcome)]
    assert [c.why for c in t.closed] == [Why.HOST_BACK]


def reboot_rules():
    return policy(playbook(steps=(REBOOT,), approval=Approval(NeedApproval.NEVER)))


def test_a_reboot_is_proved_by_the_check_in_the_next_boot_only():
    t = Timeline(reboot_rules())
    t.seen(Status.CRIT)
    (order,) = t.orders
    t.started(order)
    t.ended(order)
    t.wait(2_000)
    t.seen(Status.OK)
    t.wait(15_000)
    t.seen(Status.OK)
    assert t.closed == [], "the old boot proves nothing"
    t.now_ms += 60_000
    t.feed(HostConnected(t.now_ms, "h-1", "boot-2", 5_000))
    for later_ms in (1_000, 12_000):
        t.now_ms += later_ms
        t.seen(Status.OK, boot="boot-2")
    assert [c.why for c in t.closed] == [Why.HEALED]
    assert [o.id for o in t.orders] == [order.id], "never twice"


def test_a_reboot_whose_word_was_lost_is_done_not_unknown():
    t = Timeline(reboot_rules())
    t.seen(Status.CRIT)
    t.started(t.orders[0])
    t.feed(HostConnected(t.now_ms + 60_000, "h-1", "boot-2", 5_000))
    assert t.only.phase is Phase.PROVING
    assert t.only.attempts[-1].outcome is Outcome.DONE
    assert len(t.orders) == 1
    late = OrderEnded(t.now_ms + 61_000, "h-1", t.orders[0].id, Outcome.UNKNOWN, "", "", "boot-1", 1, 1)
    t.feed(late)
    assert t.only.attempts[-1].outcome is Outcome.DONE


def test_a_host_that_does_not_reboot_goes_to_people():
    t = Timeline(reboot_rules())
    t.seen(Status.CRIT)
    t.ended(t.orders[0])
    t.wait(640_000)
    assert [e.why for e in t.escalated] == [Why.STEPS_EXHAUSTED]
    assert len(t.orders) == 1


def test_the_silence_of_a_reboot_pages_nobody_until_its_time_is_over():
    t = fleet(("a", "b", "c", "d"), reboot_rules())
    t.seen(Status.CRIT)
    t.ended(t.orders[0])
    t.now_ms += 40_000
    incident = lose(t)
    assert incident.phase is Phase.HELD
    assert (t.escalated, asked(t)) == ([], [])
    t.wait(600_000)
    assert len(asked(t)) == 4
