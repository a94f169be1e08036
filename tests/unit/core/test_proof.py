"""Proof at the edge of its windows, asked directly: which sample proves, breaks, ends or says nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetmend_controller.core import proof
from fleetmend_controller.core.effects import RequestCheck, WakeAt
from fleetmend_controller.core.events import EvidenceConfirmed, Observed
from fleetmend_controller.core.model import (
    ALERT_TYPE,
    Cost,
    Fleet,
    Host,
    Incident,
    Order,
    Phase,
    Proof,
    Status,
    Subject,
    Symptom,
)
from fleetmend_controller.core.proof import ProofAnswer
from fleetmend_controller.core.turn import Turn

from .timeline import EVIDENCE, RESTART, policy

NOW = 10_000_000
ENDED = 500_000
WITHIN, STAY = 30_000, 10_000
WINDOW = Proof(WITHIN, STAY)
STUCK = 600_000
SUBJECT = Subject("h-1", "unit_failed", "a.service")
OTHER = Subject("h-1", "http", "shop")
OPEN, PROVED, BROKEN, TIMEOUT, BLIND = ProofAnswer


class Repair:
    """An incident whose action ended at ENDED of the host's clock, which is NOW here."""

    def __init__(self, **symptoms: Symptom) -> None:
        self.fleet = Fleet(now_ms=NOW)
        self.incident = Incident(
            "inc-1", SUBJECT, "unit_failed", {}, "down", Status.CRIT, Phase.PROVING, NOW, NOW, NOW, ok_ms=1, ok_clock_ms=1
        )
        if symptoms:
            self.incident.symptoms = {s.subject: s for s in symptoms.values()}
        self.turn = self.at(0)
        proof.begin(self.turn, self.incident, WINDOW, "boot-1", ENDED)

    def at(self, ms: int) -> Turn:
        return Turn(self.fleet, policy(), NOW + ms)

    def judge(self, status: Status, ms: int, boot: str = "boot-1") -> ProofAnswer:
        self.turn = self.at(ms)
        clock = ENDED + ms
        event = Observed(NOW + ms, "h-1", "unit_failed", "unit_failed", "a.service", status, {}, "", boot, clock, clock)
        return proof.judge(self.turn, self.incident, RESTART, event)

    def spoil(self, ms: int) -> ProofAnswer:
        """Another check of the target says crit."""
        self.turn = self.at(ms)
        clock = ENDED + ms
        event = Observed(NOW + ms, "h-1", "http", "http", "shop", Status.CRIT, {}, "", "boot-1", clock, clock)
        return proof.spoiled(self.turn, self.incident, RESTART, event)

    def confirm(self, ms: int, boot: str = "boot-1") -> ProofAnswer:
        event = EvidenceConfirmed(NOW + ms, "h-1", "unit_failed", "a.service", boot, ENDED + ms, ENDED + ms)
        return proof.confirmed(self.incident, RESTART, event)

    def tick(self, ms: int) -> ProofAnswer:
        self.turn = self.at(ms)
        return proof.tick(self.turn, self.incident, RESTART)

    @property
    def woken(self) -> list[int]:
        return [effect.at_ms - NOW for effect in self.turn.effects if isinstance(effect, WakeAt)]

    @property
    def asked(self) -> list[Subject]:
        return [effect.subject for effect in self.turn.effects if isinstance(effect, RequestCheck)]


def test_the_beginning_forgets_earlier_proof_and_asks_all_that_saw_the_fault():
    repair = Repair(http=Symptom(OTHER, "http", {}, "", NOW, NOW, "boot-1", 1))
    incident = repair.incident
    assert (incident.ok_ms, incident.ok_clock_ms) == (None, None)
    assert (incident.ended_ms, incident.ended_boot, incident.ended_clock_ms) == (NOW, "boot-1", ENDED)
    assert incident.prove_by_ms == NOW + WITHIN
    assert repair.asked == [SUBJECT, OTHER]
    assert repair.woken == [1_000]


