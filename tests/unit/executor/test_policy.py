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
