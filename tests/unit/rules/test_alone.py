"""Which playbooks hosts may run alone, what is said of those that must not be, and what each host gets to judge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleetmend.permits import Sighting, decide
from fleetmend_controller.core.model import Host
from fleetmend_controller.playbooks.load import compile_rules, read_documents
from fleetmend_controller.playbooks.simple import NotSimpleError, parse_simple
from fleetmend_controller.rules import RuleSet

from .samples import CHECKS, DECLARATION, PLAYBOOK, problems, rules

ALONE = PLAYBOOK.replace("trust: act\n", "trust: act\nalone: true\n")
WEB = Host("h-1", "web-1", {"role": "web"}, 0)
STOP = (
    ALONE.replace("unit_failed", "memory_pressure").replace("restart_unit", "stop_unit").replace("{finding.unit}", "a.service")
)
FIRST = PLAYBOOK.replace("playbook: restart", "playbook: before")


def where(condition: str, text: str = ALONE) -> str:
    return text.replace("  check: unit_failed\n", f"  check: unit_failed\n  where: >-\n    {condition}\n")


def made(playbook: str, first: str = "") -> RuleSet:
    before = {"playbooks_0": first} if first else {}
    return rules(playbooks_1=playbook, declarations=DECLARATION, checks=CHECKS, **before)


def reach_of(playbook: str, first: str = "", host: Host = WEB) -> dict | None:
    found = made(playbook, first).policy.alone["restart"](host)
    return None if found is None else json.loads(found.text)


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ('finding.load == "loaded"', ["==", "finding.load", "loaded"]),
        ('"loaded" == finding.load', ["==", "finding.load", "loaded"]),
        ("finding.load != 'loaded'", ["not", ["==", "finding.load", "loaded"]]),
        ('finding.load in ["a", "b"]', ["in", "finding.load", ["a", "b"]]),
        ("finding.load in []", ["in", "finding.load", []]),
        ("!finding.maintenance", ["not", ["is", "finding.maintenance"]]),
        ("finding.tries < 3", ["<", "finding.tries", 3]),
        ("3 <= finding.tries", [">=", "finding.tries", 3]),
        ("finding.tries == -1", ["==", "finding.tries", -1]),
        ("finding.maintenance == false", ["==", "finding.maintenance", False]),
        ('(finding.a == "x" || check.name == "y") && status == "crit"',
         ["and", ["or", ["==", "finding.a", "x"], ["==", "check.name", "y"]], ["==", "status", "crit"]]),
        (r'finding.a == "say \"x\" \\ \n"', ["==", "finding.a", 'say "x" \\ \n']),
    ],
)  # fmt: skip
def test_simple_conditions_are_read_as_hosts_judge_them(text, condition):
    assert parse_simple(text) == condition
    decide(condition, Sighting("c", "t", "", {}))


@pytest.mark.parametrize(
    "text",
    [
        'finding.unit.startsWith("a")',
        'finding.unit.matches("a")',
        "has(finding.unit)",
        "size(finding.unit) > 3",
        "finding.used_percent > 90.0",
        "finding.tries + 1 == 2",
        "finding.a == finding.b",
        '"a" == "b"',
        "true",
        'finding.a < "x"',
        'finding.a ? true : finding.b == "x"',
        "finding.a in finding.b",
        "finding.a in [finding.b]",
        'host.labels["role"] == "web"',
        'summary == "x"',
        'finding.a == r"raw"',
        r'finding.a == "\x41"',
        "(finding.a",
        "finding.a)",
        "finding.a ==",
        'finding.a == "x" finding.b',
        "",
    ],
)
def test_what_only_cel_can_judge_is_refused(text):
    with pytest.raises(NotSimpleError):
        parse_simple(text)


def test_a_host_judges_the_finding_and_gets_the_units_for_which_the_rest_holds():
    condition = (
        'declared.restart in ["allowed"] && host.labels.role == "web" && finding.load == "loaded" && !finding.maintenance'
    )
    reach = reach_of(where(condition))
    assert reach is not None
    assert reach["unless"] == []
    assert reach["reach"] == {
        "checks": ["unit_failed"],
        "where": ["and", ["==", "finding.load", "loaded"], ["not", ["is", "finding.maintenance"]]],
        "values": {"unit": ["shop.service"]},
    }
    assert reach_of(where(condition), host=Host("h-2", "db-1", {"role": "db"}, 0)) is None
    assert reach_of(where('declared.restart == "never"')) is None


def test_without_a_declared_unit_a_restart_of_the_finding_s_unit_means_nothing():
    assert reach_of(ALONE, host=Host("h-2", "x", {}, 0)) is None
    assert reach_of(ALONE) is not None


def test_a_host_s_own_name_counts():
    condition = where('host.name in ["web-1"]')
    assert reach_of(condition) is not None
    assert reach_of(condition, host=Host("h-2", "web-2", {"role": "web"}, 0)) is None


def test_a_playbook_that_is_tried_before_keeps_its_findings_there_too():
    def unless(condition: str) -> list:
        reach = reach_of(ALONE, where(condition, FIRST))
        assert reach is not None
        return list(reach["unless"])

    assert unless('finding.load == "masked"') == [{"checks": ["unit_failed"], "where": ["==", "finding.load", "masked"]}]
    assert unless('host.labels.role == "db"') == []
    assert unless('host.labels.role == "web"') == [{"checks": ["unit_failed"], "where": None}]
    assert unless('declared.restart == "never"') == []
    assert unless('declared.restart == "allowed"') == [
        {"checks": ["unit_failed"], "where": None, "values": {"unit": ["shop.service"]}}
    ]


def test_a_playbook_that_is_tried_before_and_cannot_be_judged_there_leaves_nothing_to_do_alone():
    rules_made = made(ALONE, where('finding.unit.startsWith("x")', FIRST))
    assert rules_made.policy.alone == {}
    assert any("a playbook that is tried before it is not simple" in str(warning) for warning in rules_made.warnings)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (ALONE.replace("trust: act", "trust: suggest"), "only a playbook with trust: act may"),
        (ALONE + "approval: {needed_for: disruptive}\n", "people must approve its steps"),
        (where('finding.unit.startsWith("a")'), "cannot be judged on a host"),
        (where("finding.unit == host.name"), "asks about the host and the finding in one term"),
        (STOP, "stop_unit does not say which one declared thing it touches"),
        (ALONE.replace("action: restart_unit", "action: kill_process"), "kill_process destroys"),
        (ALONE.replace("action: restart_unit", "action: restart_unit\n    drain: true"), "restart_unit needs the controller"),
        (ALONE.replace("steps:\n", "steps:\n  - action: drain\n"), "drain needs the controller"),
        (ALONE.split("steps:")[0] + "steps:\n  - action: collect_evidence\n", "none of its steps is proved"),
    ],
)
def test_what_must_not_be_done_alone_is_an_error_at_its_place(text, why):
    found = problems(playbooks=text, declarations=DECLARATION, checks=CHECKS)
    assert any(why in each and "playbooks.yaml:5:" in each and "cannot let hosts run restart alone" in each for each in found)


def test_the_shipped_restarts_may_be_run_alone():
    shipped = compile_rules(read_documents([Path(__file__).parents[3] / "deploy"]))
    labels = {label: values[0] for label, values in shipped.declarations[0].on.terms}
    for name in ("restart-failed-unit", "restart-hung-service"):
        assert shipped.policy.alone[name](Host("h-1", "web-1", labels, 0)) is not None