def test_a_short_window_is_looked_at_when_it_ends():
    repair = Repair()
    repair.turn = repair.at(0)
    proof.begin(repair.turn, repair.incident, Proof(400, 0), "boot-1", ENDED)
    assert repair.woken == [400]


@pytest.mark.parametrize(("ms", "counts"), [(-1, False), (0, False), (1, True)])
def test_only_what_was_sampled_after_the_action_counts(ms: int, counts: bool):
    repair = Repair()
    assert repair.judge(Status.OK, ms) is OPEN
    assert (repair.incident.ok_clock_ms is not None) is counts


def test_ok_must_stay_to_the_last_millisecond():
    repair = Repair()
    assert repair.judge(Status.OK, 100) is OPEN
    assert repair.woken == [100 + STAY]
    assert [reason.text for reason in repair.turn.reasons] == ["unit_failed says ok after the action; it must stay so for 10 s"]
    assert (repair.incident.ok_clock_ms, repair.incident.ok_ms) == (ENDED + 100, NOW + 100)
    assert repair.judge(Status.OK, 100 + STAY - 1) is OPEN
    assert repair.turn.reasons == []
    assert repair.incident.ok_clock_ms == ENDED + 100, "the first good sample counts"
    assert repair.judge(Status.OK, 100 + STAY) is PROVED


def test_a_proof_that_need_not_stay_is_done_at_once():
    repair = Repair()
    step = replace(RESTART, prove=Proof(WITHIN, 0))
    event = Observed(NOW, "h-1", "unit_failed", "unit_failed", "a.service", Status.OK, {}, "", "boot-1", ENDED + 1, ENDED + 1)
    assert proof.judge(repair.turn, repair.incident, step, event) is PROVED


@pytest.mark.parametrize("status", [Status.CRIT, Status.WARN, Status.UNKNOWN])
def test_a_bad_sample_ends_the_window_when_it_is_over(status: Status):
    repair = Repair()
    assert repair.judge(status, WITHIN - 1) is OPEN
    assert repair.judge(status, WITHIN) is TIMEOUT


def test_crit_after_ok_breaks_the_proof_and_nothing_else_does():
    repair = Repair()
    repair.judge(Status.OK, 100)
    assert repair.judge(Status.WARN, 200) is OPEN
    assert repair.judge(Status.UNKNOWN, 200) is OPEN
    assert repair.judge(Status.UNKNOWN, 100 + STAY + WITHIN - 1) is OPEN
    assert repair.judge(Status.UNKNOWN, 100 + STAY + WITHIN) is TIMEOUT
    assert repair.judge(Status.CRIT, 200) is BROKEN


def test_crit_before_any_ok_breaks_nothing():
    assert Repair().judge(Status.CRIT, 1) is OPEN


def test_what_dies_again_breaks_the_proof_whichever_check_sees_it_first():
    repair = Repair()
    repair.judge(Status.OK, 100)
    assert repair.spoil(200) is OPEN
    assert repair.woken == [1_200]
    assert repair.judge(Status.CRIT, 201) is BROKEN
    proof.begin(repair.turn, repair.incident, WINDOW, "boot-1", ENDED + 300)
    assert repair.judge(Status.CRIT, 301) is OPEN, "the next repair has a watch of its own"


def test_a_later_boot_is_after_the_action_and_begins_the_watch_anew():
    repair = Repair()
    repair.judge(Status.OK, 100)
    assert repair.judge(Status.OK, -ENDED, boot="boot-2") is OPEN
    incident = repair.incident
    assert (incident.ended_boot, incident.ended_clock_ms, incident.ok_clock_ms) == ("boot-2", -1, 0)
    assert repair.judge(Status.OK, STAY - ENDED - 1, boot="boot-2") is OPEN
    assert repair.judge(Status.OK, STAY - ENDED, boot="boot-2") is PROVED


def test_a_crit_of_a_later_boot_does_not_break_what_the_earlier_began():
    repair = Repair()
    repair.judge(Status.OK, 100)
    assert repair.judge(Status.CRIT, -ENDED, boot="boot-2") is OPEN
    assert repair.incident.ok_ms is None
    repair = Repair()
    repair.judge(Status.OK, 100)
    repair.spoil(200)
    assert repair.judge(Status.CRIT, -ENDED, boot="boot-2") is OPEN, "nor what another check spoiled there"


