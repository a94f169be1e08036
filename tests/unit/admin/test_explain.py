"""What explain says, as golden texts of stories that the real core wrote into a real journal."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleetmend_controller.admin.case import build_case
from fleetmend_controller.admin.explain import SECTION_LINES_MAX, SECTIONS_MAX, Explanation, Topic, explain
from fleetmend_controller.admin.explain_text import COLUMNS, render, zone
from fleetmend_controller.admin.story import read_story
from fleetmend_controller.core.events import HostRemoved, HostSilent, Paused, Resumed, RunRequested
from fleetmend_controller.core.model import Attempts, FleetBudget, Limits, Outcome, Rate, Status, Trust

from .world import World, playbook, policy

GOLDEN = Path(__file__).parents[2] / "fixtures" / "explain"


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    worlds: list[World] = []

    def make(*playbooks) -> World:
        worlds.append(World(tmp_path, policy(*playbooks)))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


def told(world: World, incident: str = "inc-1") -> Explanation:
    story = world.store.read_now(lambda connection: read_story(connection, incident))
    names = {host.id: host.name for host in world.fleet.hosts.values()}
    explanation = explain(story, names)
    assert explanation is not None
    return explanation


def check_golden(name: str, explanation: Explanation) -> None:
    text = render(explanation, zone("Europe/Berlin"))
    path = GOLDEN / f"{name}.txt"
    assert max(len(line) for line in text.splitlines()) <= COLUMNS
    if os.environ.get("WRITE_GOLDEN"):
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8"), f"{path} differs; if the new text is better, run again with WRITE_GOLDEN=1:\n{text}"


def test_a_healed_fault(make_world):
    world = make_world()
    host = world.enrol("web-3", role="web")
    world.wait(60)
    world.heal(host)
    check_golden("healed", told(world))


def test_an_action_withheld_by_a_pause_and_then_let_go(make_world):
    world = make_world()
    host = world.enrol("web-3", role="web")
    world.feed(Paused(world.now_ms, "group:role=web", "alice (responder)", "kernel upgrade", None))
    for _ in range(14):
        world.observe(host, Status.CRIT)
        world.wait(20)
    check_golden("held", told(world))
    world.observe(host, Status.CRIT)
    world.feed(Resumed(world.now_ms, "group:role=web", "alice (responder)"))
    check_golden("let_go", told(world))


def test_restarts_that_do_not_hold_end_with_a_person(make_world):
    world = make_world()
    host = world.enrol("web-3", role="web")
    world.observe(host, Status.CRIT)
    for _ in range(2):
        while (incident := world.fleet.incidents["inc-1"]).order is None:
            world.observe(host, Status.CRIT)
            world.wait(1)
        order = incident.order.id
        world.start(host, order)
        world.wait(0.2)
        world.end(
            host, order, Outcome.FAILED, "systemctl restart nginx.service: exit 1", "Job failed\x1b[31m.\nSee journalctl -xe\n"
        )
    check_golden("escalated", told(world))


def test_a_playbook_that_only_observes_and_one_that_does_not_match(make_world):
    world = make_world(playbook("never"), playbook("watcher", trust=Trust.OBSERVE, for_ms=0))
    host = world.enrol("web-3", role="web")
    world.wait(1)
    world.observe(host, Status.CRIT)
    check_golden("observed", told(world))


def test_a_fault_that_goes_away_by_itself(make_world):
    world = make_world()
    host = world.enrol("web-3", role="web")
    world.observe(host, Status.CRIT)
    world.wait(1)
    world.observe(host, Status.OK)
    explanation = told(world)
    assert explanation.headline == "unit_failed nginx.service on web-3: went away by itself after 1 s; nothing was done"
    assert [section.topic for section in explanation.sections] == [Topic.SEEN, Topic.PLAYBOOKS, Topic.GATES, Topic.END]


def test_a_symptom_joins_the_story_and_one_that_outlives_it_has_its_own(make_world):
    world = make_world()
    host = world.enrol("web-3", role="web")
    world.observe(host, Status.CRIT)
    world.wait(1)
    world.observe(host, Status.CRIT, "http://127.0.0.1/", "http_endpoint", unit="nginx.service", fault="refused")
    seen = told(world).sections[0]
    assert [line.text for line in seen.lines] == [
        "unit_failed says crit: nginx.service failed (signal)",
        "http_endpoint sees the same fault: http://127.0.0.1/ failed (signal)",
    ]
    assert "found: fault=refused, unit=nginx.service" in seen.lines[1].evidence
    world.observe(host, Status.OK)
    world.wait(1)
    world.observe(host, Status.CRIT, "http://127.0.0.1/", "http_endpoint", unit="nginx.service", fault="refused")
    outlived = told(world, "inc-2")
    assert outlived.case.check == "http_endpoint"
    assert "found: fault=refused, unit=nginx.service" in outlived.sections[0].lines[0].evidence


def test_a_lost_host_names_who_is_told(make_world):
    world = make_world()
    host = world.enrol("web-3", role="web")
    world.feed(HostSilent(world.now_ms, host, 30_000))
    explanation = told(world)
    assert explanation.headline == (
        "host_lost on web-3: in the hands of oncall without a try: "
        "no heartbeat from web-3 for 30 s: unclear: no other host is connected that could look; "
        "nothing is done on web-3 until it is back"
    )
    assert explanation.case.seen_ms == world.now_ms - 30_000


def test_an_operators_run(make_world):
    world = make_world()
    host = world.enrol("web-3", role="web")
    run = RunRequested(
        world.now_ms, host, "reload_unit", (("unit", "nginx.service"),), "disruptive", 30_000, "alice (responder)", "run-1"
    )
    world.feed(run)
    world.start(host, "ord-1-1")
    world.end(host, "ord-1-1", output="reloaded")
    check_golden("operator_run", told(world))


def test_a_removed_host_keeps_its_history(make_world):
    world = make_world()
    host = world.enrol("web-3", role="web")
    world.observe(host, Status.CRIT)
    world.feed(HostRemoved(world.now_ms, host, "alice (admin)"))
    explanation = told(world)
    assert "alice (admin) removed web-3" in explanation.headline
    assert explanation.host_name == host, "the name is gone with the host unless the registry knows it"


def test_a_story_without_end_is_bounded(make_world):
    world = make_world(playbook(for_ms=0))
    host = world.enrol("web-3", role="web")
    world.observe(host, Status.CRIT)
    for number in range(2 * SECTION_LINES_MAX):
        world.feed(Paused(world.now_ms, f"host:{host}", "bob (responder)", f"reason {number}", None))
        world.observe(host, Status.CRIT)
        world.feed(Resumed(world.now_ms, f"host:{host}", "bob (responder)"))
        world.wait(0.1)
        if (order := world.fleet.incidents["inc-1"].order) is not None:
            world.end(host, order.id, Outcome.EXPIRED)
    explanation = told(world)
    assert all(len(section.lines) <= SECTION_LINES_MAX + 1 for section in explanation.sections)


def test_what_hosts_write_cannot_steer_the_terminal(make_world):
    world = make_world(playbook(for_ms=0))
    host = world.enrol("web-3", role="web")
    world.observe(host, Status.CRIT, "evil\x1b]0;x\x07\u202e.service")
    world.end(host, "ord-1-1", Outcome.FAILED, "no\x9b31m", "a\rb\x00c\n\u2066d")
    text = render(told(world), zone(""))
    assert not set("\x1b\x07\x9b\r\x00\u202e\u2066") & set(text)
    assert "evil\\x1b]0;x\\x07\\u202e.service" in text


def test_the_case_says_what_became_of_the_order(make_world):
    world = make_world()
    host = world.enrol("web-3", role="web")
    world.wait(1)
    world.heal(host)
    case = build_case(world.store.read_now(lambda connection: read_story(connection, "inc-1")))
    order = case.orders["ord-1-1"]
    assert (case.phase, case.why, case.playbook) == ("resolved", "healed", "restart-failed-unit")
    assert (order.outcome, order.params, order.requested_by) == (
        "done",
        {"unit": "nginx.service"},
        "playbook restart-failed-unit",
    )
    assert order.ordered_ms < order.started_ms < order.ended_ms
    assert case.finding == {"result": "signal", "unit": "nginx.service"}
    assert case.summary == "nginx.service failed (signal)"


def test_an_unknown_incident_has_no_story(make_world):
    story = make_world().store.read_now(lambda connection: read_story(connection, "inc-9"))
    assert explain(story, {}) is None


@pytest.mark.parametrize("name", ["Nowhere/Land", "../etc/passwd", ""])
def test_an_unknown_zone_is_utc(name):
    assert str(zone(name)) == "UTC"


def test_of_many_tries_the_first_and_the_newest_are_told(make_world):
    restart = playbook().steps[0]
    world = make_world(playbook(for_ms=0, steps=(restart,) * 40, limits=generous()))
    host = world.enrol("web-3", role="web")
    world.wait(1)
    for _ in range(40):
        world.observe(host, Status.CRIT)
        order = world.fleet.incidents["inc-1"].order
        if order is not None:
            world.end(host, order.id, Outcome.FAILED, "exit 1")
        world.wait(0.1)
    explanation = told(world)
    assert len(explanation.sections) == SECTIONS_MAX
    texts = [line.text for section in explanation.sections for line in section.lines]
    assert any("sections about earlier tries left out" in text for text in texts)
    assert any("ord-1-1 " in text for text in texts)
    assert any("ord-1-40 " in text for text in texts)


def generous() -> Limits:
    return Limits(Rate(100, 3_600_000), FleetBudget("role", 10, 20), Attempts(100, 3_600_000, 0, 1))
