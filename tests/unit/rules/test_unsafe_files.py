"""Each file in tests/fixtures/rules/unsafe is a set of rules that can be used but should not be, and says what is warned of."""

import pytest

from fleetmend_controller.playbooks.load import compile_rules

from .samples import CHECKS, DECLARATION, FIXTURES, PLAYBOOK, catalogue, rules

UNSAFE = sorted((FIXTURES / "unsafe").glob("*.txt"))
# What the policy file in deploy/ lists.
HOST_POLICIES = {"executor.yaml": ["collect_evidence", "reset_failed_unit", "restart_unit", "start_unit", "stop_unit"]}
HOST_POLICIES |= {"big.yaml": ["reload_unit", "clear_directory"]}


def read(text: str) -> tuple[list[str], dict[str, str]]:
    """The warnings that are expected, and the files: each begins with a line `#> PATH`."""
    head, *parts = text.split("#> ")
    files = {part.partition("\n")[0]: part.partition("\n")[2] for part in parts}
    return [line.removeprefix("#! ") for line in head.splitlines()], files


@pytest.mark.parametrize("path", UNSAFE, ids=lambda path: path.stem)
def test_unsafe_rules_get_exactly_these_warnings_at_these_places(path):
    expected, files = read(path.read_text("utf-8"))
    assert expected
    assert [str(warning) for warning in compile_rules(files, catalogue(), HOST_POLICIES).warnings] == expected


def test_the_corpus_is_there():
    assert len(UNSAFE) >= 11


START = PLAYBOOK.replace("playbook: restart", "playbook: start").replace("unit_failed", "unit_active")
STOP = (
    START.replace("playbook: start", "playbook: stop")
    .replace("restart_unit", "stop_unit")
    .replace("{finding.unit}", "a.service")
)


@pytest.mark.parametrize(
    ("one", "two", "warned"),
    [
        ('host.labels.role == "web"', 'host.labels.role == "db"', False),
        ('host.labels.role in ["web", "app"]', '(host.labels.role == "db") && finding.unit != ""', False),
        ('host.labels.role in ["web", "db"]', 'host.labels.role == "db"', True),
        ('host.labels.role == "web" || finding.unit == "b"', 'host.labels.role == "db"', True),
    ],
)
def test_conditions_that_exclude_each_other_do_not_fight(one, two, warned):
    texts = [
        text.replace("check: unit_active", f"check: unit_active\n  where: {where!r}")
        for text, where in ((START, one), (STOP, two))
    ]
    checks = "checks:\n  - {name: runs, type: unit_active, with: {unit: a.service}}\n"
    said = [str(warning) for warning in rules(checks=checks, playbooks=texts[0], playbooks_2=texts[1]).warnings]
    assert any("both answer this" in line for line in said) is warned


def test_no_host_policy_given_means_nothing_is_said_of_it():
    text = PLAYBOOK.replace("restart_unit", "kill_process")
    assert not any("no host policy" in str(warning) for warning in rules(checks=CHECKS, playbooks=text).warnings)


def test_a_condition_on_what_should_run_is_believed():
    checks = "checks:\n  - {name: is-off, type: unit_active, with: {unit: shop.service, desired: stopped}}\n"
    text = START.replace("check: unit_active", "check: unit_active\n  where: 'declared.desired == \"running\"'")
    assert not any(
        "wants" in str(warning) for warning in rules(checks=checks, playbooks=text, declarations=DECLARATION).warnings
    )
