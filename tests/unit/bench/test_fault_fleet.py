"""Faults of many hosts, healthy hosts and the rival: what is counted, and what is printed of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fleetmend_controller.core.events import HostEnrolled
from fleetmend_controller.core.model import Status
from fleetmend_controller.playbooks.load import compile_rules, read_documents
from tests.bench.faults import adapter, fleet, healthy, rivals
from tests.bench.faults.catalogue import Fault
from tests.bench.faults.score import Seen, record
from tests.bench.faults.world import bystanders, labels
from tests.unit.core.timeline import Timeline

FAULT = Fault("X-1", "many", "agent/controller", False, "escalate", "mkdir -p $BENCH_ROOT/fleet/a")
TOLD = Seen("X-1", "disk", "escalate", True, seen_s=2.0, escalated=True, cause_reported=True)


@pytest.mark.parametrize(
    ("fault", "many"),
    [
        (FAULT, True),
        (replace(FAULT, inject="mkdir -p ${BENCH_ROOT}/fleet/a"), True),
        (replace(FAULT, inject="mkdir -p $BENCH_ROOT/proc"), False),
        (replace(FAULT, injectable=True), False),
    ],
)
def test_a_fault_brings_hosts_of_its_own_if_its_inject_makes_them(fault: Fault, many: bool):
    assert fleet.wanted(fault) is many


def order(host: str, ordered_ms: int, ended_ms: int | None, action: str = "restart_unit") -> dict:
    return {"host": host, "action": action, "ordered_ms": ordered_ms, "ended_ms": ended_ms}


@pytest.mark.parametrize(
    ("orders", "most"),
    [
        ([], 0),
        ([order("a", 0, 10), order("b", 10, 20)], 1),
        ([order("a", 0, 11), order("b", 10, 20), order("c", 12, None), order("d", 100, 110)], 2),
        ([order("a", 0, 10), order("a", 5, 10)], 1),
        ([order("a", 0, 10), order("b", 5, 10, "collect_evidence")], 1),
    ],
)
def test_hosts_disturbed_at_once_are_counted_from_the_orders(orders: list[dict], most: int):
    assert fleet.most_at_once(orders) == most


def test_the_budget_is_what_the_playbooks_allow_a_role(tmp_path: Path):
    adapter.write_rules({}, tmp_path)
    rules = compile_rules(read_documents([tmp_path]))
    assert 1 <= fleet.budget(rules, 1) <= fleet.budget(rules, 20) < 20


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_hosts_that_play_unrelated_faults_of_one_kind_side_by_side_are_no_storm(count: int):
    timeline = Timeline(hosts=count + bystanders(count))
    for number in range(1, count + 1):
        told = dict(word.split("=") for word in labels(f"web-{number}"))
        timeline.feed(HostEnrolled(timeline.now_ms, f"h-{number}", f"web-{number}", told))
    for number in range(1, count + 1):
        timeline.seen(Status.CRIT, host=f"h-{number}")
    assert timeline.fleet.outbreaks == {}
    if count >= 3:
        timeline.seen(Status.CRIT, host=f"h-{count + 1}")
    assert bool(timeline.fleet.outbreaks) is (count >= 3), "no more hosts stand by than it takes"


def test_pages_and_disturbed_hosts_are_recorded():
    assert {key: record(replace(TOLD, pages=1, at_once=2))[key] for key in ("pages", "at_once")} == {"pages": 1, "at_once": 2}


def test_any_incident_of_a_healthy_host_is_a_false_alarm():
    quiet = healthy.Watched("plain", 3600.0, (), ())
    loud = healthy.Watched("reference", 60.0, ("inc-1 web-1 memory (held): low",), ("ord-1-1 restart_unit done",))
    lost = replace(quiet, problem="the agent is not connected in the end")
    assert [each.quiet for each in (quiet, loud, lost)] == [True, False, False]
    text = healthy.report([quiet, loud])
    assert "plain: quiet: 0 incidents, 0 actions in 60.0 min" in text
    assert "reference: FALSE ALARM: 1 incidents, 1 actions" in text
    assert "ord-1-1 restart_unit done" in text


def test_the_rival_is_compared_on_what_both_played():
    theirs = [TOLD, replace(TOLD, id="X-2", guard_ok=False), replace(TOLD, id="X-3", problem="no world")]
    text = rivals.table(theirs, {seen.id: record(TOLD) for seen in theirs})
    assert "of 2 faults that both played" in text
    assert "Monit      1 as expected; 0 healed, 1 escalated, 0 held, 0 missed, 1 harmed; median seen 2.0 s, healed -" in text
    assert "not played" in text


def test_the_rival_is_told_of_heartbeats_logs_and_certificates():
    declare = {
        "units": {"shop.service": {"restart": "allowed", "heartbeat": {"path": "/run/shop", "max_age_s": 5}}},
        "live_logs": {"/var/log/shop.log": {"max_bytes": 1000, "rotated_by": "rotate.service"}},
        "tls": {"certificate": "/c", "served_at": "127.0.0.1:8443", "min_days": 20, "ca": "/ca", "renew": "renew-it 90"},
    }
    text = rivals.monitrc(declare)
    assert "check file shop_service_heartbeat with path /run/shop" in text
    assert 'if size > 1000 B then exec "/bin/systemctl start rotate.service"' in text
    assert 'certificate valid > 20 days then exec "/usr/local/sbin/renew-it 90"' in text
