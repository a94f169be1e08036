"""The controller is away: a host heals alone by permit, once, and the controller tells of it when it is back."""

from __future__ import annotations

import json
import re

import pytest

from deploy.demo import shop
from deploy.demo.process import DemoError, wait_for
from deploy.demo.shop import Shop
from deploy.demo.world import World
from tests.e2e import fleet

AWAY_S = "2s"


@pytest.fixture(scope="module")
def world_and_shop():
    with World(heartbeat_ms=500) as world:
        broken = Shop.in_world(world, "till", delay_s=1.0)
        try:
            start(world, broken)
            yield world, broken
        finally:
            # The host first: alone it would start the till again.
            world.stop()
            broken.stop()


def start(world: World, broken: Shop) -> None:
    """As shop.start, with a playbook that hosts may run alone, and an agent that waits two seconds for it."""
    broken.start()
    shop.write_rules(world, broken)
    world.write_rule("playbooks", broken.command, {**shop.playbook(broken), "alone": True})
    world.init()
    world.start_controller()
    host = world.add_host(shop.HOST, shop.LABELS, shop.policy(broken))
    settings = host.directory / "agent.yaml"
    settings.write_text(settings.read_text() + f"alone_after: {AWAY_S}\n")
    world.start_hosts()
    shop.wait_ok(world, broken)


def live_permits(world: World) -> int:
    return int(world.cli("hosts", "show", shop.HOST)["host"].get("live_permits", 0))


def permits_kept(world: World) -> dict:
    """The set that the executor holds."""
    path = world.hosts[shop.HOST].directory / "executor" / "permits.json"
    return dict(json.loads(json.loads(path.read_text())["payload"])) if path.exists() else {}


def used(world: World) -> list[str]:
    return [order for order in fleet.begun_orders(world.hosts[shop.HOST]) if order.startswith("permit-")]


def test_a_fault_while_the_controller_is_away_is_healed_by_permit_and_told_once(world_and_shop):
    world, broken = world_and_shop
    wait_for("the executor to keep permits", lambda: bool(permits_kept(world).get("grants")), 20, world.controller)
    assert live_permits(world) == 3
    watch = fleet.Watch.begin(world, "till")
    world.controller.kill()
    broken.kill()
    wait_for("the shop to be healed alone", broken.answers, 40, world.hosts[shop.HOST].agent)
    assert len(used(world)) == 1
    world.start_controller()
    world.wait_connected(shop.HOST)
    shown = watch.until("healed alone", lambda i: i["phase"] == "resolved")
    assert shown["incident"]["why"] == "healed_alone"
    assert shown["incident"]["playbook"] == broken.command
    assert [(a["order_id"], a["outcome"]) for a in shown["attempts"]] == [(used(world)[0], "done")]
    assert len([i for i in world.incidents() if i["check"] == "till"]) == 1
    story = world.cli_text("explain", shown["incident"]["id"])
    assert re.search(r"the controller was unreachable for \d+ s; demo-1 used permit-", " ".join(story.split())), story
    assert "healed by run_command while the controller was away" in story
    assert 'fleetmend_permits_used_total{outcome="done"} 1.0' in world.metrics()
    wait_for("a permit less", lambda: live_permits(world) == 2, 10, world.controller)
    fleet.assert_ledger_agrees(world, world.hosts[shop.HOST])


def test_agent_and_executor_killed_in_the_middle_tell_of_it_once_and_never_do_it_again(world_and_shop):
    world, broken = world_and_shop
    host = world.hosts[shop.HOST]
    watch, before = fleet.Watch.begin(world, "till"), used(world)
    world.controller.kill()
    broken.kill()
    wait_for("a permit to be used", lambda: len(used(world)) == len(before) + 1, 40, host.agent, host.executor)
    host.agent.kill()
    host.executor.kill()
    host.executor.start()
    host.agent.start()
    wait_for("the shop to be well", broken.answers, 60, host.agent, host.executor)
    world.start_controller()
    world.wait_connected(shop.HOST)
    shown = watch.until("ended", fleet.ended)
    fresh = [permit for permit in used(world) if permit not in before]
    told = [a["order_id"] for a in shown["attempts"] if a["order_id"].startswith("permit-")]
    assert sorted(told) == sorted(fresh)
    assert fleet.begun_orders(host)[fresh[0]] == 1
    fleet.assert_ledger_agrees(world, host)
    assert world.cli("audit", "verify")["intact"] is True


def test_a_paused_host_does_nothing_alone(world_and_shop):
    world, broken = world_and_shop
    before = used(world)
    world.cli("pause", f"host:{shop.HOST}", "--reason", "test")
    wait_for("the permits to be withdrawn", lambda: permits_kept(world).get("grants") == [], 20, world.controller)
    assert live_permits(world) == 0
    world.controller.kill()
    broken.kill()
    with pytest.raises(DemoError):
        wait_for("the shop to be healed alone", broken.answers, 6, world.hosts[shop.HOST].agent)
    assert used(world) == before
    world.start_controller()
    world.wait_connected(shop.HOST)
    world.cli("resume", f"host:{shop.HOST}")
    wait_for("the shop to be healed by order", broken.answers, 40, world.controller)
