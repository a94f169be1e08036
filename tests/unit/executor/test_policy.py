"""The owner's file: understood wholly or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fleetmend_executor.actions import Refused
from fleetmend_executor.policy import PolicyError, load, parse
from fleetmend_executor.rules import HostRules

SHIPPED = Path(__file__).parents[3] / "deploy/executor.yaml"


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
    policy = load(str(own))
    assert set(policy.actions) == {
        "collect_evidence",
        "reset_failed_unit",
        "restart_container",
        "restart_unit",
        "start_unit",
        "stop_unit",
        "reload_unit",
        "mount_unit",
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


def test_what_the_shipped_policy_offers_to_be_switched_on_is_understood():
    text = SHIPPED.read_text()
    for line in ("clear_directory", "clear_journal", "kill_process", "run_command"):
        text = text.replace(f"  # {line}", f"  {line}")
    text = text.replace("# commands:", "commands:").replace("#   rotate", "  rotate")
    assert yaml.safe_load(text)["commands"]
    policy = parse(text.encode(), "executor.yaml")
    assert {"clear_directory", "clear_journal", "kill_process", "run_command"} <= set(policy.actions)
    assert policy.commands["rotate-shop-logs"].timeout_s == 60
