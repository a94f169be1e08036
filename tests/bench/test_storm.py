"""A storm through the real decider and a journal on disk: 1,000 of 10,000 hosts fail within one second.

The promises: at most the budget is acted on, one page is sent, every decision is journalled within five seconds, and the 99th
percentile of the time to a decision stays under one second.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from fleetmend_controller import clock
from fleetmend_controller.core.effects import AskWitness
from fleetmend_controller.core.events import Event, HostConnected, HostEnrolled, Observed
from fleetmend_controller.core.gates.fleet_budget import allowance
from fleetmend_controller.core.model import Fleet, Order, Status, Subject
from fleetmend_controller.decider.loop import Decider
from fleetmend_controller.http.metrics import Metrics
from fleetmend_controller.store.engine import Store, open_engine
from fleetmend_controller.store.migrate import upgrade
from fleetmend_controller.store.tables import journal
from tests.unit.core.timeline import LIMITS, playbook, policy

HOSTS, RACKS, ROLES = 10_000, 10, 20
RACK = [f"h-{number}" for number in range(3, HOSTS, RACKS)]
TWO_ROLES = [f"h-{number}" for number in range(HOSTS) if number // RACKS % ROLES < 2]
WITHIN_S = 1.0
JOURNALLED_S, P99_S, PAGED_S = 5.0, 1.0, 8.0


class Gateway:
    """Counts the hosts that are acted on."""

    def __init__(self) -> None:
        self.acted: set[str] = set()

    def send_order(self, order: Order, epoch: int) -> None:
        assert epoch
        self.acted.add(order.host)

    def ask_witness(self, wish: AskWitness) -> None:
        """Nobody is asked."""

    def request_check(self, subject: Subject) -> None:
        """Nobody answers within this second."""

    def close_host(self, host: str, reason: str) -> None:
        raise AssertionError(f"not expected: {host} {reason}")

    def rules_changed(self) -> None:
        raise AssertionError("not expected")


def compile_rules(documents: Mapping[str, str]) -> SimpleNamespace:
    """The restart playbook, whatever the documents say."""
    rules = policy(playbook(), digest="storm")
    return SimpleNamespace(policy=rules, digest="storm", documents=dict(documents), checks_for=lambda _labels: ())


def members() -> list[Event]:
    events: list[Event] = []
    for number in range(HOSTS):
        labels = {"rack": f"r{number % RACKS}", "role": f"role-{number // RACKS % ROLES}"}
        events.append(HostEnrolled(0, f"h-{number}", f"host-{number}", labels))
        events.append(HostConnected(clock.now_ms(), f"h-{number}", "b", 0))
    return events


def seen(host: str) -> Observed:
    now_ms, unit = clock.now_ms(), {"unit": "a.service"}
    return Observed(now_ms, host, "unit_failed", "unit_failed", "a.service", Status.CRIT, unit, "down", "b", 0, 0, "box", 1)


async def fails(decider: Decider, host: str, after_s: float, begun: float) -> tuple[float, float]:
    """One host's report: how long until it was decided and durable, and when that was."""
    await asyncio.sleep(after_s)
    sent = time.perf_counter()
    await decider.submit([seen(host)])
    done = time.perf_counter()
    return done - sent, done - begun


def pages(metrics: Metrics) -> float:
    samples = [sample for metric in metrics.escalations.collect() for sample in metric.samples]
    return sum(s.value for s in samples if s.labels.get("severity") == "page" and s.name.endswith("_total"))


def budget(fleet: Fleet, sick: list[str]) -> int:
    """The most that the budgets of the sick groups allow together."""
    roles = {fleet.hosts[host].labels["role"] for host in sick}
    return sum(allowance(fleet, LIMITS.fleet, role) for role in roles)


@pytest.mark.parametrize("sick", [RACK, TWO_ROLES], ids=["a rack across all roles", "two whole roles"])
def test_a_storm(tmp_path: Path, sick: list[str]):
    url = f"sqlite:///{tmp_path / 'fleetmend.db'}"
    upgrade(url)
    asyncio.run(_storm(Store(open_engine(url)), sick))


async def _storm(store: Store, sick: list[str]) -> None:
    metrics, gateway = Metrics(), Gateway()
    decider = Decider(store, bytes(32), compile_rules, metrics, clock.now_ms)
    await decider.start("bench", gateway)
    events = members()
    for first in range(0, len(events), 500):
        await decider.submit(events[first : first + 500])
    # As the controller does when it has read its journal.
    gc.collect()
    gc.freeze()
    rows = sa.select(sa.func.max(journal.c.seq))
    before = store.read_now(lambda c: c.execute(rows).scalar())
    # Before the storm the hosts were heard: what doubt the start left is over.
    decider.fleet.doubt_ms = 0
    begun, begun_cpu = time.perf_counter(), time.process_time()
    spread = WITHIN_S / len(sick)
    told = await asyncio.gather(*(fails(decider, host, n * spread, begun) for n, host in enumerate(sick)))
    cpu_s = time.process_time() - begun_cpu
    latencies = sorted(latency for latency, _ in told)
    p99_s, all_s = latencies[len(latencies) * 99 // 100], max(done for _, done in told)
    written = store.read_now(lambda c: c.execute(rows).scalar()) - before
    print(f"storm: {len(sick)} of {HOSTS} hosts fail within {WITHIN_S:g} s; {written} journal rows, {cpu_s:.2f} s of CPU")
    print(f"acted on            {len(gateway.acted)} hosts (the budgets allow {budget(decider.fleet, sick)})")
    print(f"all journalled in   {all_s:.2f} s (promised: {JOURNALLED_S:g} s)")
    print(f"time to a decision  p50 {latencies[len(latencies) // 2]:.3f} s, p99 {p99_s:.3f} s (promised: {P99_S:g} s)")
    # The page waits for what the hosts share.
    async with asyncio.timeout(PAGED_S):
        while not pages(metrics):
            await asyncio.sleep(0.05)
    assert len(decider.fleet.outbreaks) == 1
    print(f"pages               {pages(metrics):.0f} (promised: 1), {time.perf_counter() - begun:.1f} s after the first fault")
    assert 0 < len(gateway.acted) <= budget(decider.fleet, sick)
    assert pages(metrics) == 1
    await decider.stop()
    store.close()
    gc.unfreeze()
