"""Conditions: which term decides, and that whatever cannot be judged is no match."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetmend_controller.core.policy import MatchAnswer
from fleetmend_controller.playbooks.cel import Condition, ConditionError, Variables

from .samples import CHECKS, DECLARATION, PLAYBOOK, host, incident, rules, with_where

VARIABLES = Variables(
    (
        ("finding.unit", "text"),
        ("finding.restarts", "integer"),
        ("finding.used_percent", "number"),
        ("finding.maintenance", "flag"),
        ("host.name", "text"),
        ("host.labels", "labels"),
    ),
    "unit_failed",
)
# fmt: off
PIECES = (
    "finding.unit", "finding.unti", "host.labels.role", "host.labels.x", "finding.restarts", "==", "!=", "&&", "||", "!", "(",
    ")", "[", "]", "?", ":", ">", '"a"', "'b'", "r'\\d'", "1", "2.5", "true", "in", ".startsWith(", "size(", ",", "//", '"',
    "\\", "{", "}", "\n",
)
# fmt: on
VALUES: dict[str, object] = {
    "finding.unit": "shop.service",
    "finding.restarts": 3,
    "finding.used_percent": 91,
    "finding.maintenance": False,
    "host.name": "web-1",
    "host.labels": {"role": "web"},
}


def judged(text: str, values: dict[str, object] = VALUES) -> tuple[MatchAnswer, str]:
    match = Condition.compile(text, VARIABLES).matches(values)
    return match.answer, match.text


@pytest.mark.parametrize(
    "text",
    [
        'finding.unit == "shop.service"',
        "finding.restarts > 2 && finding.used_percent > 90.5",
        'host.labels.role in ["web", "app"]',
        '!finding.maintenance && finding.unit.startsWith("shop")',
        'finding.unit.matches("^shop[.]")',
        '"rack" in host.labels || host.labels.role == "web"',
        'has(host.labels.role) && host.labels["role"] == "web" && finding.unit != "// no remark"',
        "true || finding.restarts / 0 == 1",
        'finding.unit == "a && b" ? false : true',
    ],
)
def test_what_holds_matches(text):
    assert judged(text)[0] is MatchAnswer.YES


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'host.labels.role == "web" && finding.unit != "shop.service"',
            'finding.unit != "shop.service" is false (finding.unit is "shop.service")',
        ),
        ("finding.restarts > 5", "finding.restarts > 5 is false (finding.restarts is 3)"),
        ('host.labels.role == "db"', 'host.labels.role == "db" is false (host.labels.role is "web")'),
        ("finding.maintenance", "finding.maintenance is false (finding.maintenance is false)"),
        (
            'finding.unit == "x && y" && true',
            'finding.unit == "x && y" is false (finding.unit is "shop.service")',
        ),
        # A false term decides whatever else cannot be judged, as in CEL.
        ('host.labels.rack == "1" && finding.restarts > 5', "finding.restarts > 5 is false (finding.restarts is 3)"),
        (
            'finding.restarts > 5 || finding.unit == "a"',
            'finding.restarts > 5 || finding.unit == "a" is false (finding.restarts is 3, finding.unit is "shop.service")',
        ),
    ],
)
def test_the_term_that_decided_is_quoted(text, said):
    assert judged(text) == (MatchAnswer.NO, said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('host.labels.rack == "1"', 'host.labels.rack == "1" cannot be judged: the host has no label rack'),
        ("finding.restarts / 0 == 1", "finding.restarts / 0 == 1 cannot be judged: divide by zero"),
        (
            "9223372036854775807 + finding.restarts > 0",
            "9223372036854775807 + finding.restarts > 0 cannot be judged: integer overflow",
        ),
    ],
)
def test_what_cannot_be_judged_is_no_match(text, said):
    assert judged(text) == (MatchAnswer.ERROR, said)


@pytest.mark.parametrize("value", [None, 3, 2.5, True, ["shop.service"], {"a": 1}])
def test_a_value_that_is_missing_or_of_another_kind_is_no_match(value):
    answer, text = judged('finding.unit != ""', {**VALUES, "finding.unit": value})
    assert (answer, text) == (MatchAnswer.ERROR, 'finding.unit != "" cannot be judged: finding.unit is not known')


@pytest.mark.parametrize(
    ("name", "value"),
    [("finding.restarts", True), ("finding.restarts", 2.5), ("finding.used_percent", "91"), ("finding.maintenance", 0)],
)
def test_numbers_and_flags_are_not_taken_for_each_other(name, value):
    text = {"finding.restarts": "finding.restarts >= 0", "finding.used_percent": "finding.used_percent >= 0.0"}.get(
        name, "!finding.maintenance"
    )
    assert judged(text, {**VALUES, name: value})[0] is MatchAnswer.ERROR


def test_a_condition_that_takes_too_long_is_refused_or_no_match():
    ones = ",".join("1" * 150)
    with pytest.raises(ConditionError, match="budget"):
        Condition.compile(f"[{ones}].all(x, [{ones}].all(y, x == y))", VARIABLES)
    late = f"finding.restarts == 0 || [{ones}].all(x, [{ones}].all(y, x == y))"
    answer, text = judged(late)
    assert answer is MatchAnswer.ERROR
    assert text.endswith("cannot be judged: Iteration budget exceeded [INTERNAL]")


@pytest.mark.parametrize(
    "text",
    ["(" * 60 + "true" + ")" * 60, "x" * 5000, "finding.unit == '\x07'", "", "   ", "true;", "finding", "1", "true // or not"],
)
def test_nonsense_is_refused_at_load(text):
    with pytest.raises(ConditionError):
        Condition.compile(text, VARIABLES)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map(" ".join))
def test_any_text_is_refused_or_judged(text):
    try:
        condition = Condition.compile(text, VARIABLES)
    except ConditionError as error:
        faults = error.faults
    else:
        faults = ()
        assert condition.matches(VALUES).answer in MatchAnswer
    assert all(0 <= fault.offset <= len(text) and fault.text for fault in faults)


def test_terms_agree_with_the_whole():
    whole = (
        'finding.unit == "shop.service" && (finding.restarts > 2 || host.labels.x == "1") && !(finding.restarts > 3 && true)'
    )
    assert judged(whole)[0] is MatchAnswer.YES
    assert judged(f"({whole})")[0] is MatchAnswer.YES


def test_a_playbooks_condition_sees_the_host_the_incident_and_what_is_declared():
    terms = [
        'declared.restart == "allowed"',
        'declared.desired == "running"',
        'finding.unit == "shop.service"',
        'host.name == "web-1"',
        'host.labels.role == "web"',
        'check.name == "failed-units"',
        'check.type == "unit_failed"',
        'status == "crit"',
        'summary.contains("failed")',
    ]
    condition = " && ".join(terms)
    made = rules(checks=CHECKS, playbooks=with_where(condition), declarations=DECLARATION)
    judge = made.policy.conditions["restart"]
    assert judge(host(role="web"), incident(unit="shop.service")).answer is MatchAnswer.YES
    assert judge(host(role="web"), incident(unit="shop.service")) == judge(host(role="web"), incident(unit="shop.service"))


def test_an_undeclared_unit_is_said_to_be_so():
    made = rules(checks=CHECKS, playbooks=with_where('declared.restart == "allowed"'), declarations=DECLARATION)
    judge = made.policy.conditions["restart"]
    for other in (
        judge(host(role="web"), incident(unit="other.service")),
        judge(host(role="db"), incident(unit="shop.service")),
    ):
        assert other.answer is MatchAnswer.NO
        assert other.text == 'declared.restart == "allowed" is false (declared.restart is "undeclared")'


def test_a_finding_without_the_field_is_no_match():
    made = rules(checks=CHECKS, playbooks=with_where('finding.unit != "sshd.service"'))
    answer = made.policy.conditions["restart"](host(), incident(state="failed"))
    assert (answer.answer, answer.text) == (
        MatchAnswer.ERROR,
        'finding.unit != "sshd.service" cannot be judged: finding.unit is not known',
    )


def test_a_playbook_without_condition_has_none():
    assert rules(checks=CHECKS, playbooks=PLAYBOOK).policy.conditions == {}
