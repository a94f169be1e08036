"""Each file in tests/fixtures/rules/bad says in its head where it stands and everything that must be said about it."""

import pytest

from fleetmend_controller.playbooks.load import compile_rules
from fleetmend_controller.rules import RulesError

from .samples import CHECKS, DECLARATION, FIXTURES, PLAYBOOK, catalogue, problems

BAD = sorted((FIXTURES / "bad").glob("*.yaml"))


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_file_gets_exactly_these_problems_at_these_places(path):
    text = path.read_text("utf-8")
    head = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ")]
    file = f"{head[0]}/{path.name}"
    with pytest.raises(RulesError) as caught:
        compile_rules({file: text}, catalogue())
    assert [str(problem) for problem in caught.value.problems] == [f"{file}:{line}" for line in head[1:]]


def test_the_corpus_is_there():
    assert len(BAD) >= 75


def test_every_problem_of_every_file_comes_at_once_in_order_of_place():
    said = problems(
        checks=CHECKS.replace("unit_failed", "unit_faled"),
        playbooks=PLAYBOOK.replace("trust: act", "trust: always"),
        declarations=DECLARATION.replace("owner: shop", "owner: shop\nowners: a"),
    )
    assert [line.split(": ")[0] for line in said] == [
        "checks/checks.yaml:3:11",
        "declarations/declarations.yaml:4:1",
        "playbooks/playbooks.yaml:4:8",
    ]
    assert all("cannot " in line for line in said)


def test_an_unknown_check_is_not_told_twice_when_the_file_that_may_have_it_is_broken():
    said = problems(checks="checks: [", playbooks=PLAYBOOK.replace("unit_failed", "my-check"))
    assert len(said) == 1
    assert said[0].startswith("checks/checks.yaml:2:1: cannot read the file as YAML")


def test_a_name_is_taken_once_across_files():
    said = problems(
        checks=CHECKS,
        checks_2=CHECKS,
        playbooks=PLAYBOOK,
        playbooks_2=PLAYBOOK,
        declarations=DECLARATION,
        declarations_2=DECLARATION,
    )
    taken = [
        ("checks", "2:11", "failed-units", "check", 2),
        ("declarations", "1:10", "web", "declaration", 1),
        ("playbooks", "1:11", "restart", "playbook", 1),
    ]
    assert said == [
        f"{folder}/{folder}_2.yaml:{place}: cannot use the name {name} for another {what}: "
        f"{folder}/{folder}.yaml:{line} has it already"
        for folder, place, name, what, line in taken
    ]


def test_a_file_outside_the_three_folders_is_told():
    with pytest.raises(RulesError, match=r"^alerts/x.yaml:1:1: cannot place this file"):
        compile_rules({"alerts/x.yaml": "a: 1"}, catalogue())


def test_problems_of_one_file_are_bounded():
    text = "checks:\n" + "".join(f"  - {{name: no, type: t{n}}}\n" for n in range(1000))
    assert 100 <= len(problems(checks=text)) <= 1200


def test_problems_of_all_files_are_bounded_and_the_rest_is_counted():
    texts = {f"checks_{n}": "checks:\n" + "".join(f"  - {{name: a{n}-{i}, typ: x}}\n" for i in range(300)) for n in range(4)}
    said = problems(**texts)
    assert len(said) == 1001
    assert said[-1].endswith("cannot show 1400 further problems: mend these first")


def test_a_declaration_must_fit_a_sealed_document():
    patterns = "\n".join(f"  - /srv/cache/{'x' * 900}{n}" for n in range(100))
    said = problems(declarations=f"{DECLARATION}disposable:\n{patterns}\n")
    assert len(said) == 1
    assert "cannot send this to hosts" in said[0]
