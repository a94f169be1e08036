"""What counts as healed by us: an action that is known to have run, and a target that no check finds sick after it."""

from dataclasses import replace

import pytest

from fleetmend_controller.core.effects import RequestCheck, Why
from fleetmend_controller.core.events import HostConnected
from fleetmend_controller.core.gates.attempts import GATE as ATTEMPTS
from fleetmend_controller.core.model import Heal, Outcome, Phase, Rate, Standing, Status, Subject, Trust
from fleetmend_controller.core.standing import DEBT_WINDOW_MS, debt, proved
from fleetmend_controller.core.turn import Turn

from .timeline import CALM, LIMITS, RESTART, Timeline, playbook, policy

TARGET = Subject("h-1", "", "nginx.service")


def ok_and_stays(t: Timeline) -> None:
    t.seen(Status.OK)
    t.wait(10_000, fresh=False)
    t.seen(Status.OK)


def cut_off() -> Timeline:
    """The host is heard again after the order that it got, or not, was given up."""
    t = Timeline()
    t.seen(Status.CRIT)
    t.silent()
    t.wait(200_000, fresh=False)
    t.feed(HostConnected(t.now_ms, "h-1", "boot-1", t.clock()))
    t.wait(10, fresh=False)
    return t


def test_an_order_that_nobody_heard_of_again_heals_nothing():
    t = cut_off()
    ok_and_stays(t)
    (closed,) = [c for c in t.closed if c.incident == "inc-1"]
    assert (closed.why, closed.prove_ms) == (Why.RECOVERED_UNSURE, None)
    assert (t.fleet.standing, t.fleet.heals) == ({}, {})
    said = [r.text for s in t.steps for r in s.reasons if r.why is Why.RECOVERED_UNSURE]
    assert said == ["unit_failed says ok again, but nobody knows whether ord-1-1 ran: it is not counted as healed"]


@pytest.mark.parametrize(
    ("late", "why"),
    [
        (Outcome.DONE, Why.HEALED),
        (Outcome.FAILED, Why.RECOVERED_UNSURE),
        (Outcome.EXPIRED, Why.WENT_AWAY),
        (Outcome.REFUSED, Why.WENT_AWAY),
    ],
)
def test_a_late_word_says_what_it_was(late: Outcome, why: Why):
    t = cut_off()
    t.ended(t.orders[0], late)
    ok_and_stays(t)
    assert [c.why for c in t.closed if c.incident == "inc-1"] == [why]
    proved = t.fleet.standing["restart-failed-unit"].proved if t.fleet.standing else 0
    assert (proved, len(t.fleet.heals.get(TARGET, []))) == ((1, 1) if why is Why.HEALED else (0, 0))


def test_an_executor_that_lost_the_end_proves_nothing():
    t = Timeline()
    t.seen(Status.CRIT)
    t.started(t.orders[0])
    t.ended(t.orders[0], Outcome.UNKNOWN)
    t.wait(10)
    ok_and_stays(t)
    assert [c.why for c in t.closed] == [Why.RECOVERED_UNSURE]


def acted() -> Timeline:
    """Two checks of one unit; the restart is over."""
    t = Timeline(policy(playbook(steps=(RESTART,))))
    t.seen(Status.CRIT)
    t.seen(Status.CRIT, check="http_endpoint")
    t.ended(t.orders[0])
    t.wait(10)
    return t


def test_from_one_failure_to_another_is_no_recovery():
    t = acted()
    t.seen(Status.OK)
    t.wait(5_000)
    t.seen(Status.CRIT, check="http_endpoint")
    t.wait(5_000)
    t.seen(Status.OK)
    assert t.closed == []
    t.wait(19_989)
    t.seen(Status.OK)
    assert t.escalated == []
    t.wait(1)
    t.seen(Status.OK)
    assert [e.why for e in t.escalated] == [Why.STEPS_EXHAUSTED]
    assert "not proved: http_endpoint still fails: nginx.service is crit" in t.escalated[0].text
    assert (t.fleet.standing["restart-failed-unit"].proved, t.fleet.heals) == (0, {})


