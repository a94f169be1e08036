"""A fault that only a reboot mends: the host goes down once, comes back with another boot, and its own check proves it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.lab.fleet import Fleet, wait

HOST = "web-1"
POLICY = "/etc/fleetmend/executor.yaml"
RULES = "/etc/fleetmend/rules"
PLUGINS = "/usr/lib/nagios/plugins"
MARK = "/run/wants-a-reboot"
CHECK = """checks:
  - name: wants-a-reboot
    type: nagios_plugin
    with: {argv: [check_wants_a_reboot]}
    on: {role: web}
    every: 1s
"""
PLAYBOOK = """playbook: reboot-it
summary: Reboot a host that wants it.
owner: lab
trust: act
when: {check: wants-a-reboot}
steps:
  - action: reboot_host
    prove: {within: 3m, stay_ok: 2s}
approval: {needed_for: never}
limits: {per_host: 30 per 1h, fleet: {by: role, percent: 10, at_most: 1}}
escalate: {to: lab-oncall, severity: page}
"""


@pytest.fixture
def permitted(fleet: Fleet) -> Iterator[Fleet]:
    """The owner of one host permits reboots, and the controller has rules that use it."""
    fleet.run(HOST, "rm", "-f", MARK)
    fleet.shell(HOST, f"cp {POLICY} {POLICY}.kept; sed -i 's/^actions:/actions:\\n  reboot_host: {{}}/' {POLICY}")
    fleet.shell(HOST, f"mkdir -p {PLUGINS}; printf '#!/bin/sh\ntest ! -e {MARK} || exit 2\n' > {PLUGINS}/check_wants_a_reboot")
    fleet.shell(HOST, f"chmod 0755 {PLUGINS}/check_wants_a_reboot")
    fleet.shell("ctl", f"cat > {RULES}/checks/reboot.yaml <<'END'\n{CHECK}END\n")
    fleet.shell("ctl", f"cat > {RULES}/playbooks/90-reboot.yaml <<'END'\n{PLAYBOOK}END\n")
    fleet.run("ctl", "systemctl", "reload", "fleetmend-controller")
    try:
        yield fleet
    finally:
        fleet.shell("ctl", f"rm -f {RULES}/checks/reboot.yaml {RULES}/playbooks/90-reboot.yaml")
        fleet.run("ctl", "systemctl", "reload", "fleetmend-controller")
        fleet.shell(HOST, f"mv {POLICY}.kept {POLICY}")


def boot_of(fleet: Fleet) -> str:
    """The boot id that the host's agent tells; empty while it cannot be asked."""
    done = fleet.tries(HOST, "cat", "/proc/sys/kernel/random/boot_id")
    return done.stdout.strip() if done.returncode == 0 else ""


def test_a_host_is_rebooted_once_and_the_next_boot_proves_it(permitted: Fleet):
    fleet = permitted
    before, begun, first = fleet.newest(), len(fleet.ledger(HOST)), boot_of(fleet)
    rows_before = fleet.journal()[-1].seq
    fleet.run(HOST, "touch", MARK)
    wait(lambda: [i for i in fleet.since(before, HOST) if i["check"] == "wants-a-reboot"], "the fault to be seen", 30)
    wait(lambda: boot_of(fleet) not in ("", first), "the host to be up with another boot", 120)
    wait(
        lambda: any(i["check"] == "wants-a-reboot" and i["why"] == "healed" for i in fleet.since(before, HOST)),
        "the reboot to be proved",
        120,
    )
    # The next boot's agent took the note and believed it.
    noted = json.loads(fleet.run(HOST, "cat", "/var/lib/fleetmend-agent/boot.json"))
    assert (noted["previous"].partition(" ")[0], noted["unexpected"]) == (first, False)
    records = fleet.ledger(HOST)[begun:]
    assert [r["kind"] for r in records if r.get("action") == "reboot_host"].count("begin") == 1, records
    sent = {
        effect["order"]["id"]
        for row in fleet.journal()
        if row.seq > rows_before
        for effect in row.effects("SendOrder")
        if effect["order"]["action"] == "reboot_host"
    }
    assert len(sent) == 1, "a host is never rebooted twice by mistake"
    wait(lambda: all(i["phase"] == "resolved" for i in fleet.since(before, HOST)), "every incident to end")
