"""Faults of single services and file systems on real hosts: seen, healed by a playbook, proved, and nothing done twice."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from tests.lab.fleet import Fleet, wait

HOST = "web-1"


def healed(fleet: Fleet, fault_id: str, host: str, timeout_s: float = 40.0) -> list[dict[str, Any]]:
    """Injects a fault, waits until its own check is content and its incidents are over; returns these."""
    before = fleet.newest()
    fleet.fault(fault_id, host)
    wait(lambda: fleet.since(before, host), f"an incident of {fault_id}", timeout_s)
    wait(lambda: fleet.well(fault_id, host), f"{fault_id} to be healed", timeout_s)
    wait(lambda: all(i["phase"] == "resolved" for i in fleet.since(before, host)), f"the proof of {fault_id}", timeout_s)
    return fleet.since(before, host)


def attempts(fleet: Fleet, incident: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = fleet.story(incident["id"])["attempts"]
    return found


def test_a_killed_unit_is_one_incident_and_one_order(fleet: Fleet):
    begun = len([entry for entry in fleet.ledger(HOST) if entry["kind"] == "begin"])
    incidents = healed(fleet, "unit-killed", HOST)
    assert [(i["phase"], i["why"], i["playbook"]) for i in incidents] == [("resolved", "healed", "restart-unit")]
    tries = attempts(fleet, incidents[0])
    assert [(a["action"], a["outcome"], a["params"]) for a in tries] == [("restart_unit", "done", {"unit": "shop.service"})]
    assert [entry["order_id"] for entry in fleet.ledger(HOST) if entry["kind"] == "begin"][begun:] == [tries[0]["order_id"]]


def test_a_unit_that_was_stopped_cleanly_runs_again(fleet: Fleet):
    incidents = healed(fleet, "unit-stopped", HOST)
    assert [i["why"] for i in incidents] == ["healed"]


def test_a_service_that_hangs_is_healed_by_its_health_check(fleet: Fleet):
    pid = fleet.run(HOST, "systemctl", "show", "-P", "MainPID", "shop.service")
    incidents = healed(fleet, "service-hangs", HOST)
    assert [i["why"] for i in incidents] == ["healed"]
    assert fleet.story(incidents[0]["id"])["finding"]["url"] == "http://127.0.0.1:8080/healthz"
    assert fleet.run(HOST, "systemctl", "show", "-P", "MainPID", "shop.service") != pid


def test_a_frozen_service_is_healed(fleet: Fleet):
    assert [i["why"] for i in healed(fleet, "service-frozen", HOST)] == ["healed"]


def test_a_full_filesystem_loses_what_is_disposable_and_nothing_else(fleet: Fleet):
    incidents = healed(fleet, "filesystem-full", HOST)
    assert [(i["why"], i["playbook"]) for i in incidents] == [("healed", "clear-space")]
    assert [(a["action"], a["outcome"]) for a in attempts(fleet, incidents[0])] == [("clear_directory", "done")]
    assert fleet.run(HOST, "cat", "/srv/cache/orders/precious").strip() == "42"


def test_what_is_protected_is_not_cleared_and_a_person_is_called(fleet: Fleet):
    before = fleet.newest()
    fleet.shell(
        HOST, "rm -rf /srv/cache/pages/*; for n in $(seq 28); do head -c 1M /dev/zero > /srv/cache/orders/order-$n; done"
    )
    try:
        incident = wait(
            lambda: next((i for i in fleet.since(before, HOST) if i["phase"] == "escalated"), None), "an escalation"
        )
        assert incident["playbook"] == "clear-space"
        assert fleet.shell(HOST, "ls /srv/cache/orders | wc -l").strip() == "29"
    finally:
        fleet.shell(HOST, "rm /srv/cache/orders/order-*")
    wait(lambda: fleet.since(before, HOST)[0]["phase"] == "resolved", "the incident to close when the person has made room")
    assert fleet.since(before, HOST)[0]["why"] == "healed_by_person"


def test_a_unit_that_fails_again_at_once_is_tried_with_back_off_and_then_handed_over(fleet: Fleet):
    starts_before = int(fleet.shell(HOST, "wc -l < /var/lib/till/starts"))
    before = fleet.newest()
    fleet.fault("crash-loop", HOST)
    try:
        incident = wait(
            lambda: next((i for i in fleet.since(before, HOST) if i["phase"] == "escalated"), None), "an escalation"
        )
        tries = attempts(fleet, incident)
        assert len(tries) == 3
        gaps_ms = [later["ordered_ms"] - earlier["ordered_ms"] for earlier, later in pairwise(tries)]
        assert gaps_ms[0] >= 2000
        assert gaps_ms[1] >= 4000
        starts = int(fleet.shell(HOST, "wc -l < /var/lib/till/starts"))
        assert starts - starts_before == 3
    finally:
        fleet.fault("crash-loop", HOST, "cleanup")
    wait(
        lambda: all(i["phase"] == "resolved" for i in fleet.since(before, HOST)),
        "the incident to close after the cause is gone",
    )
    assert int(fleet.shell(HOST, "wc -l < /var/lib/till/starts")) == starts + 1


def test_explain_tells_the_story_of_a_heal(fleet: Fleet):
    incident = healed(fleet, "unit-killed", HOST)[0]
    told = fleet.ctl("explain", incident["id"])
    topics = [section["topic"] for section in told["sections"]]
    assert [topic for topic in topics if topic in {"seen", "gates", "order", "proof", "end"}] == [
        "seen",
        "gates",
        "order",
        "proof",
        "end",
    ]
    assert "shop.service" in told["text"]


def test_prometheus_sees_the_fleet(fleet: Fleet):
    query = "import sys, urllib.request, urllib.parse as p; print(urllib.request.urlopen("
    query += "'http://127.0.0.1:9090/api/v1/query?query=' + p.quote(sys.argv[1])).read().decode())"
    wait(
        lambda: '"value"' in fleet.run("ctl", "python3", "-c", query, "sum(fleetmend_host_up) == 3"),
        "a scrape with three hosts up",
    )