def test_what_people_got_for_a_symptom_alone_ends_with_it():
    """The unit itself was well since the action: its own check has nothing new to say when a person mends the rest."""
    t = Timeline(policy(playbook(steps=(RESTART,))))
    t.seen(Status.CRIT)
    t.ended(t.orders[0])
    while t.only.phase is Phase.PROVING:
        t.seen(Status.OK)
        t.seen(Status.CRIT, check="http_endpoint")
        t.wait(1_000, fresh=False)
    assert t.only.phase is Phase.ESCALATED
    assert t.only.status is Status.OK
    t.seen(Status.OK, check="http_endpoint")
    assert [c.why for c in t.closed] == [Why.HEALED_BY_PERSON]
    assert t.fleet.incidents == {}


def test_a_service_may_take_its_time_to_answer():
    t = acted()
    t.seen(Status.OK)
    t.seen(Status.CRIT, check="http_endpoint")
    t.wait(8_000)
    t.seen(Status.OK, check="http_endpoint")
    t.seen(Status.OK)
    assert t.closed == [], "the watch begins when all is well"
    t.wait(9_999)
    t.seen(Status.OK)
    assert t.closed == []
    t.wait(1)
    t.seen(Status.OK)
    assert [c.why for c in t.closed] == [Why.HEALED]


def test_what_fails_after_the_time_to_come_up_breaks_the_proof_at_once():
    t = acted()
    t.wait(29_980)
    t.seen(Status.OK)
    t.wait(9)
    t.seen(Status.CRIT, check="http_endpoint")
    assert t.only.phase is Phase.PROVING, "a millisecond is left"
    t.wait(1)
    t.seen(Status.CRIT, check="http_endpoint")
    assert "proof_broken" in t.why()
    assert [e.why for e in t.escalated] == [Why.STEPS_EXHAUSTED]


def test_a_symptom_from_before_the_action_spoils_nothing():
    t = acted()
    t.seen(Status.OK)
    t.wait(5_000)
    t.seen(Status.CRIT, check="http_endpoint", sampled_ms=t.now_ms - 5_010)
    t.wait(5_000)
    t.seen(Status.OK)
    assert [c.why for c in t.closed] == [Why.HEALED]


def test_a_symptom_is_asked_for_while_it_spoils_the_proof():
    t = acted()
    t.seen(Status.OK)
    t.seen(Status.CRIT, check="http_endpoint")
    before = len(t.all(RequestCheck))
    t.wait(3_000)
    asked = {effect.subject.check for effect in t.all(RequestCheck)[before:]}
    assert asked == {"unit_failed", "http_endpoint"}


def test_a_symptom_of_a_later_boot_spoils_the_proof_too():
    t = acted()
    t.feed(HostConnected(t.now_ms, "h-1", "boot-2", t.clock()))
    t.seen(Status.CRIT, check="http_endpoint", boot="boot-2", sampled_ms=400_100)
    t.seen(Status.OK, boot="boot-2", sampled_ms=400_200)
    t.seen(Status.OK, boot="boot-2", sampled_ms=420_200)
    assert t.closed == []


def healed(t: Timeline, count: int, age_ms: int) -> None:
    t.fleet.heals[TARGET] = [Heal(t.now_ms - age_ms, 1)] * count


@pytest.mark.parametrize(("age_ms", "most"), [(DEBT_WINDOW_MS, 5), (DEBT_WINDOW_MS - 70_000, 1)])
def test_debt_ends_after_its_window_in_the_gate_as_in_the_reports(age_ms: int, most: int):
    t = Timeline()
    t.now_ms += DEBT_WINDOW_MS
    healed(t, 30, age_ms)
    assert len(debt(t.fleet, TARGET, t.now_ms)) == (30 if most == 1 else 0)
    t.seen(Status.CRIT)
    t.ended(t.orders[0], Outcome.FAILED)
    t.wait(69_999)
    said = [r.text for s in t.steps for r in s.reasons if r.gate == ATTEMPTS.name and r.why is Why.ATTEMPTS_EXHAUSTED]
    assert said == ([] if most == 5 else ["tried 1 times within 60 min, limit 1"])


