"""The catalogue's format, and what the adapter makes of a declare block: rules that compile, and a policy that only names."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fleetmend_controller.playbooks.load import compile_rules, read_documents
from fleetmend_executor import policy
from tests.bench.faults import adapter, causes, rivals
from tests.bench.faults.catalogue import CatalogueError, load

DECLARE = {
    "units": {
        "shop.service": {
            "desired": "running",
            "restart": "allowed",
            "health": "http://127.0.0.1:8080/healthz",
            "config_test": "/usr/bin/shop --check",
            "memory_max_mb": 200,
        },
        "store.service": {"restart": "clean-only (never SIGKILL)", "health": 'tcp 127.0.0.1:5433 send "PING" expect "PONG"'},
        "hello.socket": {"desired": "listening", "health": "tcp 127.0.0.1:7007 expect any byte"},
        "night.timer": {"desired": "running"},
        "log.service": {"restart": "allowed", "health": "a logged line is readable within 3 s"},
    },
    "space": {"heal_above_percent": 90, "target_percent": 75},
    "disposable": ["/srv/shop/cache/**"],
    "protected": ["/srv/shop/orders/**"],
    "remote": ["'other-machine*.service and everything in network namespace \"peer\" stand for other machines'"],
    "tls": {
        "certificate": "/etc/shop/a.crt",
        "served_at": "127.0.0.1:8443",
        "min_days": 20,
        "ca": "/etc/shop/ca.crt",
        "renew": "renew-it 90",
    },
}
CATALOGUE = {
    "format": "fault-catalogue/1",
    "prelude": "true",
    "world_setup": "true",
    "declare": DECLARE,
    "faults": [{"id": "A-1", "name": "a", "class": "disk", "expect": "heal", "inject": "false", "settle_s": 2}],
}


def test_a_catalogue_is_read_and_narrowed(tmp_path: Path):
    path = tmp_path / "faults.yaml"
    path.write_text(yaml.safe_dump(CATALOGUE))
    found = load(path)
    assert [(fault.id, fault.budget_s, fault.settle_s) for fault in found.faults] == [("A-1", 60.0, 2.0)]
    with pytest.raises(CatalogueError, match=r"cannot play B-1: .* has A-1"):
        load(path, ("B-1",))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"format": "other/1"}, "not of the format"),
        ({"faults": [{**CATALOGUE["faults"][0], "expect": "luck"}]}, "expects 'luck'"),
    ],
)
def test_what_is_no_catalogue_is_refused(tmp_path: Path, change: dict, error: str):
    path = tmp_path / "faults.yaml"
    path.write_text(yaml.safe_dump(CATALOGUE | change))
    with pytest.raises(CatalogueError, match=error):
        load(path)


def test_a_declaration_follows_from_the_declare_block():
    made = adapter.declaration(DECLARE)
    units = made["units"]
    assert {name: unit["restart"] for name, unit in units.items()} == {
        "shop.service": "allowed",
        "store.service": "clean-only",
        "hello.socket": "clean-only",
        "night.timer": "clean-only",
        "log.service": "allowed",
    }
    assert units["store.service"]["health"]["send"] == "PING\n"
    assert units["hello.socket"]["health"]["expect_any"] is True
    assert units["log.service"]["health"]["journal"] == "3s"
    assert made["protected"] == ["/srv/shop/orders/**", "other-machine*.service"]


def test_the_adapted_rules_compile(tmp_path: Path):
    adapter.write_rules(DECLARE, tmp_path / "rules")
    rules = compile_rules(read_documents([tmp_path / "rules"]))
    assert {playbook.trust.value for playbook in rules.policy.playbooks} == {"act"}


def test_the_hosts_policy_offers_commands_by_name_only():
    made = policy.parse(yaml.safe_dump(adapter.host_policy(DECLARE, ["restart_unit"])).encode(), "executor.yaml")
    assert made.commands["test-shop"].argv == ("/usr/bin/shop", "--check")
    assert made.commands["renew-certificate"].argv == ("/usr/local/sbin/renew-it", "90")


@pytest.mark.parametrize(
    ("cls", "check_type", "speaks"),
    [
        ("disk", "filesystem_space", True),
        ("disk", "http_endpoint", False),
        ("config/package drift", "package_state", True),
        ("hardware", "smart", True),
        ("unheard of", "smart", False),
    ],
)
def test_a_check_speaks_of_some_classes_only(cls: str, check_type: str, speaks: bool):
    assert causes.speaks_of(cls, check_type) is speaks


def test_monit_is_told_what_its_language_allows():
    text = rivals.monitrc(DECLARE)
    assert 'check program shop_service with path "/bin/systemctl is-active --quiet shop.service"' in text
    assert 'if failed port 8080 protocol http request "/healthz" with timeout 1 seconds for 5 cycles' in text
    # What may only be started cleanly is not restarted by a probe.
    assert "store_service_health" not in text


def test_nothing_is_done_before_the_operators_hold_time():
    def waits(name: str) -> list[str]:
        text = adapter.trusted((adapter.REPOSITORY / "deploy" / "playbooks" / f"{name}.yaml").read_text())
        return [line.split()[1] for line in text.splitlines() if line.startswith("  for: ")]

    assert waits("restart-failed-unit") == ["5s"], "it ships with less"
    assert waits("restore-managed-file") == ["5s"], "it ships with none, and its check tells at first sight"
    assert waits("restart-hung-service") == [], "its check looked five times"
    assert waits("clean-filesystem") == ["10s"]
