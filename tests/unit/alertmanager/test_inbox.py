"""Alerts on their way in, to the one host that they are about, through the real core and the real rules."""

from __future__ import annotations

import asyncio

import pytest

from fleetmend_controller.alertmanager.inbox import LEFT_OVER_MS, Taken
from fleetmend_controller.core.events import Observed, Woken
from fleetmend_controller.core.model import Phase, Status

from .world import START_MS, World


def run(coroutine):
    return asyncio.run(coroutine)


def test_a_firing_alert_is_healed_and_its_end_proves_it(tmp_path):
    async def story():
        async with World(tmp_path) as w:
            await w.host("web-1")
            assert await w.tell(w.alert(name="shop.service")) == Taken(1, 0, 0, 0)
            (incident,), (order,) = w.incidents, w.orders
            assert (incident.subject.check, incident.check_type) == ("alert:ShopDown", "prometheus_alert")
            assert incident.finding == {
                "alertname": "ShopDown",
                "severity": "critical",
                "job": "node",
                "instance": "web-1:9100",
                "unit": "shop.service",
            }
            assert (order.action, dict(order.params)) == ("restart_unit", {"unit": "shop.service"})
            w.now += 3_000
            await w.ended(order)
            w.now += 90_000
            await w.tell(w.alert("resolved", name="shop.service"))
            w.now += 30_000
            await w.decider.submit([Woken(w.now, incident.id)])
            await w.look()
            assert w.incidents == []

    run(story())


def test_doubles_of_a_pair_and_replayed_bodies_change_nothing(tmp_path):
    async def story():
        async with World(tmp_path) as w:
            await w.host("web-1")
            fires, over = w.body(w.alert(alertname="Other")), w.body(w.alert("resolved", alertname="Other"))
            for _ in range(3):
                await w.inbox.take(fires)
                w.now += 1_000
            assert len(w.incidents) == 1
            for _ in range(2):
                await w.inbox.take(over)
            assert w.incidents == []
            w.now += 20_000
            await w.inbox.take(fires)
            assert w.incidents == []
            await w.tell(w.alert(alertname="Other", starts_ms=w.now))
            assert len(w.incidents) == 1
            await w.inbox.take(over)
            assert len(w.incidents) == 1, "the end of the episode before"

    run(story())


@pytest.mark.parametrize(
    ("labels", "host"),
    [
        ({"instance": "web-1:9100"}, "h-web-1"),
        ({"instance": "WEB-1."}, "h-web-1"),
        ({"instance": "10.0.0.1:9100"}, "h-web-1"),
        ({"instance": "[2001:db8::1]:9100"}, "h-web-1"),
        ({"instance": "2001:DB8:0::1"}, "h-web-1"),
        ({"instance": "https://web-1.shop.test/health"}, "h-web-1"),
        ({"instance": "exporter:9100", "host": "web-1"}, "h-web-1"),
        ({"instance": "", "hostname": "web-1"}, "h-web-1"),
        ({"instance": "", "node": "web-1"}, "h-web-1"),
        ({"instance": "web-1:9100", "node": "10.0.0.1"}, "h-web-1"),
        ({"instance": "web-1:9100", "host": "web-2"}, "several hosts are web-1 or web-2: h-web-1, h-web-2"),
        ({"instance": "172.17.0.1:80"}, "several hosts are 172.17.0.1: h-web-1, h-web-2"),
        ({"instance": "127.0.0.1:9100"}, "no host is 127.0.0.1"),
        ({"instance": "[::1]:9100"}, "no host is ::1"),
        ({"instance": "10.0.0.9:9100"}, "no host is 10.0.0.9"),
        ({"instance": "10.0.0.%:9100"}, "no host is 10.0.0.%"),
        ({"instance": ""}, "it has none of the labels instance, host, hostname, node"),
    ],
)
def test_it_belongs_to_the_one_host_that_its_labels_name(tmp_path, labels, host):
    async def story():
        async with World(tmp_path) as w:
            await w.host("web-1", "10.0.0.1", "2001:db8::1", "172.17.0.1", "127.0.0.1", hostname="web-1.shop.test")
            await w.host("web-2", "10.0.0.11", "172.17.0.1", "127.0.0.1")
            await w.tell(w.alert(**labels))
            if host.startswith("h-"):
                assert [incident.subject.host for incident in w.incidents] == [host]
                return
            assert w.incidents == []
            assert [unplaced.why for unplaced in w.inbox.unplaced] == [host]
            assert w.metrics.alerts_unplaced._value.get() == 1

    run(story())


def test_one_without_host_is_reported_once_and_until_it_is_over(tmp_path):
    async def story():
        async with World(tmp_path) as w:
            assert await w.tell(w.alert()) == Taken(0, 1, 0, 0)
            w.now += 60_000
            await w.tell(w.alert())
            (unplaced,) = w.inbox.unplaced
            assert (unplaced.since_ms, unplaced.said_ms) == (START_MS, w.now)
            assert "alertname=ShopDown" in unplaced.labels
            await w.tell(w.alert("resolved"))
            assert w.inbox.unplaced == []

    run(story())


