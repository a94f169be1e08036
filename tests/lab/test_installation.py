"""`deploy/install` on real hosts: twice changes nothing, what it installs is hardened, and it takes away what it brought."""

from __future__ import annotations

import re

import pytest

from tests.lab.fleet import Fleet, wait

MEDIUM = "/mnt/fleetmend"
EXPOSURE_MAX = 2.5
UNITS = {
    "web-1": ("fleetmend-agent.service", "fleetmend-executor.service", "fleetmend-executor.socket"),
    "ctl": ("fleetmend-controller.service",),
}
# Everything an installation may touch, with modes, owners and contents; state that changes by itself is left out.
SNAPSHOT = (
    "find /etc /opt /usr/local /var/lib/fleetmend* /run/fleetmend* -xdev"
    " \\( -name '*.db*' -o -path '*/outbox/*' -o -name '*.jsonl' -o -name '__pycache__' -o -path /etc/mtab \\) -prune"
    " -o -printf '%p %m %u %g %y %l ' -type f -exec sha256sum {} \\; -o -printf '\\n' | sort"
)
PSS_AND_CPU = """
pid=$(systemctl show -P MainPID $0)
ticks() { awk '{print $14 + $15}' /proc/$pid/stat; }
before=$(ticks); sleep 20; after=$(ticks)
awk -v ticks=$((after - before)) \\
  '/^Pss:/ {printf "%.1f MiB PSS, %.2f s of CPU a minute", $2 / 1024, ticks * 3 / 100}' /proc/$pid/smaps_rollup
"""
LEFT = """
import os
paths = ("/opt/fleetmend/venv", "/var/lib/fleetmend-agent", "/etc/fleetmend/agent.yaml")
print([path for path in paths if os.path.exists(path)])
"""


def snapshot(fleet: Fleet, host: str) -> str:
    return fleet.shell(host, SNAPSHOT)


@pytest.mark.parametrize(("host", "role"), [("web-1", "agent"), ("ctl", "controller")])
def test_a_second_run_changes_nothing(fleet: Fleet, host: str, role: str):
    pids = [fleet.run(host, "systemctl", "show", "-P", "MainPID", unit) for unit in UNITS[host] if unit.endswith(".service")]
    before = snapshot(fleet, host)
    fleet.run(host, f"{MEDIUM}/deploy/install", role, "--wheels", f"{MEDIUM}/wheels", timeout_s=120)
    assert snapshot(fleet, host) == before
    assert [
        fleet.run(host, "systemctl", "show", "-P", "MainPID", unit) for unit in UNITS[host] if unit.endswith(".service")
    ] == pids


@pytest.mark.parametrize(("host", "unit"), [(host, unit) for host, units in UNITS.items() for unit in units])
def test_systemd_finds_nothing_wrong_with_the_units(fleet: Fleet, host: str, unit: str):
    done = fleet.tries(host, "systemd-analyze", "verify", "--man=no", unit)
    assert (done.returncode, done.stdout, [line for line in done.stderr.splitlines() if "fleetmend" in line]) == (0, "", [])


@pytest.mark.parametrize(("host", "unit"), [("web-1", "fleetmend-agent.service"), ("ctl", "fleetmend-controller.service")])
def test_the_exposure_of_the_units_is_small(fleet: Fleet, host: str, unit: str):
    report = fleet.run(host, "systemd-analyze", "security", "--no-pager", unit)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", report)
    assert found is not None, report
    print(f"\n{unit}: exposure {found[1]}")
    assert float(found[1]) <= EXPOSURE_MAX


def test_the_footprint_at_rest_is_printed_and_the_executor_is_not_there(fleet: Fleet):
    for host, unit in (("web-1", "fleetmend-agent.service"), ("ctl", "fleetmend-controller.service")):
        print(f"\n{unit} at rest: {fleet.run(host, 'bash', '-euc', PSS_AND_CPU, unit)}")
    wait(
        lambda: fleet.tries("web-1", "systemctl", "is-active", "fleetmend-executor.service").stdout.strip() == "inactive",
        "the executor to end when it is idle",
        timeout_s=90,
    )
    assert fleet.run("web-1", "systemctl", "is-active", "fleetmend-executor.socket").strip() == "active"


