"""How long a month of a thousand hosts' transitions takes to replay. The promise: under a minute."""

from __future__ import annotations

import random
import time

from fleetmend_controller.backtest.history import Decided, History
from fleetmend_controller.backtest.run import backtest
from fleetmend_controller.backtest.variant import Variant
from fleetmend_controller.core.effects import ActionEnded, Closed, SendOrder, Why
from fleetmend_controller.core.events import HostConnected, HostEnrolled, Observed, PolicyLoaded
from fleetmend_controller.core.model import Cost, Order, Status, Subject
from fleetmend_controller.playbooks.load import digest_of

from ..unit.rules.samples import CHECKS, PLAYBOOK

HOSTS = 1_000
DAY_MS = 86_400_000
FAULTS_A_DAY = 1
DOCUMENTS = {"checks/a.yaml": CHECKS}


def month() -> History:
    """Each host has a fault a day; nearly all were ended by a restart, the rest last up to an hour."""
    rng = random.Random(7)
    digest = digest_of(DOCUMENTS)
    history = History(0, 30 * DAY_MS, policies={digest: DOCUMENTS})
    history.before.append(PolicyLoaded(0, digest, "bench"))
    for number in range(HOSTS):
        host = f"h-{number}"
        history.before += [HostEnrolled(0, host, host, {"role": f"r{number % 10}"}), HostConnected(0, host, "b", 0)]
        at_ms = rng.randint(0, DAY_MS // FAULTS_A_DAY)
        while at_ms < 30 * DAY_MS:
            last_ms = rng.randint(3_000, 3_600_000)
            if rng.random() < 0.98:
                last_ms = rng.randint(2_000, 9_000)
                history.decided += _healed(at_ms, host, len(history.events), last_ms)
            history.events += [_seen(at_ms, host, Status.CRIT), _seen(at_ms + last_ms, host, Status.OK)]
            at_ms += rng.randint(4_000_000, 2 * DAY_MS // FAULTS_A_DAY - 4_000_000)
    history.events.sort(key=lambda event: event.at_ms)
    history.decided.sort(key=lambda decided: decided.at_ms)
    return history


def _seen(at_ms: int, host: str, status: Status) -> Observed:
    unit = {"unit": "a.service"}
    return Observed(at_ms, host, "failed-units", "unit_failed", "a.service", status, unit, "down", "b", at_ms, at_ms)


def _healed(at_ms: int, host: str, number: int, last_ms: int) -> list[Decided]:
    incident, order_id = f"inc-{number}", f"ord-{number}-1"
    unit = (("unit", "a.service"),)
    order = Order(
        order_id, incident, host, "failed-units", "a.service", "b", "restart_unit", unit, Cost.DISRUPTIVE, 60_000, at_ms,
        at_ms + 30_000, at_ms + 30_000, "playbook restart",
    )  # fmt: skip
    subject = Subject(host, "failed-units", "a.service")
    return [
        Decided(at_ms, SendOrder(order)),
        Decided(at_ms + 900, ActionEnded(incident, order_id, host, "restart_unit", unit, "done", "")),
        Decided(at_ms + last_ms + 10_000, Closed(incident, subject, Why.HEALED, "restart", 0, 0, 900, 10_000, last_ms)),
    ]


def test_a_month_of_a_thousand_hosts():
    history = month()
    begun, begun_cpu = time.perf_counter(), time.process_time()
    result = backtest(history, Variant("restart.yaml", PLAYBOOK))
    spent_s, cpu_s = time.perf_counter() - begun, time.process_time() - begun_cpu
    assert result["read"]["hosts"] == HOSTS
    assert result["certain"]["faults_matched"] > 25_000
    print(
        f"backtest: {len(history.events)} transitions of {HOSTS} hosts in 30 days, {result['read']['events_replayed']} events"
    )
    print(f"replayed in {spent_s:.1f} s, {cpu_s:.1f} s of CPU (promised: under 60 s), {result['assumed']['orders']} orders")