def test_a_host_that_another_calls_itself_is_not_guessed(tmp_path):
    async def story():
        async with World(tmp_path) as w:
            await w.host("web-1")
            await w.host("evil", hostname="web-1")
            await w.tell(w.alert(instance="web-1:9100"))
            assert [incident.subject.host for incident in w.incidents] == ["h-web-1"]

    run(story())


@pytest.mark.parametrize(("unit", "found"), [("shop.service", "shop.service"), ("sshd.service", None)])
def test_a_unit_is_one_only_if_it_is_declared_there(tmp_path, unit, found):
    async def story():
        async with World(tmp_path) as w:
            await w.host("web-1")
            await w.tell(w.alert(unit=unit))
            assert w.incidents[0].finding.get("unit") == found

    run(story())


def test_our_own_alerts_do_not_come_back_as_faults(tmp_path):
    async def story():
        async with World(tmp_path) as w:
            await w.host("web-1")
            assert await w.tell(w.alert(alertname="FleetmendIncident", host="web-1")) == Taken(0, 0, 1, 0)
            assert w.incidents == []

    run(story())


def test_one_that_cannot_be_used_does_not_hold_up_the_others(tmp_path):
    async def story():
        async with World(tmp_path) as w:
            await w.host("web-1")
            bad = [{}, 3, {**w.alert(), "status": "maybe"}, {**w.alert(), "startsAt": "yesterday"}, w.alert(alertname=" ")]
            assert await w.tell(*bad, w.alert()) == Taken(1, 0, 0, 5)

    run(story())


@pytest.mark.parametrize("ends_in_ms", [None, 120_000])
def test_one_that_vanishes_is_unknown_and_goes_to_people(tmp_path, ends_in_ms):
    async def story():
        async with World(tmp_path) as w:
            await w.host("web-1")
            ends_ms = None if ends_in_ms is None else w.now + ends_in_ms
            await w.tell(w.alert(alertname="Other", ends_ms=ends_ms))
            w.now += 170_000
            await w.look()
            assert w.incidents[0].status is Status.CRIT
            w.now += 20_000 if ends_in_ms else 3_600_000
            await w.look()
            assert (w.incidents[0].status, w.incidents[0].phase) == (Status.UNKNOWN, Phase.ESCALATED)
            assert w.inbox.look() == []
            await w.tell(w.alert(alertname="Other"))
            assert w.incidents[0].status is Status.CRIT

    run(story())


def test_a_symptom_that_outlives_its_incident_is_not_forgotten_and_not_acted_upon(tmp_path):
    async def story():
        async with World(tmp_path) as w:
            await w.host("web-1")
            clock = w.now - 5_000
            seen = ("h-web-1", "unit-active:shop.service", "unit_active", "", Status.CRIT, {"unit": "shop.service"}, "down")
            await w.decider.submit([Observed(w.now, *seen, "boot", clock, clock)])
            await w.tell(w.alert(unit="shop.service"))
            (incident,) = w.incidents
            assert [symptom.check for symptom in incident.symptoms] == ["alert:ShopDown"]
            over = (*seen[:4], Status.OK, seen[5], "up")
            await w.decider.submit([Observed(w.now, *over, "boot", clock + 1, clock + 1)])
            await w.look()
            assert w.incidents == []
            w.now += LEFT_OVER_MS
            await w.look()
            assert [i.subject.check for i in w.incidents] == ["alert:ShopDown"]
            assert w.orders == []
            await w.tell(w.alert("resolved", unit="shop.service"))
            assert w.incidents == []

    run(story())


def test_an_end_before_the_action_ended_counts_only_after_the_whole_time_of_proof(tmp_path):
    async def story():
        async with World(tmp_path) as w:
            await w.host("web-1")
            await w.tell(w.alert(unit="shop.service"))
            (incident,), (order,) = w.incidents, w.orders
            await w.tell(w.alert("resolved", unit="shop.service"))
            w.now += 5_000
            await w.ended(order)
            await w.look()
            assert (incident.phase, incident.ok_clock_ms) == (Phase.PROVING, None)
            w.now += 600_000
            await w.decider.submit([Woken(w.now, incident.id)])
            await w.look()
            assert incident.ok_clock_ms is not None
            w.now += 30_000
            await w.decider.submit([Woken(w.now, incident.id)])
            await w.look()
            assert w.incidents == []

    run(story())


def test_after_a_restart_what_fired_is_still_known(tmp_path):
    async def story():
        async with World(tmp_path) as w:
            await w.host("web-1")
            await w.tell(w.alert(alertname="Other"))
        async with World(tmp_path) as again:
            again.now = START_MS + 60_000
            await again.tell(again.alert("resolved", alertname="Other"))
            assert again.incidents == []

    run(story())


def test_a_host_of_many_alerts_does_not_take_more_than_it_may(tmp_path, monkeypatch):
    monkeypatch.setattr("fleetmend_controller.alertmanager.inbox.SICK_OF_HOST_MAX", 3)

    async def story():
        async with World(tmp_path) as w:
            await w.host("web-1")
            for number in range(5):
                await w.tell(w.alert(alertname=f"A{number}"))
            assert len(w.incidents) == 3

    run(story())
