"""Processes of Fleetmend are killed at bad moments while faults go on: nothing is lost, nothing is done twice."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from typing import Any

import pytest

from tests.lab.fleet import Fleet, Row, wait

CONTROLLER_KILLS = 6
FAULTS = ("unit-killed", "service-hangs", "unit-stopped")


def orders_of(journal: list[Row]) -> dict[str, dict[str, Any]]:
    """Every order that the journal says was sent."""
    sent = [effect["order"] for row in journal if row.kind == "decision" for effect in row.effects("SendOrder")]
    return {order["id"]: order for order in sent}


def ends_of(journal: list[Row]) -> dict[str, list[str]]:
    """The outcomes of each order as the journal has them."""
    ends: dict[str, list[str]] = {}
    for row in journal:
        if row.kind == "event" and row.body["type"] == "OrderEnded":
            ends.setdefault(row.body["order"], []).append(row.body["outcome"])
    return ends


def compare_ledgers_with_journal(fleet: Fleet) -> int:
    """Order by order: nothing ran twice, nothing ran unordered, every recorded end is the same. Returns how many ran."""
    journal = fleet.journal()
    orders, ends = orders_of(journal), ends_of(journal)
    host_names = {host["id"]: host["name"] for host in fleet.ctl("hosts", "ls")["hosts"]}
    ran = 0
    for name in fleet.agents:
        entries = fleet.ledger(name)
        begun = Counter(entry["order_id"] for entry in entries if entry["kind"] == "begin")
        ended = Counter(entry["order_id"] for entry in entries if entry["kind"] == "end")
        assert [order for order, times in (begun + ended).items() if begun[order] > 1 or ended[order] > 1] == []
        for entry in entries:
            if entry["kind"] not in ("begin", "end"):
                continue
            order = orders.get(entry["order_id"])
            assert order is not None, f"{name} ran {entry['order_id']}, which the journal never sent"
            assert host_names.get(order["host"]) == name
            assert order["action"] == entry["action"]
            if entry["kind"] == "end":
                outcome = json.loads(entry["payload"])["outcome"]
                assert set(ends.get(order["id"], [outcome])) == {outcome}, (
                    f"{order['id']}: journal {ends[order['id']]}, ledger {outcome}"
                )
        ran += len(begun)
    return ran


def kill_controller(fleet: Fleet) -> None:
    """Kills whatever runs of it now: at some instants systemd is just about to start it again."""
    fleet.tries("ctl", "systemctl", "kill", "--kill-who=main", "--signal=KILL", "fleetmend-controller.service")


def controller_answers(fleet: Fleet) -> bool:
    return fleet.tries("ctl", "fleetmend", "status", "--output", "json").returncode == 0


@pytest.mark.parametrize("seed", [1])
def test_a_controller_killed_at_random_instants_loses_and_doubles_nothing(fleet: Fleet, seed: int):
    chance = random.Random(seed)
    before = fleet.newest()
    injected: list[tuple[str, str]] = []
    for _ in range(CONTROLLER_KILLS):
        for host in chance.sample(fleet.agents, 2):
            fault = chance.choice(FAULTS)
            fleet.lab("fault", fault, "--host", host)
            injected.append((fault, host))
        time.sleep(chance.uniform(0.0, 2.5))
        kill_controller(fleet)
        time.sleep(chance.uniform(0.0, 1.5))
    wait(lambda: controller_answers(fleet), "the controller to be back", timeout_s=60)

    def ended() -> bool:
        incidents = fleet.since(before)
        handed_over = {i["host_name"] for i in incidents if i["phase"] == "escalated"}
        return all(i["phase"] in ("resolved", "escalated") for i in incidents) and all(
            host in handed_over or fleet.well(fault, host) for fault, host in injected
        )

    wait(ended, "every fault to be healed or handed over", timeout_s=150, every_s=1.0)
    escalated = {i["host_name"] for i in fleet.since(before) if i["phase"] == "escalated"}
    assert compare_ledgers_with_journal(fleet) > 0
    for host in escalated:
        fleet.fault("unit-killed", host, "cleanup")
    wait(fleet.calm, "calm", timeout_s=60)


def test_an_agent_killed_during_a_fault_comes_back_and_the_fault_is_healed(fleet: Fleet):
    before = fleet.newest()
    fleet.shell("web-2", "systemctl kill -s KILL fleetmend-agent.service; systemctl kill --kill-who=main -s KILL shop.service")
    wait(lambda: fleet.well("agent-killed", "web-2"), "the agent to be restarted by systemd", timeout_s=30)
    wait(lambda: fleet.well("unit-killed", "web-2"), "the fault to be healed", timeout_s=40)
    wait(lambda: all(i["phase"] == "resolved" for i in fleet.since(before, "web-2")), "the incident to end")
    compare_ledgers_with_journal(fleet)


def test_an_agent_killed_while_its_order_runs_reports_the_outcome_once(fleet: Fleet):
    before = fleet.newest()
    fleet.run("web-2", "systemctl", "kill", "--kill-who=main", "--signal=KILL", "kiosk.service")
    wait(lambda: any(i["phase"] == "running" for i in fleet.since(before, "web-2")), "the order to run", every_s=0.05)
    fleet.run("web-2", "systemctl", "kill", "--signal=KILL", "fleetmend-agent.service")
    wait(lambda: fleet.since(before, "web-2")[0]["phase"] == "resolved", "the incident to end")
    tries = fleet.story(fleet.since(before, "web-2")[0]["id"])["attempts"]
    assert [attempt["outcome"] for attempt in tries] == ["done"]
    compare_ledgers_with_journal(fleet)


def test_an_executor_killed_in_an_order_leaves_an_unknown_outcome_and_proof_decides(fleet: Fleet):
    before = fleet.newest()
    fleet.run("web-3", "systemctl", "kill", "--kill-who=main", "--signal=KILL", "kiosk.service")
    wait(lambda: any(i["phase"] == "running" for i in fleet.since(before, "web-3")), "the order to run", every_s=0.05)
    fleet.run("web-3", "systemctl", "kill", "--signal=KILL", "fleetmend-executor.service")
    wait(lambda: fleet.since(before, "web-3")[0]["phase"] == "resolved", "the incident to end", timeout_s=90)
    incident = fleet.since(before, "web-3")[0]
    tries = fleet.story(incident["id"])["attempts"]
    assert [attempt["outcome"] for attempt in tries] == ["unknown"]
    assert incident["why"] == "healed"
    assert fleet.run("web-3", "systemctl", "is-active", "kiosk.service").strip() == "active"
    compare_ledgers_with_journal(fleet)
