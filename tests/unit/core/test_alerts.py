"""Alerts of Prometheus on a time line, and acknowledgements, which change nothing but who is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetmend_controller.core.alerts import LATE_MS
from fleetmend_controller.core.effects import Acknowledged, Effect, WakeAt
from fleetmend_controller.core.events import Acknowledge, AlertSaid, Event, HostRemoved
from fleetmend_controller.core.flow import advance
from fleetmend_controller.core.model import ActionStep, Cost, Fleet, Phase, Proof, Status, Subject
from fleetmend_controller.store import codec

from .timeline import LIMITS, RESTART, Timeline, playbook, policy

FIXED = playbook(
    name="answer-alert",
    check="prometheus_alert",
    steps=(ActionStep("restart_unit", (("unit", "a.service"),), Cost.DISRUPTIVE, Proof(600_000, 60_000), 60_000),),
)
UNIT = {"alertname": "Down", "unit": "a.service"}


class Alerts(Timeline):
    """A time line on which Alertmanager speaks too."""

    starts_ms = 900_000

    def fires(self, host: str = "h-1", name: str = "Down", **more):
        finding = more.pop("finding", {"alertname": name})
        starts_ms, ends_ms = more.pop("starts_ms", self.starts_ms), more.pop("ends_ms", 0)
        said_ms = more.pop("said_ms", self.now_ms)
        check = f"alert:{name}"
        return self.feed(
            AlertSaid(self.now_ms, host, check, "fp", Status.CRIT, finding, "it is down", said_ms, starts_ms, ends_ms)
        )

    def ends(self, host: str = "h-1", name: str = "Down", ends_ms: int = 0, status: Status = Status.OK):
        finding = {"alertname": name}
        ends_ms = ends_ms or self.now_ms
        return self.feed(
            AlertSaid(self.now_ms, host, f"alert:{name}", "fp", status, finding, "over", self.now_ms, self.starts_ms, ends_ms)
        )


def line(*playbooks, **more) -> Alerts:
    return Alerts(policy(*playbooks or (FIXED,)), **more)


def test_an_alert_is_answered_and_its_end_after_the_action_proves_it():
    t = line()
    t.fires()
    (order,) = t.orders
    t.now_ms += 5_000
    t.ended(order)
    t.now_ms += 120_000
    t.ends()
    assert t.only.phase is Phase.PROVING
    t.now_ms += 60_000
    t.ends()
    assert [(closed.why.value, closed.playbook) for closed in t.closed] == [("healed", "answer-alert")]


def test_its_end_before_the_action_ended_proves_nothing():
    t = line()
    t.fires()
    (order,) = t.orders
    t.started(order)
    t.ends()
    t.now_ms += 5_000
    t.ended(order)
    assert (t.only.phase, t.only.ok_clock_ms) == (Phase.PROVING, None)


def test_one_that_nobody_answers_goes_to_people_and_ends_by_itself():
    t = line(playbook())
    t.fires()
    assert [(told.why.value, told.fault) for told in t.escalated] == [("no_playbook", "alert:Down")]
    t.now_ms += 60_000
    t.ends()
    assert [closed.why.value for closed in t.closed] == ["healed_by_person"]


@pytest.mark.parametrize("times", [2, 5])
def test_doubles_of_a_pair_change_nothing(times):
    t = line()
    for _ in range(times):
        t.fires()
        t.now_ms += 100
    assert len(t.orders) == len(t.fleet.incidents) == 1
    once = line()
    once.fires()
    assert t.why() == once.why()


def test_that_it_fires_said_late_or_again_opens_nothing_new():
    t = line(playbook())
    t.fires()
    t.now_ms += 60_000
    t.ends(ends_ms=950_000)
    t.now_ms += 10_000
    t.fires()
    assert (len(t.escalated), t.fleet.incidents) == (1, {})
    t.now_ms += 1_000
    t.fires(starts_ms=960_000)
    assert len(t.fleet.incidents) == 1, "a new episode is a new fault"


def test_the_same_alert_long_after_its_end_has_come_back():
    t = line(playbook())
    t.fires()
    t.ends(ends_ms=950_000)
    t.now_ms += LATE_MS
    t.fires()
    assert len(t.fleet.incidents) == 1


def test_the_end_of_an_earlier_episode_does_not_end_this_one():
    t = line(playbook())
    t.fires(starts_ms=900_000)
    t.ends(ends_ms=950_000)
    t.fires(starts_ms=960_000)
    t.now_ms += 1_000
    t.ends(ends_ms=950_000)
    assert len(t.fleet.incidents) == 1


def test_one_that_vanished_is_unknown_and_nothing_is_done_about_it():
    busy = replace(FIXED, for_ms=60_000)
    t = line(busy)
    t.fires()
    t.now_ms += 30_000
    t.ends(status=Status.UNKNOWN)
    t.wait(1_300_000, fresh=False)
    assert (t.orders, t.only.phase) == ([], Phase.ESCALATED)
    assert t.closed == []
    t.ends()
    assert len(t.closed) == 1


def test_what_was_said_a_while_ago_is_no_reason_to_act():
    t = line()
    t.fires(said_ms=t.now_ms - 120_000)
    assert (t.orders, t.only.holds) == ([], ("evidence_fresh:evidence_stale",))


def test_the_clock_of_the_host_is_not_moved_by_alerts():
    t = line()
    before = t.fleet.hosts["h-1"].clock_offset_ms
    t.fires()
    assert t.fleet.hosts["h-1"].clock_offset_ms == before


def test_an_alert_about_a_unit_joins_what_the_agent_saw_of_it():
    t = line(playbook())
    t.seen(Status.CRIT, "a.service")
    t.fires(finding=UNIT)
    assert [s.check for s in t.only.symptoms] == ["alert:Down"]


def test_an_alert_that_nobody_answers_does_not_keep_its_unit_from_being_healed():
    t = line(playbook())
    t.fires(finding=UNIT)
    t.seen(Status.CRIT, "a.service")
    t.seen(Status.CRIT, "a.service", check="unit_active")
    assert [(i.check_type, i.phase) for i in t.fleet.incidents.values()] == [
        ("prometheus_alert", Phase.ESCALATED),
        ("unit_failed", Phase.ORDERED),
    ]
    (order,) = t.orders
    t.ended(order)
    t.seen(Status.OK, "a.service", sampled_ms=t.now_ms + 1)
    t.ends()
    assert "alert:Down" in [closed.subject.check for closed in t.closed]


def test_different_alerts_are_no_storm_and_the_same_one_is_told_once():
    t = line(playbook(), hosts=12)
    for number in range(1, 5):
        t.fires(f"h-{number}", f"Alert{number}")
        t.fires(f"h-{number + 4}", f"Alert{number}")
    assert not t.fleet.outbreaks
    for number in range(1, 13):
        t.fires(f"h-{number}", "Same")
    (storm,) = t.fleet.outbreaks
    assert storm == "alert:Same"
    same = [told for told in t.escalated if told.fault == "alert:Same"]
    assert [told.part_of for told in same] == [""] * 4
    held = [i for i in t.fleet.incidents.values() if i.fault == "alert:Same" and i.phase is Phase.HELD]
    assert len(held) == 8


def test_a_removed_host_leaves_no_alert_behind():
    t = line()
    t.fires()
    t.feed(HostRemoved(t.now_ms, "h-1", "ann"))
    t.fires()
    assert (t.fleet.alerts, t.fleet.incidents) == ({}, {})


def test_what_is_over_is_forgotten_after_a_while():
    t = line(playbook(), hosts=2)
    t.fires()
    t.ends()
    t.now_ms += LATE_MS
    t.fires("h-2")
    t.ends("h-2")
    assert list(t.fleet.alerts) == [Subject("h-2", "alert:Down", "fp")]


def story() -> list[Event]:
    """Faults, orders and proofs of several hosts, as events."""
    t = line(playbook(limits=LIMITS), FIXED, hosts=3)
    events: list[Event] = []
    feed = t.feed
    t.feed = lambda event: (events.append(event), feed(event))[1]  # type: ignore[method-assign]
    t.seen(Status.CRIT)
    t.seen(Status.CRIT, "b.service", "h-2")
    t.fires("h-3")
    for order in t.orders:
        t.started(order)
        t.now_ms += 1_000
        t.ended(order)
    t.wait(50_000)
    t.seen(Status.CRIT)
    t.wait(200_000)
    t.seen(Status.OK, "b.service", "h-2", sampled_ms=t.now_ms)
    t.wait(20_000)
    t.seen(Status.OK, "b.service", "h-2", sampled_ms=t.now_ms)
    t.wait(900_000, fresh=False)
    return events


def replay(events: list[Event], taken_each: bool) -> tuple[list[Effect], dict]:
    t = line(playbook(limits=LIMITS), FIXED, hosts=3)
    effects: list[Effect] = []
    for event in events:
        effects += advance(t.fleet, event, t.policy).effects
        for incident in list(t.fleet.incidents) if taken_each else ():
            step = advance(t.fleet, Acknowledge(event.at_ms, incident, "ann"), t.policy)
            assert step.effects == (Acknowledged(incident, "ann"),)
            assert [reason.why.value for reason in step.reasons] == ["acknowledged"]
    fleet: Fleet = t.fleet
    for incident in fleet.incidents.values():
        incident.taken_by, incident.taken_ms = "", None
    return effects, codec.encode(fleet)


def test_who_has_an_incident_never_changes_what_is_done():
    events = story()
    plain, taken = replay(events, taken_each=False), replay(events, taken_each=True)
    assert plain == taken
    assert len([effect for effect in plain[0] if isinstance(effect, WakeAt)]) > 5, "the story is worth telling"


def test_whoever_takes_an_incident_last_has_it():
    t = line(playbook())
    t.fires()
    t.feed(Acknowledge(t.now_ms, t.only.id, "ann"))
    t.now_ms += 1
    t.feed(Acknowledge(t.now_ms, t.only.id, "bob"))
    assert (t.only.taken_by, t.only.taken_ms) == ("bob", t.now_ms)
    t.feed(Acknowledge(t.now_ms, "inc-99", "ann"))


def test_an_alert_that_still_fires_spoils_no_proof_by_the_agent_s_own_check():
    """Alertmanager says again what it said before, and the end minutes late."""
    t = line(playbook(steps=(RESTART,)))
    t.seen(Status.CRIT, "a.service")
    t.fires(finding=UNIT)
    t.ended(t.orders[0])
    t.wait(1_000)
    t.seen(Status.OK, "a.service")
    t.wait(5_000)
    t.fires(finding=UNIT)
    t.wait(5_000)
    t.seen(Status.OK, "a.service")
    assert [closed.why.value for closed in t.closed] == ["healed"]


def test_an_end_that_is_heard_before_its_beginning_makes_that_beginning_late():
    """Also a quarter of an hour after the alert's last end: that was another one."""
    t = line(playbook())
    t.fires()
    t.ends()
    t.now_ms += LATE_MS - 1_000
    again_ms = t.now_ms - 60_000
    t.starts_ms = again_ms
    t.ends()
    t.now_ms += 60_000
    t.fires(starts_ms=again_ms)
    assert t.fleet.incidents == {}
