"""The main job, end to end: a fault on a host is seen, decided upon, healed, proved, recorded, explained and counted."""

from __future__ import annotations

import re

import pytest

from deploy.demo import shop
from deploy.demo.shop import Shop
from tests.e2e import fleet


@pytest.fixture(scope="module")
def world_and_shops():
    with fleet.running("killed", "hung", "cursed", attempts_max=3) as both:
        yield both


@pytest.fixture
def world(world_and_shops):
    return world_and_shops[0]


@pytest.fixture
def shops(world_and_shops):
    return {one.name: one for one in world_and_shops[1]}


def test_a_killed_service_is_healed_once_and_explained(world, shops):
    watch = fleet.Watch.begin(world, "killed")
    shops["killed"].kill()
    shown = watch.until("healed", fleet.healed)
    assert shops["killed"].answers()
    assert [a["outcome"] for a in shown["attempts"]] == ["done"]
    attempt, incident = shown["attempts"][0], shown["incident"]
    assert (
        incident["opened_ms"] <= attempt["ordered_ms"] <= attempt["started_ms"] <= attempt["ended_ms"] <= incident["closed_ms"]
    )
    story = world.cli_text("explain", incident["id"])
    for word in (incident["id"], "restart-killed", "run_command", attempt["order_id"]):
        assert word in story
    fleet.assert_ledger_agrees(world, world.hosts[shop.HOST])


def test_a_service_that_hangs_is_healed_by_its_check(world, shops):
    watch = fleet.Watch.begin(world, "hung")
    shops["hung"].hang()
    shown = watch.until("healed", fleet.healed)
    assert shops["hung"].answers()
    assert shown["finding"]["fault"] == "hang"
    assert shown["incident"]["playbook"] == "restart-hung"


def test_what_cannot_be_healed_is_handed_over_and_not_restarted_for_ever(world, shops):
    host = world.hosts[shop.HOST]
    text = host.policy.read_text()
    broken = Shop("cursed", shops["cursed"].port, world.directory / "elsewhere" / "cursed.pid")
    host.policy.write_text(text.replace(str(shops["cursed"].pid_file), str(broken.pid_file)))
    watch = fleet.Watch.begin(world, "cursed")
    shops["cursed"].kill()
    shown = watch.until("escalated", fleet.escalated)
    outcomes = [a["outcome"] for a in shown["attempts"]]
    assert outcomes
    assert "done" not in outcomes
    assert len(outcomes) <= 3
    # A person repairs it: the incident ends by itself, and is not claimed as healed by an action.
    host.policy.write_text(text)
    shops["cursed"].start()
    after = watch.until("ended", fleet.ended)
    assert after["incident"]["why"] != "healed"
    assert len(after["attempts"]) == len(outcomes)


def test_what_happened_is_counted(world):
    text = world.metrics()
    counted = dict(re.findall(r'^fleetmend_actions_total\{action="run_command",outcome="(\w+)"\} (\S+)', text, re.MULTILINE))
    assert float(counted["done"]) >= 2
    assert float(counted["failed"]) >= 1
    assert re.search(r'^fleetmend_incident_phase_seconds_count\{phase="total"\} [2-9]', text, re.MULTILINE)
    assert re.search(r'^fleetmend_escalations_total\{.*severity="page"\} 1', text, re.MULTILINE)


def test_the_journal_is_whole_afterwards(world):
    assert world.cli("audit", "verify")["intact"] is True
