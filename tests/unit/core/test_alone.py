"""What becomes of what a host did alone: told once, made part of the story, proved and counted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetmend_controller.core.effects import ActionEnded, PermitSpent
from fleetmend_controller.core.events import HostConnected
from fleetmend_controller.core.model import Approval, NeedApproval, Outcome, Phase, Status, Subject
from fleetmend_controller.core.permits import PERMITS_MAX
from tests.unit.core.alone import UNIT, Alone, alone_policy, reach
from tests.unit.core.timeline import RESTART, playbook, policy


def test_a_repair_alone_is_one_incident_proved_and_counted():
    line = Alone()
    line.wait(60_000)
    permit = line.granted[0]
    line.told(permit)
    (closed,) = line.closed
    assert (closed.why.value, closed.playbook) == ("healed_alone", "restart-failed-unit")
    assert (closed.act_ms, closed.prove_ms, closed.total_ms) == (1_000, 12_000, 25_000)
    assert line.orders == []
    (spent,) = line.all(PermitSpent)
    assert (spent.order.id, spent.order.requested_by) == (permit, "playbook restart-failed-unit, by permit")
    assert [(e.order, e.outcome) for e in line.all(ActionEnded)] == [(permit, "done")]
    host = line.fleet.hosts["h-1"]
    tried = Subject("h-1", "", UNIT)
    assert host.orders_at["restart-failed-unit"] == line.fleet.attempts_at[tried] == [line.now_ms - 20_000]
    (heal,) = line.fleet.heals[tried]
    assert (heal.at_ms, heal.hidden_ms) == (line.now_ms - 7_000, 25_000)
    assert line.fleet.standing["restart-failed-unit"].proved == 1
    texts = [reason.text for step in line.steps for reason in step.reasons if reason.why.value == "alone_used"]
    assert texts == [
        f"the controller was unreachable for 42 s; web-1 used {permit} of restart-failed-unit alone: restart_unit unit={UNIT}"
    ]
    line.wait(0)
    assert permit not in line.granted
    assert len(line.granted) == PERMITS_MAX - 1


def test_a_use_that_is_told_twice_counts_once():
    line = Alone()
    line.wait(60_000)
    permit = line.granted[0]
    line.told(permit)
    before = (dict(line.fleet.hosts["h-1"].orders_at), len(line.closed))
    line.used(permit, sealed=True)
    line.over(permit)
    line.used(permit)
    assert (line.fleet.hosts["h-1"].orders_at, len(line.closed), line.fleet.incidents) == (*before, {})
    assert len(line.all(PermitSpent)) == 1


def test_only_the_sealed_word_counts_for_a_permit_that_nobody_remembers():
    line = Alone()
    line.wait(60_000)
    line.used("permit-h-1-1-99")
    assert line.all(PermitSpent) == []
    line.used("permit-h-1-1-99", sealed=True)
    line.over("permit-h-1-1-99")
    assert line.only.phase is Phase.PROVING
    line.used("permit-h-1-1-98", host="h-9", sealed=True)


def test_the_end_alone_opens_the_incident_and_the_check_is_asked():
    line = Alone()
    line.wait(60_000)
    permit = line.granted[0]
    line.used(permit, sealed=True)
    line.over(permit)
    assert (line.only.phase, line.only.check_type) == (Phase.PROVING, "unit_failed")
    assert line.only.fault_since_ms == line.now_ms - 32_000
    line.wait(1_000)
    line.seen(Status.OK)
    line.wait(10_000)
    line.seen(Status.OK)
    assert line.closed[-1].why.value == "healed_alone"


def test_a_symptom_s_repair_belongs_to_the_incident_of_its_unit():
    line = Alone()
    line.wait(60_000)
    line.seen(Status.CRIT, sampled_ms=line.now_ms - 40_000)
    line.used(line.granted[0], check="health", check_type="http_endpoint", key="")
    assert line.only.phase is Phase.RUNNING
    assert line.only.subject.check == "unit_failed"


def test_what_did_not_help_goes_on_through_the_gates():
    line = Alone()
    line.wait(120_000)
    first, second = line.granted[:2]
    line.seen(Status.CRIT, sampled_ms=line.now_ms - 100_000)
    line.used(first, at_ms=line.now_ms - 90_000)
    line.over(first, at_ms=line.now_ms - 89_000)
    line.seen(Status.CRIT, sampled_ms=line.now_ms - 58_000)
    assert (line.only.phase, line.only.step) == (Phase.HELD, 1)
    line.used(second, at_ms=line.now_ms - 40_000)
    assert line.only.phase is Phase.RUNNING
    line.over(second, Outcome.FAILED, at_ms=line.now_ms - 39_000)
    line.seen(Status.CRIT)
    assert [a.outcome for a in line.only.attempts] == [Outcome.DONE, Outcome.FAILED]
    assert line.fleet.standing["restart-failed-unit"].failed == 1


def test_a_host_that_would_not_do_it_alone_gets_an_order_when_the_gates_allow():
    line = Alone()
    line.wait(60_000)
    permit = line.granted[0]
    line.seen(Status.CRIT, sampled_ms=line.now_ms - 40_000)
    line.used(permit, sealed=True)
    line.over(permit, Outcome.REFUSED, refusal="over_budget")
    assert line.only.phase is Phase.HELD
    line.wait(15_000)
    line.seen(Status.CRIT)
    assert len(line.orders) == 1


def test_while_it_is_under_way_no_order_is_given_on_that_host():
    line = Alone()
    line.wait(60_000)
    line.seen(Status.CRIT, sampled_ms=line.now_ms - 40_000)
    line.used(line.granted[0])
    line.seen(Status.CRIT, unit="other.service")
    other = next(i for i in line.fleet.incidents.values() if i.phase is Phase.HELD)
    assert any(hold.startswith("one_at_a_time:") for hold in other.holds)
    line.over(line.granted[0])
    line.wait(1_000)
    assert len(line.orders) == 1


def test_no_word_of_the_end_leads_to_a_proof_not_to_a_second_try():
    line = Alone()
    line.wait(60_000)
    permit = line.granted[0]
    line.seen(Status.CRIT, sampled_ms=line.now_ms - 40_000)
    line.used(permit)
    line.feed(HostConnected(line.now_ms, "h-1", "boot-1", line.clock()))
    assert line.orders == [], "there is nothing to send again"
    line.wait(80_000)
    assert line.only.phase is Phase.PROVING
    assert line.only.attempts[-1].outcome is Outcome.UNKNOWN
    line.over(permit)
    assert line.only.attempts[-1].outcome is Outcome.DONE
    assert len(line.all(ActionEnded)) == 1


def test_an_order_that_was_on_its_way_meanwhile_finds_the_fault_gone():
    line = Alone()
    line.wait(60_000)
    permit = line.granted[0]
    line.seen(Status.CRIT, sampled_ms=line.now_ms - 25_000)
    (order,) = line.orders
    line.used(permit)
    assert line.only.phase is Phase.ORDERED
    line.over(permit)
    assert [a.outcome for a in line.only.attempts] == [None, Outcome.DONE]
    line.ended(order, Outcome.REFUSED, "fault_gone")
    assert line.only.phase is Phase.PROVING
    line.wait(1_000)
    line.seen(Status.OK)
    line.wait(10_000)
    line.seen(Status.OK)
    assert line.closed[-1].why.value == "healed_alone"
    assert len(line.all(ActionEnded)) == 2


def test_a_permit_used_after_an_order_that_was_being_proved_takes_its_place():
    line = Alone()
    line.wait(60_000)
    line.seen(Status.CRIT)
    (order,) = line.orders
    line.ended(order)
    assert line.only.phase is Phase.PROVING
    line.wait(20_000)
    line.used(line.granted[0], at_ms=line.now_ms - 1_000)
    assert (line.only.phase, line.only.order.permit) == (Phase.RUNNING, True)


def test_a_playbook_that_is_gone_by_then_is_told_as_it_was():
    line = Alone()
    line.wait(60_000)
    permit = line.granted[0]
    line.policy = policy()
    line.policy = replace(line.policy, playbooks=())
    line.told(permit)
    assert line.closed[-1].why.value == "healed_alone"
    assert line.closed[-1].playbook == "restart-failed-unit"


def test_what_an_earlier_boot_did_is_counted_and_looked_at_now():
    line = Alone()
    line.wait(60_000)
    permit = line.granted[0]
    line.feed(HostConnected(line.now_ms, "h-1", "boot-2", 5_000))
    line.used(permit, sealed=True, boot="boot-1")
    line.over(permit)
    assert line.only.phase is Phase.PROVING
    line.seen(Status.OK, boot="boot-2")
    line.wait(11_000)
    line.seen(Status.OK, boot="boot-2")
    assert line.closed[-1].why.value == "healed_alone"


def test_an_incident_that_people_had_is_taken_over_by_the_repair():
    line = Alone(alone_policy(steps=(RESTART,)))
    line.wait(60_000)
    line.seen(Status.CRIT)
    (order,) = line.orders
    line.ended(order, Outcome.REFUSED, "protected")
    assert line.only.phase is Phase.ESCALATED
    line.used(line.granted[0], at_ms=line.now_ms - 1)
    assert line.only.phase is Phase.RUNNING


def test_on_a_host_that_comes_back_nothing_is_ordered_before_it_has_told_everything():
    line = Alone()
    line.wait(60_000)
    permit = line.granted[0]
    line.feed(HostConnected(line.now_ms, "h-1", "boot-1", line.clock()))
    line.seen(Status.CRIT, sampled_ms=line.now_ms - 25_000)
    assert line.only.holds == ("observer:observer_doubted",)
    line.used(permit)
    line.over(permit)
    line.seen(Status.OK, sampled_ms=line.now_ms - 18_000)
    line.seen(Status.OK, sampled_ms=line.now_ms - 7_000)
    assert (line.orders, line.closed[-1].why.value) == ([], "healed_alone")
    line.wait(1_000)
    line.seen(Status.CRIT, unit="other.service")
    assert len(line.orders) == 1, "what is seen since then is acted upon at once"


@pytest.mark.parametrize(("word", "why", "proved"), [(None, "recovered_unsure", 0), (Outcome.DONE, "healed_alone", 1)])
def test_a_use_whose_end_nobody_heard_is_given_no_credit(word, why, proved):
    line = Alone()
    line.wait(60_000)
    permit = line.granted[0]
    line.seen(Status.CRIT, sampled_ms=line.now_ms - 40_000)
    line.used(permit)
    line.wait(80_000)
    if word is not None:
        line.over(permit, word)
    line.wait(1_000)
    line.seen(Status.OK)
    line.wait(10_000)
    line.seen(Status.OK)
    assert [closed.why.value for closed in line.closed] == [why]
    assert sum(each.proved for each in line.fleet.standing.values()) == len(line.fleet.heals) == proved


def test_people_are_asked_anew_after_a_host_acted_alone():
    line = Alone()
    line.wait(60_000)
    permit = line.granted[0]
    asking = playbook(approval=Approval(NeedApproval.DISRUPTIVE))
    line.policy = policy(asking, alone={asking.name: reach})
    line.seen(Status.CRIT)
    assert line.only.asked_ms is not None
    line.approve("ord-1-1", "ann")
    line.used(permit)
    assert (line.only.asked_ms, line.only.approvals) == (None, [])


def test_what_a_host_healed_alone_does_not_keep_it_counted_for_a_storm():
    line = Alone()
    line.wait(60_000)
    permit = line.granted[0]
    line.silent()
    line.seen(Status.CRIT, unit="other.service")
    line.used(permit)
    line.seen(Status.OK, unit="other.service")
    line.over(permit)
    line.wait(1_000)
    line.seen(Status.OK)
    line.wait(10_000)
    line.seen(Status.OK)
    assert {closed.why.value for closed in line.closed} == {"went_away", "healed_alone"}
    assert {fault for fault, _, _ in line.fleet.fresh_bad} == {"host_lost"}, "only its silence is still open"


def test_many_hosts_that_healed_the_same_alone_are_a_storm_like_any_others():
    line = Alone(hosts=12)
    line.wait(60_000)
    permits = {given.host: given.grants[0].permits[0] for given in line.sets}
    for number in range(1, 8):
        host = f"h-{number}"
        line.used(permits[host], host=host)
    assert "unit_failed" in line.fleet.outbreaks


def test_what_a_host_would_not_do_is_not_ordered_by_rules_that_are_gone():
    line = Alone()
    line.wait(60_000)
    permit = line.granted[0]
    line.policy = replace(policy(playbook(check="other")), digest="p2")
    line.seen(Status.CRIT)
    assert line.only.phase is Phase.ESCALATED
    line.used(permit, sealed=True)
    line.over(permit, Outcome.REFUSED, refusal="undeclared")
    assert line.orders == []
    assert line.only.phase is Phase.ESCALATED
