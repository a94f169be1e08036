"""What a playbook file becomes in the core, and what its author is warned of."""

import pytest

from fleetmend_controller.core.model import (
    ActionStep,
    Approval,
    Attempts,
    Cost,
    EscalateTo,
    Flapping,
    FleetBudget,
    Floor,
    NeedApproval,
    Proof,
    Rate,
    Storm,
    Trust,
    WaitStep,
)

from .samples import CHECKS, DECLARATION, PLAYBOOK, problems, rules, with_where

FULL = """\
playbook: restart-failed-unit
summary: Restart a failed systemd unit; hand over when restarts do not hold.
owner: platform
trust: act
when:
  check: [unit_failed, failed-units]
  where: finding.unit != "sshd.service"
  for: 2s
steps:
  - action: collect_evidence
    with: {unit: "{finding.unit}", lines: 20}
  - action: restart_unit
    with: {unit: "{finding.unit}"}
    prove: {within: 20s, stay_ok: 5s}
    timeout: 90s
  - wait: 60s
  - action: restart_unit
    with: {unit: shop.service}
limits:
  per_host: 4 per 2h
  fleet: {by: service, percent: 15, at_most: 7}
  storm: {by: role, percent: 30, within: 5m}
  attempts: {max: 6, within: 30m, backoff: 10s, factor: 3}
toil_minutes: 15
escalate: {to: platform-oncall, severity: page}
"""
SHORT = PLAYBOOK.replace("trust: act\n", "").replace("limits: {per_host: 3 per 1h}\n", "")
FULL_DISK = """\
playbook: clean
summary: Clean it.
owner: platform
when:
  check: filesystem_space
steps:
  - action: clear_directory
    with: {mount: "{finding.mount}", until_used_percent: "{finding.target_percent}", min_age_ms: 2d, free_bytes: 10M}
"""


def warnings(**texts: str) -> list[str]:
    return [str(warning) for warning in rules(**texts).warnings]


def test_everything_that_is_written_arrives():
    (playbook,) = rules(checks=CHECKS, playbooks=FULL).policy.playbooks
    assert (playbook.name, playbook.owner, playbook.trust, playbook.for_ms) == (
        "restart-failed-unit",
        "platform",
        Trust.ACT,
        2_000,
    )
    assert (playbook.check, playbook.also, playbook.where) == (
        "unit_failed",
        ("failed-units",),
        'finding.unit != "sshd.service"',
    )
    assert playbook.limits.per_host == Rate(4, 7_200_000)
    assert playbook.limits.fleet == FleetBudget("service", 15, 7)
    assert playbook.limits.storm == Storm("role", 30, 300_000)
    assert playbook.limits.attempts == Attempts(6, 1_800_000, 10_000, 3)
    assert (playbook.escalate, playbook.toil_minutes) == (EscalateTo("platform-oncall", "page"), 15)
    assert playbook.steps == (
        ActionStep("collect_evidence", (("lines", 20), ("unit", "{finding.unit}")), Cost.HARMLESS, None, 30_000),
        ActionStep("restart_unit", (("unit", "{finding.unit}"),), Cost.DISRUPTIVE, Proof(20_000, 5_000), 90_000),
        WaitStep(60_000),
        ActionStep("restart_unit", (("unit", "shop.service"),), Cost.DISRUPTIVE, Proof(30_000, 10_000), 120_000),
    )


def test_a_budget_may_name_several_labels():
    text = SHORT + "limits: {fleet: {by: [role, rack]}}\n"
    (playbook,) = rules(checks=CHECKS, playbooks=text).policy.playbooks
    assert playbook.limits.fleet == FleetBudget("role", 10, 20, ("rack",))
    assert playbook.limits.fleet.labels == ("role", "rack")


@pytest.mark.parametrize("by", ["[]", "[role, role]", "[a, b, c, d, e, f]", "[[role]]", "3", '""'])
def test_a_budget_over_nothing_or_the_same_twice_is_said(by: str):
    text = SHORT + f"limits: {{fleet: {{by: {by}}}}}\n"
    assert problems(checks=CHECKS, playbooks=text)


