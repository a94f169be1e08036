"""What the controller does when it cannot trust or write its journal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from tests.lab.fleet import Fleet, wait

STATE = "/var/lib/fleetmend"
STEADY_S = 4.0
METRIC = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:7480/metrics').read().decode())"
FLIP = """
import sqlite3, sys
db = sqlite3.connect("/var/lib/fleetmend/fleetmend.db", timeout=10)
newest = db.execute("select max(seq) from journal where kind = 'event'").fetchone()[0]
seq = newest if sys.argv[1] == "pick" else int(sys.argv[1])
body = bytearray(db.execute("select body from journal where seq = ?", (seq,)).fetchone()[0].encode())
body[body.index(b'"at_ms":') + 9] ^= 1  # one digit of a time becomes its neighbour; a second flip takes it back
db.execute("update journal set body = ? where seq = ?", (body.decode(), seq))
db.commit()
print(seq)
"""


def metric(fleet: Fleet, name: str) -> float:
    lines = fleet.run("ctl", "python3", "-c", METRIC).splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))


def controller(fleet: Fleet, verb: str) -> None:
    fleet.run("ctl", "systemctl", verb, "fleetmend-controller.service")


@contextlib.contextmanager
def small_disk(fleet: Fleet) -> Iterator[None]:
    """The controller's state on a file system of its own with 24 MiB more than it needs; afterwards back where it was."""
    controller(fleet, "stop")
    fleet.shell(
        "ctl",
        f"size=$(( $(du -sm {STATE} | cut -f1) + 24 )); truncate -s ${{size}}M /var/tmp/small.img;"
        f"mkfs.ext4 -q -m 0 /var/tmp/small.img;"
        f"mkdir -p /mnt/small; mount -o loop /var/tmp/small.img /mnt/small; cp -a {STATE}/. /mnt/small/;"
        f"chown --reference={STATE} /mnt/small; chmod --reference={STATE} /mnt/small; umount /mnt/small;"
        f"mount -o loop /var/tmp/small.img {STATE}",
    )
    controller(fleet, "start")
    try:
        yield
    finally:
        controller(fleet, "stop")
        fleet.shell(
            "ctl",
            f"mkdir -p /mnt/keep; cp -a {STATE}/. /mnt/keep/; umount {STATE}; rm -rf {STATE}/*; cp -a /mnt/keep/. {STATE}/;"
            "rm -rf /mnt/keep /var/tmp/small.img /mnt/keep/lost+found",
        )
        controller(fleet, "start")


def log_of(fleet: Fleet, *words: str) -> str:
    """The controller's log of the last two minutes."""
    return fleet.run("ctl", "journalctl", "-u", "fleetmend-controller", "--since", "-120s", "-o", "cat", *words)


def fill_until_noticed(fleet: Fleet) -> None:
    """Fills the disk, and lets faults come and go until the blocks that the database still had are used up as well."""
    fleet.shell("ctl", f"cat /dev/zero > {STATE}/filler 2>/dev/null || true; sync")

    def full() -> bool:
        return fleet.ctl("status")["controller"]["journal_writable"] is False

    def noticed() -> bool:
        if full():
            # A row less than what did not fit may fit again, and be the last one: full is what stays full.
            time.sleep(STEADY_S)
            return full()
        # What is dead already, because nothing is ordered any more, cannot be killed again: then the status is about to say so.
        fleet.lab("fault", "unit-killed", "--host", "web-1")
        return False

    wait(noticed, "the status to say that the journal takes no rows", timeout_s=120, every_s=1.0)


def test_a_full_disk_stops_orders_not_ears_and_nothing_is_lost(fleet: Fleet):
    with small_disk(fleet):
        fleet.rest(60, "on the small disk")
        before = fleet.newest()
        fill_until_noticed(fleet)
        assert fleet.ctl("status")["controller"]["journal_problem"]
        assert metric(fleet, "fleetmend_journal_writable") == 0
        assert "journal" in log_of(fleet, "-p", "warning").lower()
        begun = len(fleet.ledger("web-3"))
        fleet.fault("unit-killed", "web-3")
        time.sleep(5)
        assert len(fleet.ledger("web-3")) == begun, "an order was given that no journal holds"
        assert fleet.host_state("web-3") == "up"
        assert fleet.ctl("status")["controller"]["journal_writable"] is False
        fleet.shell("ctl", f"rm {STATE}/filler; sync")
        wait(lambda: fleet.well("unit-killed", "web-3"), "the fault to be healed once there is room", timeout_s=60)
        wait(lambda: [i["phase"] for i in fleet.since(before, "web-3")] == ["resolved"], "the incident to end")
        fleet.rest(60, "after it")
        assert metric(fleet, "fleetmend_journal_writable") == 1
        assert fleet.ctl("audit", "verify")["intact"] is True


def test_a_flipped_bit_is_named_by_verify_and_refused_at_start(fleet: Fleet):
    seq = fleet.run("ctl", "python3", "-c", FLIP, "pick").strip()
    try:
        verdict = fleet.tries("ctl", "fleetmend", "audit", "verify")
        assert verdict.returncode == 1
        assert f"row {seq}" in verdict.stdout + verdict.stderr
        fleet.tries("ctl", "systemctl", "restart", "fleetmend-controller.service")
        wait(lambda: f"row {seq}" in log_of(fleet), "the refusal to name the row", timeout_s=20)
        assert fleet.tries("ctl", "fleetmend", "status").returncode == 3
    finally:
        fleet.tries("ctl", "systemctl", "stop", "fleetmend-controller.service")
        fleet.run("ctl", "python3", "-c", FLIP, seq)
        fleet.tries("ctl", "systemctl", "reset-failed", "fleetmend-controller.service")
        controller(fleet, "start")
    fleet.rest(60, "at the end")


@pytest.mark.parametrize("broken", ["playbook: [", "playbook: x\nno_such_key: 1\n"])
def test_broken_rules_leave_the_good_ones_in_force(fleet: Fleet, broken: str):
    digest = fleet.ctl("status")["controller"]["rules_digest"]
    fleet.run(
        "ctl",
        "python3",
        "-c",
        "import sys; open('/etc/fleetmend/rules/playbooks/99-broken.yaml', 'w').write(sys.argv[1])",
        broken,
    )
    try:
        refused = fleet.tries("ctl", "fleetmend-controller", "check-config", "/etc/fleetmend/rules")
        assert refused.returncode == 1
        assert "99-broken.yaml:" in refused.stdout + refused.stderr
        fleet.tries("ctl", "systemctl", "reload", "fleetmend-controller.service")
        wait(lambda: fleet.ctl("status")["controller"]["rules_problem"], "the status to say so", timeout_s=20)
        assert fleet.ctl("status")["controller"]["rules_digest"] == digest
    finally:
        fleet.run("ctl", "rm", "/etc/fleetmend/rules/playbooks/99-broken.yaml")
        fleet.run("ctl", "systemctl", "reload", "fleetmend-controller.service")
    wait(lambda: not fleet.ctl("status")["controller"]["rules_problem"], "the good rules to be in force again", timeout_s=20)
