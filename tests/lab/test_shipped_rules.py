"""The shipped checks and playbooks, as they are, on real hosts: what a team that writes one declaration gets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.fleet import Fleet, wait

HOST = "web-3"
RULES = "/etc/fleetmend/rules"
DECLARATION = """declare: shop
on: {role: web}
owner: shop
units:
  shop.service: {desired: running, restart: allowed, health: "http://127.0.0.1:8080/healthz"}
"""


@pytest.fixture
def shipped(fleet: Fleet) -> Iterator[Fleet]:
    """The fleet under deploy/checks and deploy/playbooks, with the declaration above."""
    fleet.shell(
        "ctl", f"mv {RULES} {RULES}.lab; mkdir -p {RULES}/declarations; cp -r /mnt/fleetmend/deploy/checks {RULES}/checks"
    )
    fleet.shell("ctl", f"cp -r /mnt/fleetmend/deploy/playbooks {RULES}/playbooks")
    fleet.shell("ctl", f"printf '%s' '{DECLARATION}' > {RULES}/declarations/shop.yaml")
    try:
        reload(fleet)
        yield fleet
    finally:
        fleet.shell("ctl", f"rm -r {RULES}; mv {RULES}.lab {RULES}")
        reload(fleet)


def reload(fleet: Fleet) -> None:
    """Puts the files on disk in force."""
    before = fleet.ctl("status")["controller"]["rules_digest"]
    fleet.run("ctl", "systemctl", "reload", "fleetmend-controller.service")
    wait(lambda: fleet.ctl("status")["controller"]["rules_digest"] != before, "the new rules to be in force", timeout_s=20)
    fleet.rest(60, "under the new rules")


@pytest.mark.parametrize(
    ("fault", "playbook"), [("unit-killed", "restart-failed-unit"), ("service-hangs", "restart-hung-service")]
)
def test_the_shipped_rules_heal(shipped: Fleet, fault: str, playbook: str):
    before = shipped.newest()
    shipped.fault(fault, HOST)
    wait(lambda: shipped.since(before, HOST), "an incident", timeout_s=40)
    wait(lambda: shipped.well(fault, HOST), "the fault to be healed", timeout_s=60)
    wait(lambda: all(i["phase"] == "resolved" for i in shipped.since(before, HOST)), "its proof", timeout_s=60)
    assert [(i["playbook"], i["why"]) for i in shipped.since(before, HOST)] == [(playbook, "healed")]
