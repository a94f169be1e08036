"""The fleet as numbers."""

from __future__ import annotations

from fleetmend_controller.core.model import (
    Attempts,
    EscalateTo,
    Fleet,
    FleetBudget,
    Heal,
    Host,
    Incident,
    Limits,
    Outbreak,
    Pause,
    Phase,
    Playbook,
    Rate,
    Standing,
    Status,
    Subject,
    Trust,
)
from fleetmend_controller.core.policy import Policy
from fleetmend_controller.core.standing import DEBT_WINDOW_MS
from fleetmend_controller.http.state import Budget, render, take

NOW_MS = 1_000_000


def playbook(name: str, trust: Trust, budget: FleetBudget) -> Playbook:
    limits = Limits(Rate(3, 3_600_000), budget, Attempts(3, 3_600_000, 1000, 2))
    return Playbook(name, "", "platform", trust, "unit_failed", "", 0, (), limits, EscalateTo("oncall", "page"), 15)


def incident(number: int, phase: Phase, opened_ms: int) -> Incident:
    subject = Subject("h-1", "units", f"{number}.service")
    return Incident(f"inc-{number}", subject, "unit_failed", {}, "", Status.CRIT, phase, opened_ms, opened_ms, opened_ms)


def fleet_of(*incidents: Incident) -> Fleet:
    fleet = Fleet(incidents={i.id: i for i in incidents})
    for number in range(20):
        fleet.hosts[f"h-{number}"] = Host(f"h-{number}", f"web-{number}", {"role": "web"}, 0, boot="b")
    fleet.group_size = {("role", "web"): 20, ("role", "*"): 20}
    return fleet


def policy_of(*playbooks: Playbook) -> Policy:
    return Policy("d", playbooks, {}, ())


def test_incidents_are_counted_by_phase_with_the_age_of_the_oldest():
    fleet = fleet_of(
        incident(1, Phase.ESCALATED, NOW_MS - 5000), incident(2, Phase.ESCALATED, NOW_MS - 9000), incident(3, Phase.RESOLVED, 0)
    )
    snapshot = take(fleet, policy_of(), NOW_MS)
    assert snapshot.incidents[Phase.ESCALATED] == 2
    assert snapshot.oldest_s[Phase.ESCALATED] == 9.0
    assert snapshot.incidents[Phase.OPEN] == 0
    assert snapshot.oldest_s[Phase.OPEN] == 0.0
    assert Phase.RESOLVED not in snapshot.incidents


def test_hosts_are_up_lost_or_new():
    fleet = fleet_of()
    fleet.hosts["h-0"].lost_since_ms = NOW_MS - 1
    fleet.hosts["h-1"].boot = ""
    assert take(fleet, policy_of(), NOW_MS).hosts == {"up": 18, "lost": 1, "new": 1}


def test_a_budget_shows_the_tightest_limit_of_the_playbooks():
    fleet = fleet_of()
    fleet.in_flight = {("role", "web"): {"h-1": 1, "h-2": 2}}
    fleet.waiting = {("role", "web"): {"inc-9": None}}
    policy = policy_of(
        playbook("a", Trust.ACT, FleetBudget("role", 50, 20)), playbook("b", Trust.OBSERVE, FleetBudget("role", 20, 20))
    )
    snapshot = take(fleet, policy, NOW_MS)
    assert snapshot.budgets == (Budget("fleet", "fleet", 0, 0, 5), Budget("role", "web", 2, 1, 4))
    assert snapshot.trust == {"a": 2, "b": 0}


def test_hosts_without_the_label_appear_once_they_hold_budget():
    fleet = fleet_of()
    policy = policy_of(playbook("a", Trust.ACT, FleetBudget("site", 10, 5)))
    assert [b.label for b in take(fleet, policy, NOW_MS).budgets] == ["fleet"], "only the whole fleet"
    fleet.in_flight = {("site", ""): {"h-1": 1}}
    assert take(fleet, policy, NOW_MS).budgets[1:] == (Budget("site", "", 1, 0, 2),)


def test_trust_is_what_is_left_of_it_after_a_demotion():
    fleet = fleet_of()
    fleet.standing["a"] = Standing(failed=3, lowered=Trust.SUGGEST, why="3 repairs in a row were not proved")
    policy = policy_of(*(playbook(name, Trust.ACT, FleetBudget("role", 10, 5)) for name in "ab"))
    assert take(fleet, policy, NOW_MS).trust == {"a": 1, "b": 2}


def test_what_waits_for_people_and_storms_are_counted():
    waits, held, over = incident(1, Phase.HELD, 0), incident(2, Phase.HELD, 0), incident(3, Phase.ESCALATED, 0)
    waits.asked_ms = over.asked_ms = NOW_MS
    fleet = fleet_of(waits, held, over)
    fleet.outbreaks["unit_failed"] = Outbreak("inc-9", NOW_MS, NOW_MS, {"role=web": 9})
    text = render(take(fleet, policy_of(), NOW_MS), "1.0").decode()
    assert "fleetmend_approvals_waiting 1.0" in text
    assert "fleetmend_storms 1.0" in text


def test_debt_is_shown_for_the_worst_fifty_subjects_only():
    fleet = fleet_of()
    for number in range(60):
        fleet.heals[Subject("h-1", "", f"{number:02}.service")] = [Heal(NOW_MS - 1, 5)] * (number + 1)
    fleet.heals[Subject("h-2", "", "old.service")] = [Heal(NOW_MS - DEBT_WINDOW_MS, 5)] * 99
    fleet.heals[Subject("h-gone", "", "a.service")] = [Heal(NOW_MS - 1, 5)] * 99
    snapshot = take(fleet, policy_of(), NOW_MS)
    assert len(snapshot.heals) == 50
    assert snapshot.heals[("web-1", "59.service")] == 60
    assert 'fleetmend_masking_heals{host="web-1",subject="59.service"} 60.0' in render(snapshot, "1.0").decode()
    assert {host for host, _ in snapshot.heals} == {"web-1"}


def test_pauses_are_counted_by_kind_and_names_are_escaped():
    fleet = fleet_of()
    for scope in ("global", "host:h-1", "host:h-2"):
        fleet.pauses[scope] = Pause(scope, "me", "", 0, None)
    text = render(take(fleet, policy_of(playbook('a"b', Trust.SUGGEST, FleetBudget("role", 10, 5))), NOW_MS), "1.0").decode()
    assert 'fleetmend_pauses{kind="host"} 2.0' in text
    assert 'fleetmend_pauses{kind="playbook"} 0.0' in text
    assert 'fleetmend_playbook_trust{playbook="a\\"b"} 1.0' in text
    assert 'fleetmend_build_info{version="1.0"} 1.0' in text
