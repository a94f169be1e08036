"""Strict YAML: what means the same to everybody, and where every word stands."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetmend_controller.playbooks.load import FOLDERS, compile_rules
from fleetmend_controller.playbooks.text import Document, parse
from fleetmend_controller.rules import RulesError

from .samples import CHECKS, DECLARATION, PLAYBOOK, catalogue

# fmt: off
PIECES = st.sampled_from((
    "checks:", "playbook:", "declare:", "when:", "steps:", "on:", "units:", "name: a", "type: cpu_load", "{finding.unit}",
    "where: ", "- ", "  ", "\n", "\n  ", ": ", "{", "}", "[", "]", ",", "'", '"', "#", "&a", "*a", "!!str", "<<", "|", ">-",
    "? ", "&&", "\t", "no", "012", "1e3", "~", "\x00", "\ufeff", "é", "😀",
))
# fmt: on


def values(text: str) -> object:
    document, problems = parse("f.yaml", text)
    assert problems == []
    assert document.root is not None
    return document.root.value


def test_values_are_what_they_look_like():
    text = "a: true\nb: -3\nc: 2.5\nd: 30s\ne: 'no'\nf: \"012\"\ng: 10.0.0.1\nh: v1.2.3\ni: [x, {y: z}]\non: web"
    assert values(text) == {
        "a": True, "b": -3, "c": 2.5, "d": "30s", "e": "no", "f": "012", "g": "10.0.0.1", "h": "v1.2.3",
        "i": ["x", {"y": "z"}], "on": "web",
    }  # fmt: skip


@pytest.mark.parametrize(
    "trap",
    [
        "no",
        "Yes",
        "on",
        "OFF",
        "y",
        "True",
        "null",
        "~",
        "012",
        "0x1F",
        "0o17",
        "1e3",
        "1.5e-3",
        "1_000",
        "+1",
        ".5",
        "5.",
        ".inf",
        "1:30",
        "2026-01-01",
    ],
)
def test_a_value_that_yaml_may_read_otherwise_is_refused(trap):
    _, problems = parse("f.yaml", f"key: {trap}\n")
    assert [problem.column for problem in problems] == [6]
    assert problems[0].text.startswith(f"cannot use the bare value {trap}: ")


@pytest.mark.parametrize("text", ["", "\n\n", "# only a remark\n", "---\n", "--- # nothing\n...\n"])
def test_a_file_that_says_nothing_is_no_fault(text):
    document, problems = parse("f.yaml", text)
    assert (document.root, problems) == (None, [])


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("a: one HERE\n", 1, 8),
        ("a: 'it''s HERE'\n", 1, 11),
        ('a: "a \\"b\\" HERE"\n', 1, 13),
        ("a: |\n  one\n  HERE\n", 3, 3),
        ("a: >-\n  one\n  two\n\n  HERE\n", 5, 3),
        ("a:\n  b: |2\n     one\n      HERE\n", 4, 7),
        ("a: one\n  two\n  HERE\n", 3, 3),
    ],
)
def test_a_place_inside_a_text_is_found_however_it_is_written(text, line, column):
    document, _ = parse("f.yaml", text)
    path = ("a", "b") if "b:" in text else ("a",)
    value = document.text_at(path)
    problem = document.problem_inside(path, value.index("HERE"), "cannot")
    assert (problem.line, problem.column) == (line, column)


def test_a_place_that_does_not_exist_is_the_nearest_above():
    document, _ = parse("f.yaml", "a:\n  b: 1\n")
    assert document.problem(("a", "c", 3), "cannot").line == 2
    assert Document("f.yaml", "", None).problem(("a",), "cannot").line == 1


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(PIECES, max_size=40).map("".join), st.sampled_from(FOLDERS))
def test_garbage_gets_problems_and_nothing_else(text, folder):
    _only_rules_error({f"{folder}/x.yaml": text})


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(max_size=60), st.integers(0, 400), st.integers(0, 40), st.sampled_from([CHECKS, PLAYBOOK, DECLARATION]))
def test_a_good_file_with_a_hole_gets_problems_and_nothing_else(noise, at, length, text):
    folder = {CHECKS: "checks", PLAYBOOK: "playbooks", DECLARATION: "declarations"}[text]
    at %= len(text)
    _only_rules_error({f"{folder}/x.yaml": text[:at] + noise + text[at + length :]})


def _only_rules_error(documents: dict[str, str]) -> None:
    try:
        compile_rules(documents, catalogue())
    except RulesError as error:
        problems = error.problems
    else:
        return
    assert problems
    assert all(problem.text.startswith("cannot ") and problem.line >= 1 and problem.column >= 1 for problem in problems)
    assert all("\n" not in str(problem) for problem in problems)
