"""What the actions on network, jobs, clock and kernel settings plan, and what hostile orders make of it."""

from __future__ import annotations

import json

import pytest

from fleetmend import registry
from fleetmend_executor import actions, hosting
from fleetmend_executor.actions import Action, Refused, validate
from fleetmend_executor.commands import Finished
from fleetmend_executor.effects import UnitGuard
from fleetmend_executor.hosted import EXIT_FAILED, EXIT_REFUSED
from fleetmend_executor.hosting import Hosted
from fleetmend_executor.jobs import RunJob
from fleetmend_executor.run import ActionFailed, Run
from tests.unit.executor.world import rules

NETWORK = {
    "interfaces": {"eth0": {"mtu": 1500, "addresses": ["192.0.2.7/24"], "gateway": "192.0.2.1"}},
    "manager": "none",
    "extra_routes": "none",
    "extra_rules": "none",
    "qdisc": "default",
    "remove_undeclared": "allowed",
}
JOBS = {
    "backup.service": {"run_once": "allowed", "max_runtime_ms": 10_000},
    "report.service": {"run_once": "never", "max_runtime_ms": 0},
    "long.service": {"run_once": "allowed", "max_runtime_ms": 4 * 3_600_000},
    "ssh.service": {"run_once": "allowed", "max_runtime_ms": 0},
    "vault.service": {"run_once": "allowed", "max_runtime_ms": 0},
}
PARTS = {
    "network": NETWORK,
    "jobs": JOBS,
    "sysctl": {"file": "/etc/sysctl.d/90-shop.conf", "apply": "allowed"},
    "timezone": "Etc/UTC",
}


def plan(name, params=None, **parts):
    own = rules(protected=["vault.service"], parts={**PARTS, **parts})
    action = registry.load_one(actions, name, "ACTION", Action)
    return action.plan(validate(action, params or {}), own)


def refusal(name, params=None, **parts) -> str:
    with pytest.raises(Refused, match=r"^cannot ") as caught:
        plan(name, params, **parts)
    return caught.value.reason


REMOVALS = {
    "remove_route": {"route": "blackhole 192.0.2.20/32 table 254"},
    "remove_rule": {"priority": 77, "selector": "from all prohibit", "family": 4},
    "remove_qdisc": {"interface": "eth0", "kind": "tbf", "attached": "root"},
    "remove_neighbour": {"interface": "eth0", "address": "192.0.2.20"},
}


@pytest.mark.parametrize("name", REMOVALS)
def test_a_removal_is_one_verb_that_is_told_what_is_declared_and_what_is_meant(name):
    (effect,) = plan(name, REMOVALS[name])
    assert effect.verb == name
    assert [json.loads(argument) for argument in effect.arguments] == [NETWORK, REMOVALS[name]]


@pytest.mark.parametrize("name", REMOVALS)
def test_nothing_is_removed_unless_the_declaration_knows_all_there_may_be_and_lets_it_go(name):
    assert refusal(name, REMOVALS[name], network={**NETWORK, "remove_undeclared": "never"}) == "not_permitted"
    anything = {"extra_routes": "any", "extra_rules": "any", "qdisc": "any"}
    assert refusal(name, REMOVALS[name], network={**NETWORK, **anything}) == "undeclared"
    assert refusal(name, REMOVALS[name], network=None) == "undeclared"
    assert refusal(name, REMOVALS[name], network={"interfaces": 7}) == "undeclared"


@pytest.mark.parametrize(
    "route",
    [
        "default via 192.0.2.1 dev eth0 table 254",
        "default table 254",
        "192.0.2.20/32",
        "blackhole 192.0.2.20/32 table 254; reboot",
        "blackhole 192.0.2.20/32 table 254 table 255",
        "blackhole 192.0.2.20/32 table 254\n",
        "blackhole 192.0.2.20/32 table ²",
        "flush table main",
        "192.0.2.20/32 dev ../../x table 254",
        "-force blackhole 192.0.2.20/32 table 254",
        "",
    ],
)
def test_what_is_no_removable_route_does_not_even_reach_the_host(route):
    assert refusal("remove_route", {"route": route}) == "bad_parameter"


