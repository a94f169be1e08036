"""Agent and executor are killed at chosen bad moments: nothing is lost, nothing is done twice. At random: test_chaos.py."""

from __future__ import annotations

from tests.lab.fleet import Fleet, wait
from tests.tools.promises import Evidence, broken_promises


def assert_promises(fleet: Fleet, from_seq: int = 0) -> Evidence:
    """Order by order: nothing ran twice, late, elsewhere or unordered, and every end is the same on both sides."""
    evidence = fleet.evidence(from_seq)
    assert broken_promises(evidence) == []
    return evidence


def test_an_agent_killed_during_a_fault_comes_back_and_the_fault_is_healed(fleet: Fleet):
    before = fleet.newest()
    fleet.shell("web-2", "systemctl kill -s KILL fleetmend-agent.service; systemctl kill --kill-who=main -s KILL shop.service")
    wait(lambda: fleet.well("agent-killed", "web-2"), "the agent to be restarted by systemd", timeout_s=30)
    wait(lambda: fleet.well("unit-killed", "web-2"), "the fault to be healed", timeout_s=40)
    wait(lambda: all(i["phase"] == "resolved" for i in fleet.since(before, "web-2")), "the incident to end")
    assert_promises(fleet)


def test_an_agent_killed_while_its_order_runs_reports_the_outcome_once(fleet: Fleet):
    before = fleet.newest()
    fleet.run("web-2", "systemctl", "kill", "--kill-who=main", "--signal=KILL", "kiosk.service")
    wait(lambda: any(i["phase"] == "running" for i in fleet.since(before, "web-2")), "the order to run", every_s=0.05)
    fleet.run("web-2", "systemctl", "kill", "--signal=KILL", "fleetmend-agent.service")
    wait(lambda: fleet.since(before, "web-2")[0]["phase"] == "resolved", "the incident to end")
    tries = fleet.story(fleet.since(before, "web-2")[0]["id"])["attempts"]
    assert [attempt["outcome"] for attempt in tries] == ["done"]
    assert_promises(fleet)


def test_an_executor_killed_in_an_order_leaves_an_unknown_outcome_and_proof_decides(fleet: Fleet):
    before = fleet.newest()
    fleet.run("web-3", "systemctl", "kill", "--kill-who=main", "--signal=KILL", "kiosk.service")
    wait(lambda: any(i["phase"] == "running" for i in fleet.since(before, "web-3")), "the order to run", every_s=0.05)
    fleet.run("web-3", "systemctl", "kill", "--signal=KILL", "fleetmend-executor.service")
    wait(lambda: fleet.since(before, "web-3")[0]["phase"] == "resolved", "the incident to end", timeout_s=90)
    incident = fleet.since(before, "web-3")[0]
    tries = fleet.story(incident["id"])["attempts"]
    assert [attempt["outcome"] for attempt in tries] == ["unknown"]
    # It is well, but nobody knows by whose doing: no credit for what was never heard of.
    assert incident["why"] == "recovered_unsure"
    assert fleet.run("web-3", "systemctl", "is-active", "kiosk.service").strip() == "active"
    assert_promises(fleet)
