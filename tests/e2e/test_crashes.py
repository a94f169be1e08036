"""Any process may be killed at any instant: no fault is forgotten, no order runs twice."""

from __future__ import annotations

import signal

import pytest

from deploy.demo import shop
from deploy.demo.process import wait_for
from tests.e2e import fleet

DELAY_S = 1.5


@pytest.fixture(scope="module")
def world_and_shop():
    with fleet.running("shop", delay_s=DELAY_S) as (world, shops):
        yield world, shops[0]


@pytest.fixture
def world(world_and_shop):
    yield world_and_shop[0]
    # Each test leaves a fleet that works, whatever it killed.
    world = world_and_shop[0]
    if not world.controller.alive:
        world.start_controller()
    host = world.hosts[shop.HOST]
    for process in (host.executor, host.agent):
        if not process.alive:
            process.start()
    world.wait_connected(shop.HOST)
    if not world_and_shop[1].answers():
        world_and_shop[1].start()
    shop.wait_ok(world, world_and_shop[1])


@pytest.fixture
def broken(world_and_shop):
    return world_and_shop[1]


def wait_begun(world, known):
    """Wait until the executor has begun an order that was not known before."""
    host = world.hosts[shop.HOST]
    begun = lambda: set(fleet.begun_orders(host)) - set(known)  # noqa: E731  asked again and again
    wait_for("the action to begin", lambda: bool(begun()), fleet.INCIDENT_TIMEOUT_S, world.controller, every_s=0.05)


def test_a_controller_killed_while_an_action_runs_takes_it_up_again(world, broken):
    host = world.hosts[shop.HOST]
    watch, known = fleet.Watch.begin(world, "shop"), fleet.begun_orders(host)
    broken.kill()
    wait_begun(world, known)
    world.controller.kill()
    world.start_controller()
    world.wait_connected(shop.HOST)
    shown = watch.until("healed", fleet.healed)
    assert len(shown["attempts"]) == 1
    assert broken.answers()
    fleet.assert_ledger_agrees(world, host)


def test_a_fault_while_the_controller_is_down_is_healed_when_it_is_back(world, broken):
    watch = fleet.Watch.begin(world, "shop")
    world.controller.kill()
    broken.hang()
    world.start_controller()
    world.wait_connected(shop.HOST)
    watch.until("healed", fleet.healed)
    assert broken.answers()
    fleet.assert_ledger_agrees(world, world.hosts[shop.HOST])


def test_an_agent_killed_while_an_action_runs_reports_its_end(world, broken):
    host = world.hosts[shop.HOST]
    watch, known = fleet.Watch.begin(world, "shop"), fleet.begun_orders(host)
    broken.kill()
    wait_begun(world, known)
    host.agent.kill()
    host.agent.start()
    shown = watch.until("ended", fleet.ended)
    assert broken.answers()
    assert all(attempt["outcome"] for attempt in shown["attempts"])
    fleet.assert_ledger_agrees(world, host)


def test_an_executor_killed_while_an_action_runs_never_runs_it_again(world, broken):
    host = world.hosts[shop.HOST]
    watch, known = fleet.Watch.begin(world, "shop"), fleet.begun_orders(host)
    broken.kill()
    wait_begun(world, known)
    host.executor.kill()
    host.executor.start()
    # The ledger has its beginning and nothing else: nobody can say how it ended. The command itself outlives the executor
    # here, so the service is well again; nobody gets the credit, and there is no second try.
    shown = watch.until("well again", fleet.ended)
    assert shown["incident"]["why"] == "recovered_unsure"
    assert broken.answers()
    assert [attempt["outcome"] for attempt in shown["attempts"]] == ["unknown"]
    (order,) = set(fleet.begun_orders(host)) - set(known)
    assert fleet.outcomes(host)[order] == ["unknown"]
    fleet.assert_ledger_agrees(world, host)


def test_all_three_ask_to_end_and_do(world):
    host = world.hosts[shop.HOST]
    for process in (host.agent, host.executor, world.controller):
        process.signal(signal.SIGTERM)
        assert process.wait_end(10) == 0, process.tail()