@pytest.mark.parametrize(
    "change",
    [
        {"selector": ""},
        {"selector": "flush"},
        {"selector": "from all; reboot"},
        {"selector": "from all prohibit\x00"},
        {"selector": "from " + "a" * 300},
        {"family": 5},
        {"priority": 2**32},
    ],
)
def test_hostile_rules_are_refused(change):
    assert refusal("remove_rule", {**REMOVALS["remove_rule"], **change}) == "bad_parameter"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"interface": "eth1"}, "undeclared"),
        ({"interface": "eth0 root; reboot"}, "undeclared"),
        ({"attached": "parent 1:1"}, "bad_parameter"),
        ({"kind": "tbf rate"}, "bad_parameter"),
    ],
)
def test_a_qdisc_is_removed_from_declared_interfaces_only(change, reason):
    assert refusal("remove_qdisc", {**REMOVALS["remove_qdisc"], **change}) == reason
    assert plan("remove_qdisc", {**REMOVALS["remove_qdisc"], "interface": "lo"})


def test_a_link_is_brought_up_by_its_declaration_and_nothing_else():
    (effect,) = plan("link_up", {"interface": "eth0"}, network={**NETWORK, "remove_undeclared": "never"})
    assert (effect.verb, json.loads(effect.arguments[1])) == ("link_up", {"interface": "eth0"})
    for interface in ("lo", "eth1", "eth0 down", "--all", ""):
        assert refusal("link_up", {"interface": interface}) == "undeclared"


def test_a_job_is_run_only_if_its_declaration_lets_it():
    guard, effect = plan("run_job", {"unit": "backup.service", "stop_first": True})
    assert isinstance(guard, UnitGuard)
    assert effect == RunJob("backup.service", stop_first=True, wait_s=10.0)
    assert plan("run_job", {"unit": "long.service"})[1] == RunJob("long.service", wait_s=60.0)
    assert refusal("run_job", {"unit": "report.service"}) == "run_once_never"
    assert refusal("run_job", {"unit": "shop.service"}) == "undeclared"
    assert refusal("run_job", {"unit": "backup.service"}, jobs=None) == "undeclared"
    assert refusal("run_job", {"unit": "backup.service"}, jobs=["backup.service"]) == "undeclared"
    assert refusal("run_job", {"unit": "vault.service"}) == "protected"
    assert refusal("run_job", {"unit": "ssh.service"}) == "not_permitted"
    assert refusal("run_job", {"unit": "fleetmend-agent.service"}) == "protected"
    for unit in ("backup", "*.service", "backup.service;reboot", "--force.service", "multi-user.target"):
        assert refusal("run_job", {"unit": unit}) == "bad_parameter"


def test_a_setting_takes_its_value_from_the_file_and_only_if_that_is_declared():
    assert plan("apply_sysctl", {"setting": "net.core.somaxconn"}) == (
        Hosted("apply_sysctl", ("/etc/sysctl.d/90-shop.conf", "net.core.somaxconn")),
    )
    assert refusal("apply_sysctl", {"setting": "net.core.somaxconn"}, sysctl=None) == "undeclared"
    never = {"file": "/etc/sysctl.d/90-shop.conf", "apply": "never"}
    assert refusal("apply_sysctl", {"setting": "net.core.somaxconn"}, sysctl=never) == "apply_never"
    for setting in (
        "",
        "net",
        "net.core.somaxconn=1",
        "../../etc/shadow",
        "net/core/somaxconn",
        "-p",
        "net..core",
        "net.ipv4.*.x",
    ):
        assert refusal("apply_sysctl", {"setting": setting}) == "bad_parameter"


def test_the_time_zone_is_the_declarations():
    assert plan("set_timezone") == (Hosted("set_timezone", ("Etc/UTC",)),)
    for zone in (None, "", "../../shadow", "/etc/shadow", "Etc/UTC\n", 7):
        assert refusal("set_timezone", timezone=zone) == "undeclared"


@pytest.mark.parametrize(
    ("code", "output", "error", "word"),
    [
        (EXIT_REFUSED, "ip route\nundeclared: cannot remove it", Refused, "undeclared"),
        (EXIT_FAILED, "exit_status: cannot ip", ActionFailed, "exit_status"),
        (1, "Traceback", ActionFailed, "exit_status"),
    ],
)
def test_how_a_verb_ended_becomes_the_reason(code, output, error, word):
    with pytest.raises(error) as caught:
        hosting.settle("remove_route", Finished(("systemd-run",), code, 1, output), Run(0.0))
    assert caught.value.reason == word
