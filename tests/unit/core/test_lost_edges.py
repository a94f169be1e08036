"""Gates at the edge of what a lost host, or one that heals alone, lets them know, asked directly."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetmend_controller.core.effects import Verdict, Why
from fleetmend_controller.core.inquiry import Inquiry, Judgement
from fleetmend_controller.core.model import ActionStep, Cost, Host, Incident, Order, Phase, Status, Subject

from .test_edges import FREE, NOW, Case, verdict
from .timeline import EVIDENCE, RESTART

ALLOW, HOLD, REFUSE = Verdict.ALLOW, Verdict.HOLD, Verdict.REFUSE
CYCLE = ActionStep("power_cycle", (), Cost.DESTRUCTIVE, None, 60_000, here=True)
# Something else that the controller does itself.
TICKET = replace(EVIDENCE, here=True)


def another(case: Case, number: int, host: str, order: Order | None, phase: Phase) -> None:
    """One more open incident of the fleet."""
    name = f"inc-{number}"
    subject = Subject(host, "host_lost", str(number))
    case.fleet.incidents[name] = Incident(name, subject, "host_lost", {}, "", Status.CRIT, phase, NOW, NOW, NOW, order=order)
    case.fleet.by_host.setdefault(host, {})[name] = None


def order_of(host: str, action: str, permit: bool = False) -> Order:
    return Order("ord-2-1", "inc-2", host, "", "", "boot-1", action, (), Cost.DESTRUCTIVE, 1, NOW, NOW, 0, "p", permit=permit)


@pytest.mark.parametrize(
    ("phase", "permit", "busy"),
    [(Phase.RUNNING, True, True), (Phase.PROVING, True, False), (Phase.RUNNING, False, False)],
)
def test_a_host_that_heals_something_alone_is_busy_until_it_tells_of_the_end(phase: Phase, permit: bool, busy: bool):
    case = Case()
    another(case, 2, "h-1", order_of("h-1", "restart_unit", permit), phase)
    assert verdict(case.ask("one_at_a_time")) == ((HOLD, Why.HOST_BUSY, NOW + 30_000) if busy else FREE)


def test_one_power_cycle_in_the_fleet_until_its_incident_has_no_order():
    case = Case(step=CYCLE)
    case.fleet.incidents["inc-1"], case.fleet.by_host["h-1"] = case.incident, {"inc-1": None}
    case.fleet.hosts = {"h-1": case.host, "h-2": Host("h-2", "web-2", {}, 0), "h-3": Host("h-3", "web-3", {}, 0)}
    case.fleet.lost = dict.fromkeys(["h-1", "h-2", "h-3"])
    another(case, 2, "h-2", order_of("h-2", "restart_unit"), Phase.PROVING)
    another(case, 3, "h-3", None, Phase.HELD)
    assert verdict(case.ask("one_at_a_time")) == FREE
    case.fleet.incidents["inc-3"].order = order_of("h-3", "power_cycle")
    assert verdict(case.ask("one_at_a_time")) == (HOLD, Why.HOST_BUSY, NOW + 30_000)
    assert case.ask("one_at_a_time").text == "web-3 is being power-cycled: one host at a time"
    case.step = RESTART
    assert verdict(case.ask("one_at_a_time")) == FREE, "on this host nothing is under way"


def test_what_witnesses_say_is_evidence_only_for_what_the_controller_does():
    case = Case(step=CYCLE)
    case.host.lost_since_ms = NOW - 60_000
    assert verdict(case.ask("evidence_fresh")) == (HOLD, Why.HOST_LOST, None), "nobody was asked"
    case.incident.inquiry = Inquiry(1, NOW, verdict=Judgement.DEAD)
    assert verdict(case.ask("evidence_fresh")) == FREE
    case.step = RESTART
    assert verdict(case.ask("evidence_fresh")) == (HOLD, Why.HOST_LOST, None), "the host would have to hear of it"


@pytest.mark.parametrize(
    ("step", "judged", "said"),
    [
        (CYCLE, Judgement.DEAD, FREE),
        (CYCLE, Judgement.UNCLEAR, (REFUSE, Why.HOST_NOT_DEAD, None)),
        (CYCLE, None, (REFUSE, Why.HOST_NOT_DEAD, None)),
        (TICKET, Judgement.DEAD, FREE),
        (TICKET, Judgement.UNCLEAR, FREE),
    ],
)
def test_only_what_is_dead_is_power_cycled(step: ActionStep, judged: Judgement | None, said: tuple):
    case = Case(step=step)
    case.incident.inquiry = Inquiry(1, NOW, verdict=judged)
    assert verdict(case.ask("evidence_fresh")) == said
    assert (judged.value if judged is not None else "not judged yet") in case.ask("evidence_fresh").text


def test_the_words_of_witnesses_grow_old_after_thirty_seconds():
    case = Case(step=CYCLE)
    case.incident.inquiry = Inquiry(1, NOW, verdict=Judgement.DEAD)
    case.incident.evidence_ms = NOW - 30_000
    assert verdict(case.ask("evidence_fresh")) == FREE
    assert case.ask("evidence_fresh").text == "dead, by witnesses' words of 30.0 s ago"
    case.incident.evidence_ms = NOW - 30_001
    assert verdict(case.ask("evidence_fresh")) == (HOLD, Why.EVIDENCE_STALE, NOW + 30_000)
    case.incident.evidence_ms = NOW + 5_000
    assert case.ask("evidence_fresh").text == "dead, by witnesses' words of 0.0 s ago"


def test_a_host_that_may_have_healed_it_alone_is_believed_from_its_return_on():
    case = Case()
    case.host.connected_ms = NOW
    case.host.permits.version = 1
    assert verdict(case.ask("observer")) == FREE
    case.incident.evidence_ms = NOW - 1
    assert verdict(case.ask("observer")) == (HOLD, Why.OBSERVER_DOUBTED, NOW + 30_000)
    case.run()
    assert verdict(case.ask("observer")) == FREE
    case.incident.run = None
    case.host.permits.version = 0
    assert verdict(case.ask("observer")) == FREE, "it had nothing to heal with"
