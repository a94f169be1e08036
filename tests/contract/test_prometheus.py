"""The alert rules: each is tested by promtool, with words for people, on metrics that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from fleetmend_controller.core.model import Fleet
from fleetmend_controller.core.policy import Policy
from fleetmend_controller.http import state
from fleetmend_controller.http.metrics import Metrics
from tests.tools import needs

FOLDER = Path(__file__).parents[2] / "deploy/prometheus"
RULES = FOLDER / "fleetmend.rules.yml"
TESTS = FOLDER / "tests/fleetmend_test.yml"
ALERTS = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def promtool(*arguments: str | Path) -> str:
    program = needs.program("promtool", "prometheus")
    run = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_promtool_accepts_configuration_and_rules():
    promtool("check", "config", FOLDER / "prometheus.yml")
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", RULES)


def test_promtool_passes_the_tests_of_the_rules():
    promtool("test", "rules", TESTS)


def test_a_rule_that_never_fires_fails_its_test(tmp_path):
    """The tests bite: with a threshold out of reach they fail."""
    (tmp_path / "tests").mkdir()
    shutil.copy(TESTS, tmp_path / "tests")
    broken = RULES.read_text().replace('fleetmend_hosts{state="lost"} > 0', 'fleetmend_hosts{state="lost"} > 1000')
    (tmp_path / RULES.name).write_text(broken)
    program = needs.program("promtool", "prometheus")
    run = subprocess.run([program, "test", "rules", str(tmp_path / "tests" / TESTS.name)], capture_output=True, check=False)
    assert run.returncode != 0


@pytest.mark.parametrize("alert", ALERTS, ids=lambda rule: rule["alert"])
def test_each_alert_fires_in_a_test_and_speaks_to_people(alert):
    fired = {
        t["alertname"]
        for test in yaml.safe_load(TESTS.read_text())["tests"]
        for t in test["alert_rule_test"]
        if t.get("exp_alerts")
    }
    assert alert["alert"] in fired
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert set(alert["annotations"]) == {"summary", "description"}
    assert all(text.endswith((".", "$labels.reason }}.")) for text in alert["annotations"].values())


def own_names() -> set[str]:
    families = list(Metrics().registry.collect())
    text = state.render(state.take(Fleet(), Policy("d", (), {}, ()), 0), "1").decode()
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    names = {f.name + suffix for f in families for suffix in suffixes.get(f.type, ("",))}
    return names | set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))


@pytest.mark.parametrize("alert", ALERTS, ids=lambda rule: rule["alert"])
def test_each_alert_uses_metrics_that_the_controller_has(alert):
    per_host = {
        name
        for name in re.findall(r"fleetmend_\w+", alert["expr"])
        if name.startswith(("fleetmend_agent_", "fleetmend_check_"))
    }
    used = set(re.findall(r"fleetmend_\w+", alert["expr"]))
    assert used - per_host <= own_names()