def test_an_alert_that_still_fires_says_nothing_of_the_time_after():
    for check_type, answer in ((ALERT_TYPE, PROVED), ("http", OPEN)):
        repair = Repair(seen=Symptom(OTHER, check_type, {}, "", NOW, NOW, "boot-1", ENDED + 1))
        repair.judge(Status.OK, 100)
        assert repair.judge(Status.OK, 100 + STAY) is answer


def test_a_step_without_proof_is_never_judged():
    repair = Repair()
    event = Observed(NOW, "h-1", "unit_failed", "unit_failed", "a.service", Status.OK, {}, "", "boot-1", ENDED + 1, ENDED + 1)
    assert proof.judge(repair.turn, repair.incident, EVIDENCE, event) is OPEN
    late = EvidenceConfirmed(NOW, "h-1", "unit_failed", "a.service", "boot-1", ENDED + WITHIN, ENDED + WITHIN)
    assert proof.confirmed(repair.incident, EVIDENCE, late) is OPEN
    assert proof.tick(repair.at(10**9), repair.incident, EVIDENCE) is OPEN
    repair.incident.prove_by_ms = None
    assert repair.tick(10**9) is OPEN


def test_a_heartbeat_ends_the_window_as_a_result_does():
    repair = Repair()
    assert repair.confirm(WITHIN - 1) is OPEN
    assert repair.confirm(WITHIN) is TIMEOUT
    assert repair.confirm(WITHIN, boot="boot-2") is OPEN
    repair.judge(Status.OK, 100)
    assert repair.confirm(WITHIN) is OPEN
    assert repair.confirm(100 + STAY + WITHIN - 1) is OPEN
    assert repair.confirm(100 + STAY + WITHIN) is TIMEOUT


def test_time_alone_asks_again_each_second_and_ends_blind():
    repair = Repair()
    assert repair.tick(1_000) is OPEN
    assert (repair.asked, repair.woken) == ([SUBJECT], [2_000])
    last = WITHIN + STAY + STUCK
    assert repair.tick(last - 1) is OPEN
    assert repair.tick(last) is BLIND
    assert repair.asked == []


def test_time_waits_for_what_must_stay_ok_before_it_asks():
    repair = Repair()
    repair.judge(Status.OK, 100)
    assert repair.tick(5_000) is OPEN
    assert (repair.asked, repair.woken) == ([], [100 + STAY])
    assert repair.tick(100 + STAY - 500) is OPEN
    assert (repair.asked, repair.woken) == ([], [100 + STAY + 500])
    assert repair.tick(100 + STAY) is OPEN
    assert (repair.asked, repair.woken) == ([SUBJECT], [100 + STAY + 1_000])


def test_a_long_proof_is_asked_for_less_and_less_often():
    repair = Repair()
    for ms, again_ms in ((59_999, 1_000), (60_000, 6_000), (200_000, 20_000), (400_000, 30_000)):
        assert repair.tick(ms) is OPEN
        assert (repair.asked, repair.woken) == ([SUBJECT], [ms + again_ms])


@pytest.mark.parametrize(
    ("action", "boot", "answer"),
    [
        ("reboot_host", "boot-1", TIMEOUT),
        ("power_cycle", "boot-1", TIMEOUT),
        ("reboot_host", "boot-2", OPEN),
        ("restart_unit", "boot-1", OPEN),
    ],
)
def test_silence_is_the_answer_only_where_another_boot_was_to_come(action: str, boot: str, answer: ProofAnswer):
    repair = Repair()
    repair.fleet.hosts["h-1"] = Host("h-1", "web-1", {}, 0, boot)
    order = Order("ord-1-1", "inc-1", "h-1", "", "", "boot-1", action, (), Cost.DESTRUCTIVE, 60_000, NOW, NOW, 0, "ann")
    repair.incident.order = order
    assert repair.tick(WITHIN - 1) is OPEN
    assert repair.tick(WITHIN) is answer
