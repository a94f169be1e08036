"""A host that falls silent is a fault of its own kind: nothing is done about it, and afterwards nothing of it is missing."""

from __future__ import annotations

import time

from tests.lab.fleet import Fleet, wait
from tests.lab.test_kills import assert_promises

HOST = "web-2"
PARTITION_S = 60.0
# 20 s until its kernel gives up, a heartbeat's 10 s before the first word that is lost.
UNHEARD_S = 35.0
LOST_AFTER_S = 50.0


def test_a_partition_is_reported_not_healed_and_nothing_is_missing_after_it(fleet: Fleet):
    before = fleet.newest()
    rows_before = fleet.journal()[-1].seq
    begun = len(fleet.ledger(HOST))
    started = time.monotonic()
    fleet.must("partition", HOST)
    try:
        fleet.fault("unit-killed", HOST)
        time.sleep(2)
        fleet.fault("unit-killed", HOST, "cleanup")
        fleet.fault("crash-loop", HOST)
        fleet.fault("crash-loop", HOST, "cleanup")
        fleet.run(HOST, "systemctl", "kill", "--kill-who=main", "--signal=KILL", "kiosk.service")
        wait(lambda: fleet.host_state(HOST) == "lost", "the host to be called lost", timeout_s=LOST_AFTER_S)
        time.sleep(max(0.0, PARTITION_S - (time.monotonic() - started)))
        lost = fleet.since(before, HOST)
        assert [(i["check"], i["phase"]) for i in lost] == [("host_lost", "escalated")]
        assert fleet.story(lost[0]["id"])["attempts"] == []
        assert len(fleet.ledger(HOST)) == begun, "something was done on a host that nobody can see"
    finally:
        fleet.must("heal", HOST)
    wait(lambda: fleet.host_state(HOST) == "up", "the host to be back", timeout_s=60)
    wait(
        lambda: fleet.tries(HOST, "systemctl", "is-active", "kiosk.service").returncode == 0,
        "the lasting fault to be healed",
        60,
    )
    wait(lambda: all(i["phase"] == "resolved" for i in fleet.since(before, HOST)), "every incident to end")
    assert next(i for i in fleet.since(before, HOST) if i["check"] == "host_lost")["why"] == "host_back"
    seen = [
        row.body for row in fleet.journal() if row.seq > rows_before and row.kind == "event" and row.body["type"] == "Observed"
    ]
    for unit in ("shop.service", "till.service", "kiosk.service"):
        states = [event["status"] for event in seen if event["finding"].get("unit") == unit]
        assert "crit" in states, f"the fault of {unit} during the partition was not reported"
        assert states[-1] == "ok"
    assert_promises(fleet, rows_before)


def test_a_host_that_still_hears_but_is_not_heard_knows_it(fleet: Fleet):
    """The controller goes on to ask for its own part; its questions must not look like answers."""
    address = fleet.address("ctl")
    fleet.run(HOST, "ip", "route", "add", "unreachable", f"{address}/32")
    try:
        wait(
            lambda: (
                "cannot hold the link" in fleet.run(HOST, "journalctl", "-u", "fleetmend-agent", "--since=-40s", "-o", "cat")
            ),
            "the host to know that it is not heard",
            timeout_s=UNHEARD_S,
        )
    finally:
        fleet.run(HOST, "ip", "route", "del", "unreachable", f"{address}/32")
    wait(lambda: fleet.host_state(HOST) == "up" and not fleet.incidents(HOST), "the host to be back and calm", timeout_s=90)