def test_a_storm_may_say_how_few_hosts_can_be_one():
    text = SHORT + "limits: {storm: {by: role, percent: 50, within: 1m, hosts: 5}}\n"
    assert rules(checks=CHECKS, playbooks=text).policy.playbooks[0].limits.storm == Storm("role", 50, 60_000, 5)


def test_what_is_left_away_is_careful():
    (playbook,) = rules(checks=CHECKS, playbooks=SHORT).policy.playbooks
    assert playbook.trust is Trust.OBSERVE
    assert playbook.limits.per_host == Rate(3, 3_600_000)
    assert playbook.limits.fleet == FleetBudget("role", 10, 20)
    assert playbook.limits.attempts == Attempts(5, 3_600_000, 5_000, 2)
    assert playbook.limits.storm is None
    assert (playbook.escalate, playbook.for_ms, playbook.also) == (EscalateTo("platform", "ticket"), 0, ())


def test_every_step_that_disturbs_or_destroys_is_proved():
    (playbook,) = rules(checks="checks: [{name: a, type: filesystem_space}]", playbooks=FULL_DISK).policy.playbooks
    (step,) = playbook.steps
    assert isinstance(step, ActionStep)
    assert (step.cost, step.prove) == (Cost.DESTRUCTIVE, Proof(30_000, 10_000))
    assert dict(step.params) == {
        "mount": "{finding.mount}",
        "until_used_percent": "{finding.target_percent}",
        "min_age_ms": 172_800_000,
        "free_bytes": 10 * 1024**2,
    }


def test_playbooks_are_tried_in_the_order_of_their_files():
    first, second = (
        PLAYBOOK.replace("playbook: restart", "playbook: zeta"),
        PLAYBOOK.replace("playbook: restart", "playbook: alpha"),
    )
    made = rules(checks=CHECKS, playbooks=first, playbooks_2=second)
    assert [playbook.name for playbook in made.policy.playbooks] == ["zeta", "alpha"]


def test_a_playbook_for_several_checks_answers_each_by_type_and_by_name():
    (playbook,) = rules(
        checks=CHECKS, playbooks=PLAYBOOK.replace("check: unit_failed", "check: [failed-units, unit_active]")
    ).policy.playbooks
    assert playbook.answers("failed-units", "unit_failed")
    assert playbook.answers("unit-active:shop.service", "unit_active")
    assert not playbook.answers("other", "unit_failed")


def test_every_gate_is_in_the_policy_in_order():
    gates = rules().policy.gates
    assert [gate.order for gate in gates] == sorted(gate.order for gate in gates)
    assert {"paused", "trust", "evidence_fresh", "one_at_a_time", "attempts", "per_host", "fleet_budget"} <= {
        gate.name for gate in gates
    }


def test_sound_rules_give_no_warning():
    assert warnings(checks=CHECKS, playbooks=PLAYBOOK, declarations=DECLARATION) == []


def test_a_playbook_that_acts_without_limits_is_warned_of():
    text = PLAYBOOK.replace("limits: {per_host: 3 per 1h}\n", "")
    (said,) = warnings(checks=CHECKS, playbooks=text)
    assert said.startswith("playbooks/playbooks.yaml:1:11: cannot tell what restart may do at most: it has no limits")


def test_a_playbook_that_another_always_precedes_is_warned_of():
    second = PLAYBOOK.replace("playbook: restart", "playbook: again")
    said = warnings(checks=CHECKS, playbooks=PLAYBOOK, playbooks_2=second)
    assert len(said) == 1
    assert said[0].startswith(
        "playbooks/playbooks_2.yaml:6:10: cannot ever reach again: restart (playbooks/playbooks.yaml) is tried before it"
    )


def test_a_condition_leaves_room_for_the_next_playbook():
    second = PLAYBOOK.replace("playbook: restart", "playbook: again")
    assert warnings(checks=CHECKS, playbooks=with_where('finding.unit == "a.service"'), playbooks_2=second) == []


def test_a_named_check_is_reached_through_its_type():
    second = PLAYBOOK.replace("playbook: restart", "playbook: again").replace("check: unit_failed", "check: failed-units")
    assert "cannot ever reach again" in warnings(checks=CHECKS, playbooks=PLAYBOOK, playbooks_2=second)[0]
    assert warnings(checks=CHECKS, playbooks=second, playbooks_2=PLAYBOOK) == []


