"""`fleetmend-controller check-config` and `schema`, as people and editors call them."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from fleetmend.catalogue import load_catalogue
from fleetmend_controller.commands.check_config import COMMAND as CHECK_CONFIG
from fleetmend_controller.commands.lint import COMMAND as LINT
from fleetmend_controller.commands.schema import COMMAND as SCHEMA
from fleetmend_controller.playbooks.editors import schema_of, schema_of_all

from ...tools.jsonschema import faults
from .samples import CHECKS, DECLARATION, FIXTURES, PLAYBOOK

ROOT = Path(__file__).parents[3]


@pytest.fixture
def rules_dir(tmp_path):
    for folder, text in (("checks", CHECKS), ("playbooks", PLAYBOOK), ("declarations", DECLARATION)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "one.yaml").write_text(text)
    return tmp_path


def run(command, *args):
    return CliRunner().invoke(command, [str(arg) for arg in args])


def test_good_rules_are_counted(rules_dir):
    result = run(CHECK_CONFIG, rules_dir)
    assert result.exit_code == 0
    assert result.stdout.startswith("these rules can be used: 1 declaration, 7 checks, 1 playbook (digest ")
    assert result.stderr == ""


def test_bad_rules_are_told_line_by_line(rules_dir):
    (rules_dir / "playbooks" / "one.yaml").write_text(PLAYBOOK.replace("trust: act", "trust: always\nowners: me"))
    (rules_dir / "checks" / "one.yaml").write_text("checks: [")
    result = run(CHECK_CONFIG, rules_dir)
    assert (result.exit_code, result.stdout) == (1, "")
    lines = result.stderr.splitlines()
    places = ["checks/one.yaml:2:1", "playbooks/one.yaml:4:8", "playbooks/one.yaml:5:1"]
    assert [line.split(": ")[0] for line in lines[:-1]] == [f"{rules_dir}/{place}" for place in places]
    assert lines[-1] == "cannot use these rules: 3 problems"


def test_warnings_do_not_fail_unless_asked(rules_dir):
    (rules_dir / "checks" / "empty.yaml").write_text("# later\n")
    result = run(CHECK_CONFIG, rules_dir)
    assert result.exit_code == 0
    assert result.stderr == f"{rules_dir}/checks/empty.yaml:1:1: warning: cannot use an empty file: it says nothing\n"
    assert run(CHECK_CONFIG, "--strict", rules_dir).exit_code == 1


@pytest.mark.parametrize(("output", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_machines_get_the_same(rules_dir, output, read):
    good = read(run(CHECK_CONFIG, rules_dir, "--output", output).stdout)
    assert (good["usable"], good["counts"], good["problems"]) == (True, {"declaration": 1, "check": 7, "playbook": 1}, [])
    (rules_dir / "playbooks" / "one.yaml").write_text(PLAYBOOK.replace("trust: act", "trust: always"))
    result = run(CHECK_CONFIG, rules_dir, "--output", output)
    assert result.exit_code == 1
    assert read(result.stdout)["problems"] == [
        {
            "file": f"{rules_dir}/playbooks/one.yaml",
            "line": 4,
            "column": 8,
            "text": "cannot use always as trust: it must be 'observe', 'suggest' or 'act'",
        }
    ]


@pytest.mark.parametrize("command", [CHECK_CONFIG, LINT], ids=["check-config", "lint"])
def test_a_call_without_directory_is_a_usage_error(command):
    assert run(command).exit_code == 2


def test_lint_has_nothing_to_say_of_good_rules(rules_dir):
    result = run(LINT, rules_dir)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "nothing unsafe or unreachable was found\n"


UNSAFE = {
    "without limits": PLAYBOOK.replace("limits: {per_host: 3 per 1h}\n", ""),
    "without proof": PLAYBOOK.replace("action: restart_unit", "action: reset_failed_unit"),
    "after one that takes all": None,
}


@pytest.mark.parametrize("what", UNSAFE)
def test_lint_fails_on_what_is_unsafe_or_unreachable(rules_dir, what):
    text = UNSAFE[what]
    if text is None:
        (rules_dir / "playbooks" / "two.yaml").write_text(PLAYBOOK.replace("playbook: restart", "playbook: again"))
    else:
        (rules_dir / "playbooks" / "one.yaml").write_text(text)
    result = run(LINT, rules_dir)
    assert (result.exit_code, result.stdout) == (1, "cannot call these rules safe: 1 finding\n")
    assert result.stderr.startswith(f"{rules_dir}/playbooks/")
    assert run(CHECK_CONFIG, rules_dir).exit_code == 0, "they can be used all the same"


def test_lint_names_actions_that_no_host_would_run(rules_dir, tmp_path):
    policy = tmp_path / "executor.yaml"
    policy.write_text("actions: {collect_evidence: {}}\n")
    result = run(LINT, rules_dir, "--host-policy", policy)
    assert result.exit_code == 1
    assert "cannot ever run restart_unit: no host policy lists it" in result.stderr
    policy.write_text("actions: {restart_unit: {}}\n")
    assert run(LINT, rules_dir, "--host-policy", policy).exit_code == 0


@pytest.mark.parametrize(("output", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_lint_tells_machines_the_same(rules_dir, output, read):
    (rules_dir / "checks" / "empty.yaml").write_text("# later\n")
    result = run(LINT, rules_dir, "--output", output)
    text = "cannot use an empty file: it says nothing"
    finding = {"file": f"{rules_dir}/checks/empty.yaml", "line": 1, "column": 1, "text": text}
    assert (result.exit_code, read(result.stdout)) == (1, {"usable": True, "problems": [], "findings": [finding]})
    (rules_dir / "checks" / "one.yaml").write_text("checks: [")
    result = run(LINT, rules_dir, "--output", output)
    assert (result.exit_code, read(result.stdout)["usable"]) == (1, False)


def test_lint_says_what_cannot_be_used_at_all(rules_dir):
    (rules_dir / "checks" / "one.yaml").write_text("checks: [")
    result = run(LINT, rules_dir)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"{rules_dir}/checks/one.yaml:2:1: cannot ")


def test_what_ships_is_safe():
    assert run(LINT, ROOT / "deploy").exit_code == 0, run(LINT, ROOT / "deploy").stderr


@pytest.mark.parametrize("kind", ["checks", "playbooks", "declarations"])
def test_the_schema_is_printed(kind):
    result = run(SCHEMA, kind)
    assert json.loads(result.stdout) == schema_of(kind, load_catalogue())
    assert "null" not in json.dumps(json.loads(result.stdout))


@pytest.mark.parametrize("path", sorted((FIXTURES / "good").rglob("*.yaml")), ids=lambda path: path.name)
def test_the_schema_accepts_good_files(path):
    value = yaml.safe_load(path.read_text().replace("\non:", '\n"on":').replace(" on:", ' "on":'))
    folder = path.relative_to(FIXTURES / "good").parts[0]
    assert faults(value, schema_of(folder, load_catalogue())) == []
    assert faults(value, json.loads(run(SCHEMA).stdout)) == []


@pytest.mark.parametrize(
    ("kind", "text", "old", "new"),
    [
        ("checks", CHECKS, "unit_failed", "unit_faled"),
        ("checks", CHECKS, "name:", "nam:"),
        ("checks", CHECKS + "    with: {ignore: [a]}", "ignore", "ignored"),
        ("playbooks", PLAYBOOK, "restart_unit", "restart_units"),
        ("playbooks", PLAYBOOK, "{unit: ", "{unti: "),
        ("playbooks", PLAYBOOK, "3 per 1h", "3 per hour"),
        ("playbooks", PLAYBOOK, "trust: act", "trust: always"),
        ("declarations", DECLARATION, "restart: allowed", "restart: yes please"),
        ("declarations", DECLARATION, "shop.service", "shop"),
        ("declarations", DECLARATION, "owner: shop", "oner: shop"),
    ],
)
def test_the_schema_refuses_bad_files(kind, text, old, new):
    good, bad = (yaml.safe_load(each.replace("\non:", '\n"on":')) for each in (text, text.replace(old, new)))
    schema = schema_of(kind, load_catalogue())
    assert faults(good, schema) == []
    assert faults(bad, schema)


def test_an_editor_can_tell_the_kinds_apart():
    schema = schema_of_all(load_catalogue())
    assert faults({"checks": [{"name": "a", "type": "cpu_load"}]}, schema) == []
    assert faults({"declare": "web", "owner": "shop"}, schema) == []
    assert faults({"alert": "web"}, schema)
