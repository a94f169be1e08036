"""How many events a second the core decides, and that the cost of one does not grow with the fleet."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator

from fleetmend_controller.core.events import (
    Event,
    EvidenceConfirmed,
    HostConnected,
    HostEnrolled,
    Observed,
    OrderEnded,
    OrderStarted,
    Paused,
    Resumed,
)
from fleetmend_controller.core.flow import advance
from fleetmend_controller.core.model import Fleet, Outcome, Status
from fleetmend_controller.core.policy import Policy
from tests.unit.core.timeline import playbook, policy

OPEN_INCIDENTS = 1_000
EVENTS = 30_000


def fleet_of(hosts: int, rules: Policy) -> Fleet:
    """A fleet of this size in groups of a hundred, with OPEN_INCIDENTS held by a pause of their group."""
    fleet = Fleet()
    advance(fleet, Paused(0, "group:sick=yes", "bench", "bench", None), rules)
    for number in range(hosts):
        labels = {"role": f"role-{number % (hosts // 100)}"}
        if number < OPEN_INCIDENTS:
            labels["sick"] = "yes"
        advance(fleet, HostEnrolled(0, f"h-{number}", f"host-{number}", labels), rules)
        advance(fleet, HostConnected(0, f"h-{number}", "b", 0), rules)
    for number in range(OPEN_INCIDENTS):
        advance(fleet, _seen(1, f"h-{number}", Status.CRIT, 1), rules)
    return fleet


def _seen(at_ms: int, host: str, status: Status, seq: int) -> Observed:
    unit = {"unit": "a.service"}
    return Observed(at_ms, host, "unit_failed", "unit_failed", "a.service", status, unit, "down", "b", at_ms, at_ms, "box", seq)


def stories(hosts: int, count: int) -> Iterator[Event]:
    """Whole stories, one host after the other: fault, heartbeats, order, outcome, proof; each about eight events."""
    at_ms = 10_000
    incident = OPEN_INCIDENTS
    for number in range(count // 8):
        host = f"h-{OPEN_INCIDENTS + number * 7 % (hosts - OPEN_INCIDENTS)}"
        incident += 1
        seq = 10 * (number + 1)
        sick = f"h-{number % OPEN_INCIDENTS}"
        yield EvidenceConfirmed(at_ms, sick, "unit_failed", "a.service", "b", at_ms, at_ms)
        yield EvidenceConfirmed(at_ms, sick, "unit_failed", "a.service", "b", at_ms, at_ms)
        yield _seen(at_ms, host, Status.CRIT, seq)
        yield OrderStarted(at_ms, host, f"ord-{incident}-1", "box", seq + 1)
        yield OrderEnded(
            at_ms + 50, host, f"ord-{incident}-1", Outcome.DONE, "", "", "b", at_ms + 50, at_ms + 50, "", "box", seq + 2
        )
        yield _seen(at_ms + 60, host, Status.OK, seq + 3)
        yield _seen(at_ms + 10_060, host, Status.OK, seq + 4)
        yield Resumed(at_ms, "host:nobody", "bench") if number % 500 == 499 else _seen(at_ms + 10_060, host, Status.OK, seq + 5)
        at_ms += 11_000


def measure(hosts: int) -> tuple[float, float]:
    """Events a second of CPU, and milliseconds of the slowest event."""
    rules = policy(playbook())
    fleet = fleet_of(hosts, rules)
    events = list(stories(hosts, EVENTS))
    # As the controller does when it has read its journal.
    gc.collect()
    gc.freeze()
    slowest = 0
    begun = time.process_time()
    for event in events:
        before = time.perf_counter_ns()
        advance(fleet, event, rules)
        slowest = max(slowest, time.perf_counter_ns() - before)
    rate = len(events) / (time.process_time() - begun)
    gc.unfreeze()
    return rate, slowest / 1e6


def test_cost_of_an_event():
    print(f"advance: {OPEN_INCIDENTS} open incidents, whole stories on the other hosts")
    print(f"{'hosts':>8}  {'events/s':>9}  {'us/event':>9}  {'slowest ms':>10}")
    for hosts in (2_000, 10_000, 100_000):
        rate, slowest = measure(hosts)
        print(f"{hosts:>8}  {rate:>9.0f}  {1e6 / rate:>9.1f}  {slowest:>10.2f}")
