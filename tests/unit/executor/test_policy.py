"""The owner's file: understood wholly or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fleetmend_executor.actions import Refused
from fleetmend_executor.policy import PolicyError, load, parse
from fleetmend_executor.rules import HostRules

SHIPPED = Path(__file__).parents[3] / "deploy/executor.yaml"
UNFOLDING = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else 'lol'] * 9)}]\n" for n in range(9))
WITHOUT_YAML = "import sys; sys.modules['yaml'] = None; from fleetmend_executor.policy import load; print(load(*sys.argv[1:]))"


@pytest.mark.parametrize(
    "text",
    [
        "actions: {restart_unit: {unit: [a]}}",
        "actions: {restart_unit: {units: a}}",
        "actions: {restart_unit: {units: [no]}}",
        "actions: {restart_unit: yes}",
        "actions: [restart_unit]",
        "actions: {restart_unit: {}}\nactions: {}",
        "actions: {restart_unit: {}, restart_unit: {}}",
        "undeclared: maybe",
        "undeclared: no",
        "protected: [relative/path]",
        "protected: /srv",
        "commands: {a: {argv: ls}}",
        "commands: {a: {argv: [ls]}}",
        "commands: {a: {argv: []}}",
        "commands: {a: {argv: [/bin/ls], shell: true}}",
        "commands: {a: {argv: [/bin/ls], timeout: 10}}",
        "commands: {a: {argv: [/bin/ls], timeout: 5h}}",
        "commands: {a: {argv: [/bin/ls], timeout: 0s}}",
        "commands: {a: {argv: [/bin/ls], output_bytes_max: 1G}}",
        "!!python/object/apply:os.system [reboot]",
        "actions: &a {x: *a}",
        "? {a: b}\n: c",
        "- x",
        "\x00",
        "{",
        "",
    ],
)
def test_anything_unknown_permits_nothing(text):
    with pytest.raises(PolicyError):
        parse(text.encode(), "executor.yaml")


def test_the_error_names_file_and_place():
    with pytest.raises(
        PolicyError, match=r"executor.yaml: actions.restart_unit: unknown key 'unit'; known are commands, except"
    ):
        parse(b"actions: {restart_unit: {unit: [a]}}", "executor.yaml")
    with pytest.raises(PolicyError, match=r"executor.yaml:1: cannot use key 'a': it is given twice"):
        parse(b"{a: 1, a: 2}", "executor.yaml")


def test_the_shipped_policy_grants_least(tmp_path):
    own = tmp_path / "executor.yaml"
    own.write_text(SHIPPED.read_text())
    own.chmod(0o644)
    policy = load(str(own), str(tmp_path))
    assert set(policy.actions) == {
        "collect_evidence",
        "reset_failed_unit",
        "restart_container",
        "restart_unit",
        "start_unit",
        "stop_unit",
        "reload_unit",
        "restart_cleanly",
        "mount_unit",
        "release_deleted",
        "rotate_log",
        "restore_file",
        "set_ownership",
        "remount_rw",
        "configure_packages",
        "reinstall_package",
        "hold_package",
    }
    assert (policy.commands, policy.undeclared_units) == ({}, False)
    for unit in ("ssh.service", "sshd.service", "systemd-logind.service", "dbus.service", "fleetmend-agent.service"):
        with pytest.raises(Refused):
            HostRules(policy).unit("restart_unit", unit)


def test_a_file_seen_before_is_understood_without_the_yaml_library(tmp_path):
    own, kept = tmp_path / "executor.yaml", tmp_path / "policy.json"
    own.write_text(SHIPPED.read_text())
    own.chmod(0o600)
    ours = load(str(own), str(tmp_path))
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    done = subprocess.run([sys.executable, "-c", WITHOUT_YAML, own, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout == f"{ours}\n"


@pytest.mark.parametrize("kept", [b"", b"{", b"[]", b"{}", b'{"sha256": "DIGEST"}', b'{"sha256": "DIGEST", "values": []}'])
def test_what_was_remembered_counts_for_nothing_when_it_is_not_whole_or_of_another_file(tmp_path, kept):
    own = tmp_path / "executor.yaml"
    own.write_text("actions: {restart_unit: {}}")
    own.chmod(0o600)
    (tmp_path / "policy.json").write_bytes(kept.replace(b"DIGEST", hashlib.sha256(own.read_bytes()).hexdigest().encode()))
    (tmp_path / "policy.json").chmod(0o600)
    assert set(load(str(own), str(tmp_path)).actions) == {"restart_unit"}
    own.write_text("actions: {restart_unit: {}, stop_unit: {}}")
    assert set(load(str(own), str(tmp_path)).actions) == {"restart_unit", "stop_unit"}
    own.write_text("actions: [restart_unit]")
    with pytest.raises(PolicyError):
        load(str(own), str(tmp_path))


def test_what_others_may_have_written_is_not_remembered(tmp_path):
    own = tmp_path / "executor.yaml"
    own.write_text("actions: {}")
    own.chmod(0o600)
    digest = hashlib.sha256(own.read_bytes()).hexdigest()
    (tmp_path / "policy.json").write_text(json.dumps({"sha256": digest, "values": {"actions": {"reboot_host": {}}}}))
    (tmp_path / "policy.json").chmod(0o666)
    assert load(str(own), str(tmp_path)).actions == {}


@pytest.mark.parametrize("text", ["undeclared: 2024-01-01", "actions: {1: {}}", "x: .nan", "x: &a {x: *a}", UNFOLDING])
def test_what_json_cannot_say_exactly_is_not_remembered(tmp_path, text):
    own = tmp_path / "executor.yaml"
    own.write_text(text)
    own.chmod(0o600)
    with contextlib.suppress(PolicyError):
        load(str(own), str(tmp_path))
    assert not (tmp_path / "policy.json").exists()


def test_a_full_disk_costs_only_the_remembering(tmp_path):
    own = tmp_path / "executor.yaml"
    own.write_text("actions: {restart_unit: {}}")
    own.chmod(0o600)
    assert set(load(str(own), str(tmp_path / "no such folder")).actions) == {"restart_unit"}


def test_what_the_shipped_policy_offers_to_be_switched_on_is_understood():
    text = SHIPPED.read_text()
    offered = {"clear_directory", "clear_journal", "kill_process", "run_command"}
    offered |= {"run_job", "link_up", "remove_route", "remove_rule", "remove_qdisc", "remove_neighbour"}
    offered |= {"apply_sysctl", "set_timezone"}
    for line in offered:
        text = text.replace(f"  # {line}", f"  {line}")
    text = text.replace("# commands:", "commands:").replace("#   rotate", "  rotate").replace("#   renew", "  renew")
    assert yaml.safe_load(text)["commands"]
    policy = parse(text.encode(), "executor.yaml")
    assert offered <= set(policy.actions)
    assert policy.commands["rotate-shop-logs"].timeout_s == 60
    assert [policy.commands[name].hosted for name in ("rotate-shop-logs", "renew-certificate")] == [False, True]


def test_a_command_is_hosted_only_by_a_plain_true():
    def command(hosted):
        return parse(f"commands: {{a: {{argv: [/bin/a], hosted: {hosted}}}}}".encode(), "executor.yaml").commands["a"]

    assert [command(word).hosted for word in ("true", "false")] == [True, False]
    for word in ("1", "'true'", "[true]"):
        with pytest.raises(PolicyError, match="hosted must be true or false"):
            command(word)