@pytest.mark.parametrize("role", ["controller", "cli"])
def test_what_a_part_brought_goes_with_it_and_nothing_else(fleet: Fleet, role: str):
    # Beside an installed agent: the programs' folder is shared, the rest must be as it was.
    shared = "/etc /usr/local /etc/systemd /run/systemd/system"
    listing = f"find {shared} -printf '%p %m %u %g %l\\n' | sort; getent passwd"
    before = fleet.shell("web-3", listing)
    fleet.run("web-3", f"{MEDIUM}/deploy/install", role, "--wheels", f"{MEDIUM}/wheels", "--no-start", timeout_s=120)
    assert fleet.shell("web-3", listing) != before
    fleet.run("web-3", f"{MEDIUM}/deploy/install", role, "--remove", "--purge", timeout_s=120)
    assert fleet.shell("web-3", listing) == before
    assert fleet.run("web-3", "systemctl", "is-active", "fleetmend-agent.service").strip() == "active"


def test_a_removed_host_is_out_at_once_and_can_start_anew(fleet: Fleet):
    old = next(host for host in fleet.ctl("hosts", "ls")["hosts"] if host["name"] == "web-3")
    fleet.ctl("hosts", "rm", "web-3", "--yes")
    assert "web-3" not in {host["name"] for host in fleet.ctl("hosts", "ls")["hosts"]}
    agent_log = ("journalctl", "-u", "fleetmend-agent", "-o", "cat", "-n", "5")
    wait(lambda: "removed" in fleet.run("web-3", *agent_log), "its stream to be closed", timeout_s=20)
    renewed = fleet.tries("web-3", "runuser", "-u", "fleetmend-agent", "--", "fleetmend-agent", "renew")
    assert renewed.returncode == 1
    assert "removed" in renewed.stderr
    refused = [entry for entry in fleet.ctl("audit", "ls")["entries"] if entry["host_id"] == old["id"]]
    assert refused, "the audit trail says nothing of the removed host"
    remove_and_purge(fleet, "web-3")
    fleet.must("enrol", "web-3")
    fleet.rest(60, "with the host under a new identity")
    new = next(host for host in fleet.ctl("hosts", "ls")["hosts"] if host["name"] == "web-3")
    assert new["id"] != old["id"]
    before = fleet.newest()
    fleet.fault("unit-killed", "web-3")
    wait(lambda: [i["why"] for i in fleet.since(before, "web-3")] == ["healed"], "the new host to be healed", timeout_s=40)


def remove_and_purge(fleet: Fleet, host: str) -> None:
    """`--remove` takes the programs and keeps configuration and state; `--purge` takes these too, and nothing else."""
    fleet.shell(host, "echo mine > /etc/fleetmend/mine.yaml; cp -a /etc/fleetmend/executor.yaml /root/policy.yaml")
    fleet.run(host, f"{MEDIUM}/deploy/install", "agent", "--remove", timeout_s=120)
    assert fleet.run(host, "python3", "-c", LEFT).strip() == "['/var/lib/fleetmend-agent', '/etc/fleetmend/agent.yaml']"
    assert fleet.shell(host, "systemctl list-unit-files 'fleetmend*' --no-legend | wc -l").strip() == "0"
    fleet.run(host, f"{MEDIUM}/deploy/install", "agent", "--remove", "--purge", timeout_s=120)
    assert fleet.run(host, "python3", "-c", LEFT).strip() == "[]"
    assert fleet.tries(host, "getent", "passwd", "fleetmend-agent").returncode == 2
    assert fleet.run(host, "cat", "/etc/fleetmend/mine.yaml").strip() == "mine"
    fleet.shell(host, "mv /root/policy.yaml /etc/fleetmend/executor.yaml; rm /etc/fleetmend/mine.yaml")