def test_a_step_that_stops_its_own_subject_is_warned_of():
    text = PLAYBOOK.replace("restart_unit", "stop_unit").replace("unit_failed", "unit_active")
    said = warnings(declarations=DECLARATION, playbooks=text)
    assert said == [
        "playbooks/playbooks.yaml:8:13: cannot heal by stop_unit: it stops the very unit that the incident is about"
    ]


def test_a_wait_before_nothing_is_warned_of():
    text = PLAYBOOK.replace("limits:", "  - wait: 30s\nlimits:")
    assert warnings(checks=CHECKS, playbooks=text) == [
        "playbooks/playbooks.yaml:10:5: cannot follow this wait: no step comes after it"
    ]


def test_a_playbook_for_checks_that_nobody_runs_is_warned_of():
    assert "cannot ever answer unit_failed" in warnings(playbooks=PLAYBOOK)[0]


def test_a_check_slower_than_its_pace_is_warned_of():
    text = CHECKS + "    every: 2s\n"
    assert warnings(checks=text)[0].startswith("checks/checks.yaml:2:5: cannot keep the pace of failed-units")


def test_a_check_of_a_unit_that_nobody_declared_is_warned_of():
    text = CHECKS.replace("failed-units", "health").replace("unit_failed", "http_endpoint")
    text += '    with: {url: "http://127.0.0.1/", unit: UNIT}\n    on: {role: web}\n'
    said = warnings(checks=text.replace("UNIT", "pay.service"), declarations=DECLARATION)
    assert len(said) == 1
    assert "cannot ever heal pay.service by what health finds" in said[0]
    assert warnings(checks=text.replace("UNIT", "shop.service"), declarations=DECLARATION) == []


def test_disposable_below_protected_is_warned_of():
    text = DECLARATION + 'disposable: ["/srv/data/cache/**", "/srv/cache/**"]\nprotected: ["/srv/data/**"]\n'
    said = warnings(declarations=text)
    assert len(said) == 1
    assert "cannot ever clear /srv/data/cache/**: /srv/data/** is protected" in said[0]


def test_an_empty_file_is_warned_of():
    assert warnings(checks="# nothing yet\n") == ["checks/checks.yaml:1:1: cannot use an empty file: it says nothing"]


def test_no_rules_at_all_are_rules():
    made = rules()
    assert (made.checks_for({}), made.policy.playbooks, made.declarations) == ((), (), ())
    assert problems() == []


def test_floors_flapping_and_approval_are_what_the_file_says():
    limits = "limits: {minimum_healthy: {by: rack, percent: 80}, flapping: {count: 4, within: 5m, quiet: 20m}}"
    approval = "approval: {needed_for: disruptive, people: 2, within: 10m, role: admin}"
    text = PLAYBOOK.replace("limits: {per_host: 3 per 1h}", f"{limits}\n{approval}")
    (playbook,) = rules(checks=CHECKS, playbooks=text, declarations=DECLARATION).policy.playbooks
    assert playbook.limits.floor == Floor("rack", 80)
    assert playbook.limits.flapping == Flapping(4, 300_000, 1_200_000)
    assert playbook.approval == Approval(NeedApproval.DISRUPTIVE, 2, 600_000, "admin")


def test_what_destroys_is_approved_by_one_responder_within_an_hour_unless_the_file_says_otherwise():
    (playbook,) = rules(checks=CHECKS, playbooks=PLAYBOOK, declarations=DECLARATION).policy.playbooks
    assert playbook.approval == Approval(NeedApproval.DESTRUCTIVE, 1, 3_600_000, "responder")
    assert playbook.limits.floor is None


def test_an_approval_that_nobody_could_give_is_refused():
    for wrong in ("{people: 0}", "{people: 6}", "{role: viewer}", "{needed_for: always}", "{within: 0s}", "{persons: 2}"):
        (said,) = problems(checks=CHECKS, playbooks=f"{PLAYBOOK}approval: {wrong}\n", declarations=DECLARATION)
        assert "cannot " in said, wrong
