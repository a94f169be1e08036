"""What explain says of the reasons that keep healing safe: each as a sentence that a colleague would say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleetmend_controller.admin.explain import explain
from fleetmend_controller.admin.explain_text import render, zone
from fleetmend_controller.admin.incidents import storm_asides
from fleetmend_controller.admin.story import read_story
from fleetmend_controller.core.events import Approve, Deny, ObserverDoubted, PersonSeen, WindowAdded
from fleetmend_controller.core.model import (
    Approval,
    Attempts,
    Flapping,
    FleetBudget,
    Floor,
    Heal,
    Limits,
    NeedApproval,
    Rate,
    Status,
    Subject,
    Window,
)
from fleetmend_controller.store import codec
from fleetmend_controller.store.journal import Entry, append

from .world import MASTER, World, playbook, policy

APPROVED = Approval(NeedApproval.DISRUPTIVE, 2, 600_000)


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    worlds: list[World] = []

    def make(**changes) -> World:
        worlds.append(World(tmp_path, policy(playbook(**{"for_ms": 0, **changes}))))
        worlds[-1].wait(1)
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


def text_of(world: World, incident: str = "inc-1", *, all_gates: bool = False) -> str:
    """The text on one line, so that its folding does not matter."""
    story = world.store.read_now(lambda connection: read_story(connection, incident))
    asides = world.store.read_now(lambda connection: storm_asides(connection, story))
    told = explain(story, {host.id: host.name for host in world.fleet.hosts.values()}, asides)
    assert told is not None
    return " ".join(render(told, zone(""), all_gates=all_gates).split())


def limits(**changes) -> Limits:
    values = {
        "per_host": Rate(100, 3_600_000),
        "fleet": FleetBudget("role", 10, 20),
        "attempts": Attempts(100, 3_600_000, 0, 1),
    }
    return Limits(**{**values, **changes})


def test_gates_that_allow_share_a_line_unless_they_are_asked_for(make_world):
    world = make_world()
    world.observe(world.enrol("web-1", role="web"), Status.CRIT)
    assert "allow paused, trust, maintenance, observer, evidence_fresh, fault_duration, one_at_a_time" in text_of(world)
    assert "(each answer: --gates)" in text_of(world)
    full = text_of(world, all_gates=True)
    assert "allow storm: no storm of this check" in full
    assert "--gates" not in full


def test_approval_says_who_was_asked_who_approved_and_when(make_world):
    world = make_world(approval=APPROVED)
    world.observe(world.enrol("web-1", role="web"), Status.CRIT)
    held = text_of(world)
    assert "nothing is done now, because approval holds: 0 of 2 people approved ord-1-1 (restart_unit)" in held
    assert "ord-1-1 waits for approval by 2 people of platform-oncall, within 10 min" in held
    for person in ("ann (responder)", "bob (admin)"):
        world.wait(2)
        world.feed(Approve(world.now_ms, "ord-1-1", person, world.fleet.incidents["inc-1"].asked_what))
    text = text_of(world)
    assert text.index("ann (responder) approved ord-1-1") < text.index("bob (admin) approved ord-1-1")
    assert "+4.009 s allow approval: ord-1-1 is approved by ann, bob" in text


def test_a_no_and_an_approval_that_never_came_are_told_apart(make_world):
    world = make_world(approval=APPROVED)
    for name in ("web-1", "db-1"):
        world.observe(world.enrol(name, role=name), Status.CRIT)
    world.feed(Deny(world.now_ms, "ord-1-1", "ann (responder)", "still needed"))
    assert "without a try: ann (responder) denied ord-1-1: still needed" in text_of(world, "inc-1")
    host = world.fleet.incidents["inc-2"].subject.host
    world.feed(Approve(world.now_ms, "ord-2-1", "ann (responder)", world.fleet.incidents["inc-2"].asked_what))
    for _ in range(31):
        world.wait(20)
        world.observe(host, Status.CRIT)
    assert "only ann approved ord-2-1 within 10 min" in text_of(world, "inc-2")


def test_maintenance_people_at_work_and_doubt_say_who_and_why(make_world):
    world = make_world()
    host = world.enrol("web-1", role="web")
    end_ms = world.now_ms + 600_000
    window = Window("mnt-1", (("role", ("web",)),), (), world.now_ms, end_ms, "", "ann (responder)", "kernel upgrade")
    world.feed(WindowAdded(world.now_ms, window))
    world.feed(PersonSeen(world.now_ms, host, "root has logged in on tty1", end_ms))
    world.wait(1)
    world.feed(ObserverDoubted(world.now_ms + 1, "the loop stood still for 9 s"))
    world.observe(host, Status.CRIT)
    text = text_of(world)
    assert "hold maintenance: ann (responder) announced maintenance mnt-1: kernel upgrade" in text
    assert "hold human_present: root has logged in on tty1 on web-1" in text
    assert "hold observer: the loop stood still for 9 s; waiting for a sample taken since then" in text


def test_a_floor_names_how_many_healthy_hosts_are_needed(make_world):
    world = make_world(limits=limits(floor=Floor("role", 90), fleet=FleetBudget("role", 100, 20)))
    first, second = world.enrol("web-1", role="web"), world.enrol("web-2", role="web")
    for host in (first, second):
        world.observe(host, Status.CRIT)
    assert "hold minimum_healthy: 0 other hosts of role=web are healthy, 1 needed" in text_of(world, "inc-2")


def test_flapping_is_handed_over_with_its_count(make_world):
    world = make_world(limits=limits(flapping=Flapping(3, 600_000, 600_000)), for_ms=3_000)
    host = world.enrol("web-1", role="web")
    for status in (Status.CRIT, Status.OK, Status.CRIT, Status.OK, Status.CRIT):
        world.observe(host, status)
        world.wait(1)
    text = text_of(world, "inc-3")
    assert "refuse flapping: turned bad 3 times within 10 min, limit 3" in text
    assert "in the hands of platform-oncall without a try: turned bad 3 times" in text


def test_a_demotion_is_told_with_the_incident_that_caused_it_and_is_not_its_headline(make_world):
    step = playbook().steps[0]
    world = make_world(limits=limits(), steps=(step,) * 3)
    host = world.enrol("web-1", role="web")
    world.observe(host, Status.CRIT)
    for number in (1, 2, 3):
        world.end(host, f"ord-1-{number}")
        world.wait(0.1)
        world.observe(host, Status.OK)
        world.wait(0.1)
        world.observe(host, Status.CRIT)
    text = text_of(world)
    assert "restart-failed-unit is demoted to suggest: 3 repairs in a row were not proved" in text
    assert "in the hands of platform-oncall after 3 orders: every step of the playbook was tried" in text
    assert "a note to platform, severity ticket" in text


def test_debt_is_told_where_it_grew(make_world):
    world = make_world(limits=limits())
    host = world.enrol("web-1", role="web")
    target = Subject(host, "", "nginx.service")
    world.fleet.heals[target] = [Heal(world.now_ms, 60_000)] * 9
    world.heal(host)
    text = text_of(world)
    assert "healed 10 times within 7 days, 9 min of fault hidden: the cause needs its owner" in text
    assert "a note to platform, severity ticket" in text
    assert "healed by restart_unit and proved" in text


def test_a_storm_tells_what_its_hosts_share_and_whom_it_holds(make_world):
    world = make_world()
    hosts = [world.enrol(f"web-{number}", role="web") for number in range(1, 7)]
    for host in hosts:
        world.observe(host, Status.CRIT)
    world.wait(5)
    storm = world.fleet.outbreaks["unit_failed"].incident
    detail = {"check_type": "unit_failed", "failing": "6", "healthy": "90", "difference": "all have kernel.release 6.1"}
    body = codec.dumps({"what": "cohort", "who": "controller", "detail": detail})
    row, head = Entry("audit", world.now_ms, "", storm, body), world.head
    world.head = world.store.write_soon(lambda connection: append(connection, MASTER, head, 1, [row])).result()
    text = text_of(world, storm)
    assert "storm unit_failed across the fleet: in the hands of oncall without a try: 5 hosts of role=web fail" in text
    assert "6 failing hosts were compared with 90 healthy ones; they share: | all have kernel.release 6.1" in text
    assert "incidents that it holds, 2 of them: | inc-5 unit_failed nginx.service on" in text
    held = text_of(world, next(i.id for i in world.fleet.incidents.values() if i.subject.host == hosts[-1]))
    assert f"hold storm: many hosts fail unit_failed together: role=web (5 hosts), the fleet (5 hosts); see {storm}" in held
