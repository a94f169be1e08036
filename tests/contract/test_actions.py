"""Every action keeps the contract: a pure plan, a cost, the checks that prove it, a refusal of hostile parameters."""

from __future__ import annotations

import builtins
import os
import socket
import subprocess

import pytest

import fleetmend_agent.checks
from fleetmend import registry
from fleetmend_executor import actions, effects
from fleetmend_executor.actions import Action, Cost, Refused, validate
from fleetmend_executor.policy import AnsiblePlay, NamedCommand
from tests.unit.executor.world import rules

ACTIONS = registry.load(actions, "ACTION", Action)
KINDS = {"text", "integer", "flag", "duration_ms", "size_bytes"}
PARTS = {
    "containers": {"engine": "/run/docker.sock", "declared": {"shop": {"restart": "allowed"}}},
    "killable": [{"user": "nobody"}],
    "units": {"shop.service": {"lock_file": "/srv/shop/LOCK"}},
    "managed_files": {"/usr/share/golden": {"modes": "same"}},
    "ownership": {"/srv/data": {"owner": "shop", "group": "", "mode": "0750", "kind": "directory"}},
    "mounts": {"/srv/data": {"unit": "srv-data.mount", "remount": "if-clean", "users": ["shop.service"]}},
    "live_logs": {"/var/log/shop.log": {"rotated_by": "rotate.service"}},
    "packages": {"configure": "allowed", "installed:shop-tool": {"version": "1.0", "hold": True, "reinstall": "allowed"}},
    "jobs": {"backup.service": {"run_once": "allowed", "max_runtime_ms": 10_000, "heavy": False}},
    "network": {
        "interfaces": {"eth0": {"mtu": 1500, "addresses": ["192.0.2.7/24"], "gateway": "192.0.2.1"}},
        "manager": "none",
        "extra_routes": "none",
        "extra_rules": "none",
        "qdisc": "default",
        "remove_undeclared": "allowed",
    },
    "sysctl": {"file": "/etc/sysctl.d/90-shop.conf", "apply": "allowed"},
    "timezone": "Etc/UTC",
}
UNITS = {"shop.service": {}, "srv-data.mount": {"restart": "never"}}
RULES = rules(units=UNITS, disposable=["/srv/cache/**"], parts=PARTS)
RULES.policy.commands["tidy"] = NamedCommand(("/bin/tidy",))
RULES.policy.ansible["tidy"] = AnsiblePlay("/srv/tidy.yaml")
# Parameters with which each action can be planned.
GOOD = {
    "restart_unit": {"unit": "shop.service"},
    "restart_cleanly": {"unit": "shop.service"},
    "start_unit": {"unit": "shop.service"},
    "stop_unit": {"unit": "shop.service"},
    "reload_unit": {"unit": "shop.service"},
    "reset_failed_unit": {"unit": "shop.service"},
    "kill_process": {"unit": "shop.service"},
    "clear_journal": {"keep_bytes": 64 << 20},
    "clear_directory": {"path": "/srv/cache"},
    "collect_evidence": {"unit": "shop.service"},
    "run_command": {"command": "tidy"},
    "restart_container": {"name": "shop"},
    "stop_stray": {"pid": 42, "start_ticks": 7, "name": "crunch"},
    "stop_writer": {"mount": "/srv/cache"},
    "release_deleted": {"mount": "/srv/cache"},
    "stop_copy": {"unit": "shop.service", "pid": 42, "start_ticks": 7, "name": "shop"},
    "remove_stale_lock": {"unit": "shop.service"},
    "remove_semaphores": {"user": "nobody"},
    "restore_file": {"path": "/etc/shop.conf", "golden": "/usr/share/golden"},
    "set_ownership": {"path": "/srv/data"},
    "remount_rw": {"mount": "/srv/data"},
    "mount_unit": {"unit": "srv-data.mount"},
    "rotate_log": {"path": "/var/log/shop.log"},
    "configure_packages": {},
    "reinstall_package": {"package": "shop-tool"},
    "hold_package": {"package": "shop-tool"},
    "set_package_version": {"package": "shop-tool"},
    "run_job": {"unit": "backup.service"},
    "link_up": {"interface": "eth0"},
    "remove_route": {"route": "blackhole 192.0.2.20/32 table 254"},
    "remove_rule": {"priority": 32765, "selector": "from all to 192.0.2.20 ipproto tcp dport 9000 prohibit"},
    "remove_qdisc": {"interface": "eth0", "kind": "tbf"},
    "remove_neighbour": {"interface": "eth0", "address": "192.0.2.20"},
    "apply_sysctl": {"setting": "net.core.somaxconn"},
    "set_timezone": {},
    "run_ansible": {"play": "tidy"},
    "reboot_host": {},
}
HOSTILE = [
    "--help",
    "; reboot",
    "$(reboot)",
    "../../etc/shadow",
    "/etc/shadow",
    "a\nb",
    "\x00",
    "*",
    "x" * 5000,
    -1,
    1.5,
    [],
    {},
    True,
]
named = pytest.mark.parametrize("name", sorted(ACTIONS))


def test_the_list_of_good_parameters_is_complete():
    assert set(GOOD) == set(ACTIONS)


@named
def test_it_is_described(name):
    action = ACTIONS[name]
    assert action.summary.endswith(".")
    assert isinstance(action.cost, Cost)
    assert 0 < action.timeout_s <= 3600
    for param in action.params:
        assert param.kind in KINDS
        assert param.doc.endswith(".")
        assert param.name.isidentifier()
        assert param.required == (param.default is None), "a parameter is required or has a default"
        if param.kind in {"duration_ms", "size_bytes"}:
            assert param.name.endswith(("_ms", "_bytes")), "the unit stands in the name"


@named
def test_it_is_proved_by_checks_that_exist_unless_it_heals_nothing(name):
    action = ACTIONS[name]
    assert set(action.proved_by) <= set(registry.names(fleetmend_agent.checks))
    assert action.proved_by or action.cost is Cost.HARMLESS


@named
def test_its_plan_is_pure(name, monkeypatch):
    def touched(*args, **kwargs):
        raise AssertionError("a plan touched the machine")

    for module, attributes in (
        (os, ("open", "stat", "listdir", "readlink", "kill", "unlink")),
        (subprocess, ("Popen", "run")),
        (socket, ("socket",)),
        (builtins, ("open",)),
    ):
        for attribute in attributes:
            monkeypatch.setattr(module, attribute, touched)
    action = ACTIONS[name]
    params = validate(action, GOOD[name])
    first, second = action.plan(dict(params), RULES), action.plan(dict(params), RULES)
    assert first == second
    assert first
    assert all(isinstance(effect, effects.Effect) for effect in first)


@named
def test_what_the_policy_does_not_list_is_not_planned(name):
    action = ACTIONS[name]
    empty = rules("actions: {}", units=UNITS, disposable=["/srv/cache/**"], parts=PARTS)
    with pytest.raises(Refused) as caught:
        action.plan(validate(action, GOOD[name]), empty)
    assert caught.value.reason == "not_permitted"


@named
@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_hostile_parameters_are_refused(name, value):
    action = ACTIONS[name]
    for param in action.params:
        if param.kind == "flag" and isinstance(value, bool):
            continue
        with pytest.raises(Refused, match=r"^cannot "):
            action.plan(validate(action, {**GOOD[name], param.name: value}), RULES)


@named
def test_unknown_parameters_are_refused(name):
    with pytest.raises(Refused) as caught:
        validate(ACTIONS[name], {**GOOD[name], "surprise": 1})
    assert caught.value.reason == "bad_parameter"
