"""docs/rules.md: its examples are rules, and what it says about defaults is so."""

import re
from functools import cache
from pathlib import Path

from fleetmend_controller.playbooks.load import compile_rules
from fleetmend_controller.rules import RuleSet

DOC = (Path(__file__).parents[2] / "docs" / "rules.md").read_text("utf-8")
BLOCKS = re.findall(r"```yaml\n# (\S+)\n(.*?)```", DOC, re.DOTALL)


@cache
def documented() -> RuleSet:
    return compile_rules(dict(BLOCKS))


def test_the_examples_compile_without_a_warning():
    assert [path for path, _ in BLOCKS] == ["declarations/web.yaml", "checks/more.yaml", "playbooks/restart-failed-unit.yaml"]
    assert documented().warnings == ()


def test_the_values_called_defaults_are_the_defaults():
    text = dict(BLOCKS)["playbooks/restart-failed-unit.yaml"]
    bare = re.sub(r"^limits:\n(  .*\n)+", "", text, flags=re.MULTILINE)
    bare = re.sub(r"^    prove:.*\n", "", bare, flags=re.MULTILINE)
    assert bare.count("\n") < text.count("\n") - 4
    without = compile_rules({**dict(BLOCKS), "playbooks/restart-failed-unit.yaml": bare}).policy.playbooks
    assert without == documented().policy.playbooks


def test_every_check_that_is_said_to_follow_does():
    checks = {check.name: check for check in documented().checks_for({"role": "web"})}
    for prefix, every_ms in re.findall(r"`([a-z-]+):<.*?every (\d+)s", DOC):
        derived = [
            check
            for name, check in checks.items()
            if name.startswith(f"{prefix}:") and "store" not in name and "pay" not in name
        ]
        assert derived
        assert {check.every_ms for check in derived} == {int(every_ms) * 1000}


def test_every_variable_of_conditions_is_documented():
    text = dict(BLOCKS)["playbooks/restart-failed-unit.yaml"]
    for name in re.findall(r"`((?:host|check|declared)\.[a-z]+|status|summary)", DOC.split("**Conditions**")[1]):
        used = f'{name} == "x"' if name != "host.labels" else 'host.labels.role == "x"'
        compile_rules({**dict(BLOCKS), "playbooks/restart-failed-unit.yaml": re.sub(r"where: .*", f"where: '{used}'", text)})