def whole_story(t: Timeline, unit: str, good: bool) -> None:
    """One fault and its repair, proved or not."""
    t.seen(Status.CRIT, unit=unit)
    t.wait(2_000)
    t.ended(t.orders[-1])
    t.wait(10)
    if not good:
        t.wait(40_000)
        return
    t.seen(Status.OK, unit=unit)
    t.wait(10_000)
    t.seen(Status.OK, unit=unit)


def generous() -> Timeline:
    limits = replace(
        LIMITS, per_host=Rate(999, 3_600_000), attempts=replace(LIMITS.attempts, max=99, backoff_ms=0), flapping=CALM
    )
    return Timeline(policy(playbook(steps=(RESTART,), limits=limits)))


def test_a_repair_goes_into_the_account_with_the_time_that_it_hid():
    t = generous()
    whole_story(t, "nginx.service", good=True)
    assert t.fleet.heals == {TARGET: [Heal(t.now_ms, 12_010, "restart-failed-unit")]}
    assert t.fleet.standing["restart-failed-unit"].proved == 1


def test_the_tenth_repair_is_told_with_all_the_time_that_was_hidden():
    t = generous()
    t.fleet.heals[TARGET] = [Heal(t.now_ms, 35_998_666)] * 9
    whole_story(t, "nginx.service", good=True)
    text = "healed 10 times within 7 days, 5400 min of fault hidden: the cause needs its owner"
    assert [(e.to, e.severity, e.text) for e in t.escalated] == [("platform", "ticket", text)]
    assert [r.text for s in t.steps for r in s.reasons if r.why is Why.MASKING] == [text]


def test_an_account_has_its_bound():
    t = generous()
    t.fleet.heals[TARGET] = [Heal(t.now_ms, 1)] * 500
    whole_story(t, "nginx.service", good=True)
    assert len(t.fleet.heals[TARGET]) == 200


def test_three_in_a_row_demote_and_one_proof_begins_the_row_anew():
    t = generous()
    whole_story(t, "a.service", good=False)
    whole_story(t, "b.service", good=True)
    whole_story(t, "c.service", good=False)
    whole_story(t, "d.service", good=False)
    standing = t.fleet.standing["restart-failed-unit"]
    assert (standing.proved, standing.failed, standing.failed_in_row, standing.lowered) == (1, 3, 2, None)
    whole_story(t, "e.service", good=False)
    assert (standing.failed, standing.failed_in_row, standing.lowered) == (4, 0, Trust.SUGGEST)
    text = "restart-failed-unit is demoted to suggest: 3 repairs in a row were not proved"
    assert standing.why == "3 repairs in a row were not proved"
    assert [r.text for s in t.steps for r in s.reasons if r.why is Why.TRUST_DEMOTED] == [text]


def test_a_playbook_that_only_suggests_falls_to_observe_after_three_more():
    t = generous()
    for unit in "abcdef":
        t.seen(Status.CRIT, unit=unit)
        if t.fleet.standing.get("restart-failed-unit", Standing()).lowered is Trust.SUGGEST:
            number = len(t.fleet.incidents)
            t.approve(f"ord-{number}-1", "ann")
        t.ended(t.orders[-1])
        t.wait(40_000)
    assert t.fleet.standing["restart-failed-unit"].lowered is Trust.OBSERVE


def test_a_clock_that_ran_back_hides_no_time():
    t = Timeline()
    t.seen(Status.CRIT)
    proved(Turn(t.fleet, t.policy, t.now_ms), t.only, playbook(), t.only.fault_since_ms - 5)
    assert t.fleet.heals[TARGET] == [Heal(t.now_ms - 5, 0, "restart-failed-unit")]
