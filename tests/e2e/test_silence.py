"""A host that says nothing is an incident for people, and no reason to do anything there."""

from __future__ import annotations

import signal

import pytest

from deploy.demo import shop
from deploy.demo.process import wait_for
from tests.e2e import fleet


@pytest.fixture(scope="module")
def running():
    with fleet.running("shop") as (world, shops):
        yield world, shops[0]


@pytest.fixture
def world(running):
    return running[0]


def state(world):
    return world.cli("hosts", "show", shop.HOST)["host"]["state"]


def test_a_silent_host_is_handed_to_people_and_closed_when_it_is_back(world):
    host = world.hosts[shop.HOST]
    before = fleet.begun_orders(host)
    watch = fleet.Watch.begin(world, "host_lost")
    host.agent.signal(signal.SIGSTOP)
    try:
        shown = watch.until("handed over", fleet.escalated)
        assert state(world) == "lost"
        assert shown["attempts"] == []
        gauges = [
            line for line in world.metrics().splitlines() if line.startswith(("fleetmend_host_up{", "fleetmend_check_status{"))
        ]
        assert gauges == [f'fleetmend_host_up{{host="{shop.HOST}"}} 0']
    finally:
        host.agent.signal(signal.SIGCONT)
    back = watch.until("closed", fleet.ended)
    assert back["incident"]["why"] == "host_back"
    wait_for("the host to be up", lambda: state(world) == "up", 20, world.controller, every_s=0.2)
    assert fleet.begun_orders(host) == before


def test_a_fault_that_happened_in_the_silence_is_healed_after_it(running):
    world, broken = running
    host = world.hosts[shop.HOST]
    watch = fleet.Watch.begin(world, "shop")
    lost = fleet.Watch.begin(world, "host_lost")
    host.agent.signal(signal.SIGSTOP)
    lost.until("handed over", fleet.escalated)
    broken.kill()
    host.agent.signal(signal.SIGCONT)
    shown = watch.until("healed", fleet.healed)
    assert [attempt["outcome"] for attempt in shown["attempts"]] == ["done"]
