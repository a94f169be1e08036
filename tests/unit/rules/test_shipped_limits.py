"""The numbers of the shipped playbooks, against units that die again and again, and faults that only another repair can end."""

from dataclasses import dataclass, field

import pytest

from fleetmend_controller.core.effects import Why
from fleetmend_controller.core.model import Cost, Outcome, Phase, Status

from ..core.timeline import Timeline
from .test_shipped_flow import DEAD, LABELS, shipped

TICK_MS = 500
START_MS = 1_000
UNIT = "shop.service"
STARTS_MAX = 8


@dataclass
class World:
    """One unit, what kills it, and an executor that carries out what it is ordered."""

    healthy_after_ms: int = 0
    kill_every_ms: int = 0
    t: Timeline = field(default_factory=lambda: Timeline(shipped().policy, labels=LABELS))
    up: bool = True
    starts: int = 0
    told: Status = Status.OK
    under_way: dict[str, int] = field(default_factory=dict)

    def live(self, for_ms: int) -> None:
        """Ticks: what is killed dies, what was ordered ends, and each change is reported."""
        for passed_ms in range(0, for_ms, TICK_MS):
            if self.kill_every_ms and passed_ms % self.kill_every_ms == 0:
                self.up = False
            self.report()
            self.carry_out(passed_ms)
            self.t.wait(TICK_MS)

    def report(self) -> None:
        status = Status.OK if self.up else Status.CRIT
        asked = bool(self.t.asked and self.t.steps[-1].effects)
        if status is self.told and not asked:
            return
        self.told = status
        for check in ("unit_failed", "unit_active"):
            self.t.seen(status, UNIT, check=check, finding={"unit": UNIT, **DEAD})
        if status is Status.CRIT:
            self.t.seen(status, UNIT, check="http_endpoint", finding={"unit": UNIT, "fault": "refused"})

    def carry_out(self, passed_ms: int) -> None:
        for order in self.t.orders:
            if order.id not in self.under_way:
                self.under_way[order.id] = passed_ms + START_MS
                self.t.started(order)
            elif self.under_way[order.id] == passed_ms:
                if order.action == "restart_unit":
                    self.starts += 1
                    self.up = passed_ms >= self.healthy_after_ms
                    self.told = Status.UNKNOWN
                self.t.ended(order, Outcome.DONE)


@pytest.mark.parametrize("kill_every_s", [2, 3, 5, 8, 12, 15, 20, 30, 45])
def test_what_is_killed_again_and_again_is_started_few_times_and_then_a_persons(kill_every_s):
    world = World(kill_every_ms=kill_every_s * 1000)
    world.live(240_000)
    assert 1 <= world.starts <= STARTS_MAX
    assert world.t.escalated
    assert world.t.only.phase is Phase.ESCALATED


def test_after_the_person_it_closes_by_itself():
    world = World(kill_every_ms=3_000)
    world.live(120_000)
    world.kill_every_ms, world.up = 0, True
    world.live(2_000)
    assert world.t.closed[-1].why is Why.HEALED_BY_PERSON


@pytest.mark.parametrize("restored_s", [1, 5, 10, 20])
def test_a_unit_whose_file_another_playbook_restores_is_started_after_it(restored_s):
    world = World(healthy_after_ms=restored_s * 1000, up=False)
    world.live(110_000)
    assert world.t.fleet.incidents == {}
    assert world.starts <= 2
    assert not world.t.escalated


def test_a_unit_that_stays_broken_is_tried_twice():
    world = World(healthy_after_ms=10_000_000, up=False)
    world.live(300_000)
    assert world.starts == 2
    assert [handed.why for handed in world.t.escalated] == [Why.STEPS_EXHAUSTED]


@pytest.mark.parametrize(
    ("check", "finding", "params"),
    [
        ("process_runaway", {"pid": 42, "start_ticks": 7, "name": "x", "user": "shop-batch", "reason": "cpu"}, {"pid": 42}),
        ("pid_usage", {"pid": 42, "start_ticks": 7, "name": "x", "user": "shop-batch", "killable": True}, {"pid": 42}),
        ("semaphores", {"user": "shop-batch", "killable": True}, {"user": "shop-batch"}),
        ("listener_owner", {"owner": UNIT, "address": "127.0.0.1:8080", "same_program": True}, {"unit": UNIT}),
        ("unit_memory", {"unit": UNIT, "service": UNIT}, {"unit": UNIT}),
        ("unit_binary", {"unit": UNIT, "service": UNIT, "replaced": True}, {"unit": UNIT}),
    ],
)
def test_one_fault_leads_to_one_disturbing_order_by_the_facts_that_were_found(check, finding, params):
    t = Timeline(shipped().policy, labels=LABELS)
    t.seen(Status.CRIT, "", check=check, finding=finding)
    t.wait(6_000)
    for _ in range(2):
        if t.orders[-1].cost is Cost.HARMLESS:
            t.started(t.orders[-1])
            t.ended(t.orders[-1])
    (disturbing,) = [order for order in t.orders if order.cost is not Cost.HARMLESS]
    assert params.items() <= dict(disturbing.params).items()
