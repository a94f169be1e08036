"""Each gate at the very edge of its limit, asked directly: one millisecond or one host decides, and when to ask again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from fleetmend_controller.core.effects import Verdict, Why
from fleetmend_controller.core.gates import Answer, Candidate
from fleetmend_controller.core.gates.approval import digest, next_order
from fleetmend_controller.core.gates.fleet_budget import allowance
from fleetmend_controller.core.gates.paused import scopes
from fleetmend_controller.core.model import (
    ActionStep,
    Approval,
    Approved,
    Attempt,
    Attempts,
    Cost,
    Flap,
    Flapping,
    Fleet,
    FleetBudget,
    Floor,
    Heal,
    Host,
    Incident,
    NeedApproval,
    Outbreak,
    Pause,
    Phase,
    Playbook,
    Presence,
    Rate,
    Standing,
    Status,
    Subject,
    Trust,
    Window,
)
from fleetmend_controller.core.policy import Policy

from .timeline import GATES, LIMITS, RESTART, playbook, policy

NOW = 10_000_000
ALLOW, HOLD, REFUSE = Verdict.ALLOW, Verdict.HOLD, Verdict.REFUSE
BY_NAME = {gate.name: gate for gate in GATES}
UNIT = Subject("h-1", "", "a.service")
CHEAP, DESTRUCTIVE = replace(RESTART, cost=Cost.HARMLESS), replace(RESTART, cost=Cost.DESTRUCTIVE)


def sick() -> Incident:
    return Incident(
        "inc-1", Subject("h-1", "unit_failed", "a.service"), "unit_failed", {"unit": "a.service"}, "down",
        Status.CRIT, Phase.HELD, NOW, NOW, NOW,
    )  # fmt: skip


@dataclass
class Case:
    """A candidate at NOW; a test changes what it is about."""

    fleet: Fleet = field(default_factory=lambda: Fleet(group_size={("role", "web"): 40, ("role", "*"): 40}))
    host: Host = field(default_factory=lambda: Host("h-1", "web-1", {"role": "web"}, 0, "boot-1"))
    incident: Incident = field(default_factory=sick)
    playbook: Playbook = field(default_factory=playbook)
    step: ActionStep = RESTART
    trust: Trust = Trust.ACT
    policy: Policy = field(default_factory=policy)
    now_ms: int = NOW

    def ask(self, gate: str) -> Answer:
        parts = (self.now_ms, self.fleet, self.policy, self.host, self.incident, self.playbook, self.step, self.trust)
        return BY_NAME[gate].ask(Candidate(*parts))

    def limits(self, **changes: Any) -> None:
        self.playbook = playbook(limits=replace(LIMITS, **changes))

    def run(self) -> None:
        self.incident.run = self.playbook


def verdict(answer: Answer) -> tuple[Verdict, Why, int | None]:
    return answer.verdict, answer.why, answer.recheck_ms


FREE = (ALLOW, Why.ALLOWED, None)


@pytest.mark.parametrize("gate", sorted(BY_NAME))
def test_nothing_is_against_a_plain_case(gate: str):
    case = Case()
    assert verdict(case.ask(gate)) == FREE
    case.run()
    assert verdict(case.ask(gate)) == FREE


def test_a_pause_ends_with_its_last_millisecond():
    case = Case()
    case.fleet.pauses["global"] = Pause("global", "ann", "why", 0, NOW + 1)
    assert verdict(case.ask("paused")) == (HOLD, Why.PAUSED, NOW + 1)
    case.fleet.pauses["global"] = Pause("global", "ann", "why", 0, NOW)
    case.fleet.pauses["host:h-1"] = Pause("host:h-1", "ann", "why", 0, None)
    assert verdict(case.ask("paused")) == (HOLD, Why.PAUSED, None)
    assert scopes(case.host, "p") == ("global", "host:h-1", "group:role=web", "playbook:p")


def test_trust_says_what_it_would_do_and_why_it_fell():
    case = Case(trust=Trust.OBSERVE)
    assert verdict(case.ask("trust")) == (REFUSE, Why.TRUST_OBSERVE, None)
    case.fleet.standing["restart-failed-unit"] = Standing()
    assert case.ask("trust").why is Why.TRUST_OBSERVE
    assert "demoted" not in case.ask("trust").text
    case.fleet.standing["restart-failed-unit"] = Standing(lowered=Trust.OBSERVE, why="it failed")
    assert verdict(case.ask("trust")) == (REFUSE, Why.TRUST_DEMOTED, None)
    assert "(demoted: it failed)" in case.ask("trust").text
    case.run()
    assert case.ask("trust").why is Why.TRUST_OBSERVE
    case = Case(trust=Trust.SUGGEST)
    assert "suggests" in case.ask("trust").text
    case.step = CHEAP
    assert "trusted to act" in case.ask("trust").text


def test_maintenance_covers_its_hosts_until_its_end():
    case = Case()
    case.fleet.windows["mw-0"] = Window("mw-0", (), ("h-2",), 0, NOW + 9, "", "ann", "disks")
    case.fleet.windows["mw-1"] = Window("mw-1", (), ("h-1",), 0, NOW, "", "ann", "disks")
    assert verdict(case.ask("maintenance")) == FREE
    case.fleet.windows["mw-2"] = Window("mw-2", (), ("h-1",), NOW, NOW + 7, "", "ann", "disks")
    assert verdict(case.ask("maintenance")) == (HOLD, Why.MAINTENANCE, NOW + 7)


def test_the_observer_believes_samples_from_the_doubt_on():
    case = Case()
    case.fleet.doubt_ms = NOW
    assert verdict(case.ask("observer")) == FREE
    case.incident.evidence_ms = NOW - 1
    assert verdict(case.ask("observer")) == (HOLD, Why.OBSERVER_DOUBTED, NOW + 30_000)
    case.run()
    assert verdict(case.ask("observer")) == FREE


def test_the_observer_is_suspected_when_three_and_half_of_the_fleet_are_lost():
    case = Case()
    case.fleet.hosts = {f"h-{n}": case.host for n in range(8)}
    case.fleet.lost = dict.fromkeys(["a", "b", "c"])
    assert verdict(case.ask("observer")) == FREE
    case.fleet.lost["d"] = None
    assert verdict(case.ask("observer")) == (HOLD, Why.MANY_HOSTS_LOST, None)
    case.fleet.hosts, case.fleet.lost = {"h-1": case.host}, dict.fromkeys(["a", "b"])
    assert verdict(case.ask("observer")) == FREE
    case.fleet.lost["c"] = None
    assert case.ask("observer").why is Why.MANY_HOSTS_LOST


@pytest.mark.parametrize(("run", "said"), [(False, HOLD), (True, REFUSE)])
def test_evidence_of_an_unknown_or_lost_host_is_none(run: bool, said: Verdict):
    case = Case()
    if run:
        case.run()
    case.host.lost_since_ms = NOW
    assert verdict(case.ask("evidence_fresh")) == (said, Why.HOST_LOST, None)
    case.host.boot = ""
    assert verdict(case.ask("evidence_fresh")) == (said, Why.HOST_NEVER_CONNECTED, None)


def test_evidence_grows_old_after_thirty_seconds():
    case = Case()
    case.incident.evidence_ms = NOW - 30_000
    assert verdict(case.ask("evidence_fresh")) == FREE
    assert case.ask("evidence_fresh").text == "seen 30.0 s ago"
    case.incident.evidence_ms = NOW - 30_001
    assert verdict(case.ask("evidence_fresh")) == (HOLD, Why.EVIDENCE_STALE, None)
    case.run()
    assert case.ask("evidence_fresh").verdict is ALLOW
    case = Case()
    case.incident.evidence_ms = NOW + 5_000
    assert case.ask("evidence_fresh").text == "seen 0.0 s ago"


@pytest.mark.parametrize(
    ("status", "why"), [(Status.UNKNOWN, Why.EVIDENCE_UNKNOWN), (Status.WARN, Why.FAULT_EASED), (Status.OK, Why.FAULT_EASED)]
)
def test_only_crit_is_evidence(status: Status, why: Why):
    case = Case()
    case.incident.status = status
    assert verdict(case.ask("evidence_fresh")) == (HOLD, why, None)


def test_a_fault_is_old_enough_to_the_millisecond():
    case = Case(playbook=playbook(for_ms=5_000))
    case.incident.fault_since_ms = NOW - 4_999
    assert verdict(case.ask("fault_duration")) == (HOLD, Why.FAULT_TOO_YOUNG, NOW + 1)
    case.incident.fault_since_ms = NOW - 5_000
    assert case.ask("fault_duration").text == "lasts 5.0 s"
    assert verdict(case.ask("fault_duration")) == FREE
    case.incident.bad_since_ms = NOW - 1_000
    assert verdict(case.ask("fault_duration")) == (HOLD, Why.FAULT_TOO_YOUNG, NOW + 4_000)


def test_a_host_is_busy_with_others_not_with_itself():
    case = Case()
    case.fleet.acting["h-1"] = {"inc-1": None}
    assert verdict(case.ask("one_at_a_time")) == FREE
    case.fleet.acting["h-1"]["inc-2"] = None
    assert verdict(case.ask("one_at_a_time")) == (HOLD, Why.HOST_BUSY, NOW + 30_000)
    case.step = CHEAP
    assert verdict(case.ask("one_at_a_time")) == FREE


def test_flapping_begins_with_the_count_within_the_window():
    case = Case()
    case.limits(flapping=Flapping(3, 60_000, 30_000))
    case.fleet.opened_at[UNIT] = [NOW - 60_000, NOW - 1_000, NOW]
    assert verdict(case.ask("flapping")) == FREE
    case.fleet.opened_at[UNIT][0] = NOW - 59_999
    assert verdict(case.ask("flapping")) == (REFUSE, Why.FLAPPING, None)
    assert case.ask("flapping").text == "turned bad 3 times within 1 min, limit 3"
    case.run()
    assert verdict(case.ask("flapping")) == FREE


def test_flapping_that_people_know_of_holds_until_it_is_quiet():
    case = Case()
    case.limits(flapping=Flapping(9, 60_000, 30_000))
    case.fleet.opened_at[UNIT] = [NOW - 30_000, NOW - 1_000]
    case.fleet.flapping[UNIT] = Flap(NOW - 20_000, 600_000, "inc-1")
    assert verdict(case.ask("flapping")) == (HOLD, Why.FLAPPING, NOW + 29_000)
    assert case.ask("flapping").text == "flaps since 20 s; people know"
    case.fleet.opened_at[UNIT] = [NOW - 31_000, NOW - 1_000]
    assert verdict(case.ask("flapping")) == FREE, "it was quiet between the last two"
    case.fleet.opened_at[UNIT] = [NOW - 40_000, NOW - 30_000]
    assert verdict(case.ask("flapping")) == FREE, "it is quiet since"
    case.fleet.opened_at[UNIT] = [NOW - 40_000, NOW - 29_999]
    assert verdict(case.ask("flapping")) == (HOLD, Why.FLAPPING, NOW + 1)
    case.fleet.opened_at[UNIT] = [NOW - 1_000]
    assert verdict(case.ask("flapping")) == FREE
    del case.fleet.flapping[UNIT]
    case.fleet.opened_at[UNIT] = [NOW - 30_000, NOW - 1_000]
    assert verdict(case.ask("flapping")) == FREE, "nobody was told yet"


def test_attempts_wait_longer_each_time_and_end_with_a_person():
    case = Case()
    case.limits(attempts=Attempts(3, 3_600_000, 5_000, 2))
    case.fleet.attempts_at[UNIT] = [NOW - 3_600_000]
    assert case.ask("attempts").text == "not tried recently"
    case.fleet.attempts_at[UNIT] = [NOW - 4_999]
    assert verdict(case.ask("attempts")) == (HOLD, Why.BACKING_OFF, NOW + 1)
    assert "the next try waits 5 s after the last" in case.ask("attempts").text
    case.fleet.attempts_at[UNIT] = [NOW - 5_000]
    assert case.ask("attempts").text == "tried 1 of 3 times"
    case.fleet.attempts_at[UNIT] = [NOW - 3_599_999, NOW - 9_999]
    assert verdict(case.ask("attempts")) == (HOLD, Why.BACKING_OFF, NOW + 1)
    case.fleet.attempts_at[UNIT] = [NOW - 50_000, NOW - 40_000, NOW - 39_000]
    assert verdict(case.ask("attempts")) == (REFUSE, Why.ATTEMPTS_EXHAUSTED, None)
    assert case.ask("attempts").text == "tried 3 times within 60 min, limit 3"
    case.step = CHEAP
    assert verdict(case.ask("attempts")) == FREE


def test_the_back_off_is_geometric():
    case = Case()
    case.limits(attempts=Attempts(9, 3_600_000, 5_000, 3))
    case.fleet.attempts_at[UNIT] = [NOW - 9, NOW - 8, NOW]
    assert verdict(case.ask("attempts")) == (HOLD, Why.BACKING_OFF, NOW + 45_000)


def test_debt_halves_the_tries():
    case = Case()
    case.limits(attempts=Attempts(4, 3_600_000, 0, 1))
    case.fleet.heals[UNIT] = [Heal(0, 1)] * 10
    case.fleet.attempts_at[UNIT] = [NOW - 2]
    assert verdict(case.ask("attempts")) == FREE
    case.fleet.attempts_at[UNIT] = [NOW - 2, NOW - 1]
    assert verdict(case.ask("attempts")) == (REFUSE, Why.ATTEMPTS_EXHAUSTED, None)


def test_the_rate_of_a_host_counts_what_is_within_its_window():
    case = Case()
    case.limits(per_host=Rate(2, 60_000))
    case.host.orders_at["restart-failed-unit"] = [NOW - 60_000, NOW]
    assert verdict(case.ask("per_host")) == FREE
    case.host.orders_at["restart-failed-unit"] = [NOW - 59_999, NOW]
    assert verdict(case.ask("per_host")) == (REFUSE, Why.HOST_RATE, None)
    assert case.ask("per_host").text == "restart-failed-unit acted 2 times on web-1 within 1 min, limit 2"
    case.step = CHEAP
    assert verdict(case.ask("per_host")) == FREE


def test_the_budget_is_a_share_at_least_one_and_at_most_the_ceiling():
    fleet = Fleet(group_size={("role", "web"): 40, ("role", "*"): 40, ("role", "db"): 5})
    fleet.hosts = {f"h-{n}": Host("x", "x", {}, 0) for n in range(60)}
    assert allowance(fleet, FleetBudget("role", 10, 20), "web") == 4
    assert allowance(fleet, FleetBudget("role", 10, 3), "web") == 3
    assert allowance(fleet, FleetBudget("role", 10, 20), "db") == 1
    assert allowance(fleet, FleetBudget("role", 10, 20), "") == 2, "those without the label are a group"
    assert allowance(fleet, FleetBudget("role", 10, 20), "none") == 1
    unlabelled = Fleet(hosts=fleet.hosts)
    assert allowance(unlabelled, FleetBudget("role", 10, 20), "") == 6


def test_a_full_budget_holds_all_but_those_that_are_in_it():
    case = Case()
    case.fleet.in_flight[("role", "web")] = {"h-2": 1, "h-3": 1, "h-4": 1}
    assert verdict(case.ask("fleet_budget")) == FREE
    assert case.ask("fleet_budget").text == "3 of 4 hosts of role=web in use", "the group with the least room"
    case.fleet.in_flight[("role", "web")]["h-5"] = 1
    assert verdict(case.ask("fleet_budget")) == (HOLD, Why.FLEET_BUDGET, NOW + 30_000)
    assert case.ask("fleet_budget").text == "4 hosts of role=web are being healed, limit 4"
    case.fleet.in_flight[("role", "web")]["h-1"] = 1
    assert verdict(case.ask("fleet_budget")) == FREE
    case.fleet.in_flight[("role", "web")].pop("h-1")
    case.step = CHEAP
    assert verdict(case.ask("fleet_budget")) == FREE
    case.step, case.host.labels = RESTART, {}
    case.fleet.hosts = {f"h-{n}": case.host for n in range(41)}
    case.fleet.in_flight[("role", "")] = {"h-9": 1}
    assert "1 hosts of hosts without role are being healed" in case.ask("fleet_budget").text


def test_the_floor_counts_the_sick_the_busy_and_the_candidate_once():
    case = Case()
    assert case.ask("minimum_healthy").text == "no floor is set"
    case.limits(floor=Floor("role", 90))
    case.fleet.sick[("role", "web")] = {"h-1": 1, "h-2": 1}
    case.fleet.in_flight[("role", "web")] = {"h-2": 1, "h-3": 1, "h-4": 1}
    assert verdict(case.ask("minimum_healthy")) == FREE
    assert case.ask("minimum_healthy").text == "36 other hosts of role=web are healthy, 36 needed"
    case.fleet.sick[("role", "web")]["h-5"] = 1
    assert verdict(case.ask("minimum_healthy")) == (HOLD, Why.MINIMUM_HEALTHY, NOW + 30_000)
    case.step = CHEAP
    assert case.ask("minimum_healthy").text == "the action disturbs nothing"
    case.step, case.host.labels = RESTART, {}
    assert verdict(case.ask("minimum_healthy")) == (HOLD, Why.GROUP_UNKNOWN, None)


@pytest.mark.parametrize(
    ("size", "percent", "needed"), [(1, 100, 0), (2, 100, 1), (7, 50, 4), (10, 50, 5), (3, 0, 0), (200, 90, 180)]
)
def test_the_floor_is_rounded_up_and_leaves_one(size: int, percent: int, needed: int):
    case = Case()
    case.limits(floor=Floor("role", percent))
    case.fleet.group_size[("role", "web")] = size
    assert case.ask("minimum_healthy").text == f"{size - 1} other hosts of role=web are healthy, {needed} needed"
    assert case.ask("minimum_healthy").verdict is ALLOW


def test_a_storm_holds_its_own_check_and_no_person():
    case = Case()
    case.fleet.outbreaks["disk"] = Outbreak("inc-9", 0, 0, {"role=web": 9})
    assert verdict(case.ask("storm")) == FREE
    case.fleet.outbreaks["unit_failed"] = Outbreak("inc-9", 0, 0, {"role=web": 9, "rack=r7": 8})
    assert verdict(case.ask("storm")) == (HOLD, Why.STORM, NOW + 60_000)
    assert "role=web (9 hosts), rack=r7 (8 hosts); see inc-9" in case.ask("storm").text
    case.run()
    assert verdict(case.ask("storm")) == FREE


def test_a_person_is_believed_to_the_millisecond():
    case = Case()
    case.fleet.presence["h-1"] = Presence("ann at pts/0", 0, NOW + 1)
    assert verdict(case.ask("human_present")) == (HOLD, Why.HUMAN_PRESENT, NOW + 1)
    case.fleet.presence["h-1"] = Presence("ann at pts/0", 0, NOW)
    assert verdict(case.ask("human_present")) == FREE
    case.fleet.presence["h-1"] = Presence("ann at pts/0", 0, NOW + 1)
    case.step = CHEAP
    assert case.ask("human_present").text == "the action disturbs nothing"
    case.step = RESTART
    case.run()
    assert case.ask("human_present").text == "an operator asked for it"


@pytest.mark.parametrize(
    ("need", "step", "trust", "wanted"),
    [
        (NeedApproval.NEVER, DESTRUCTIVE, Trust.ACT, False),
        (NeedApproval.DESTRUCTIVE, DESTRUCTIVE, Trust.ACT, True),
        (NeedApproval.DESTRUCTIVE, RESTART, Trust.ACT, False),
        (NeedApproval.DISRUPTIVE, RESTART, Trust.ACT, True),
        (NeedApproval.DISRUPTIVE, CHEAP, Trust.ACT, False),
        (NeedApproval.NEVER, RESTART, Trust.SUGGEST, True),
        (NeedApproval.NEVER, CHEAP, Trust.SUGGEST, False),
    ],
)
def test_what_needs_approval(need: NeedApproval, step: ActionStep, trust: Trust, wanted: bool):
    case = Case(step=step, trust=trust, playbook=playbook(approval=Approval(need, 1, 60_000)))
    assert (case.ask("approval").verdict is HOLD) is wanted


def test_approval_by_two_people_within_its_time():
    case = Case(playbook=playbook(approval=Approval(NeedApproval.DISRUPTIVE, 2, 120_000)))
    assert next_order(case.incident) == "ord-1-1"
    assert verdict(case.ask("approval")) == (HOLD, Why.APPROVAL_NEEDED, NOW + 120_000)
    case.incident.asked_ms = NOW - 119_999
    assert verdict(case.ask("approval")) == (HOLD, Why.APPROVAL_NEEDED, NOW + 1)
    case.incident.asked_ms = NOW - 120_000
    assert case.ask("approval").text == "nobody approved ord-1-1 within 2 min"
    what = digest(case.playbook, case.step, ())
    case.incident.approvals = [Approved("ord-1-1", "ann", NOW - 1, what), Approved("ord-1-1", "ann (admin)", NOW, what)]
    assert verdict(case.ask("approval")) == (REFUSE, Why.APPROVAL_EXPIRED, None)
    assert case.ask("approval").text == "only ann approved ord-1-1 within 2 min"
    case.incident.asked_ms = NOW
    assert "1 of 2 people approved" in case.ask("approval").text
    case.incident.approvals.append(Approved("ord-1-9", "bob", NOW, what))
    assert case.ask("approval").verdict is HOLD, "bob approved another order"
    case.incident.approvals.append(Approved("ord-1-1", "bob", NOW - 120_000, what))
    assert case.ask("approval").verdict is HOLD, "bob approved too long ago"
    case.incident.approvals.append(Approved("ord-1-1", "bob", NOW))
    assert case.ask("approval").verdict is HOLD, "bob approved something else under that name"
    case.incident.approvals.append(Approved("ord-1-1", "bob", NOW - 119_999, what))
    assert case.ask("approval").text == "ord-1-1 is approved by ann, bob"
    case.incident.attempts.append(Attempt("ord-1-1", "restart_unit", NOW, None, ""))
    assert case.ask("approval").verdict is HOLD, "the next order needs approval of its own"
