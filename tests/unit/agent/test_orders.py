"""An order's way to the executor and back, with an executor that misbehaves as it is told."""

from __future__ import annotations

import asyncio

from fleetmend.v1 import link_pb2 as pb
from fleetmend_agent.checks import Status
from fleetmend_agent.executor_client import AnswerLost, ExecutorRefused, ExecutorUnreachable, SealedOutcome
from fleetmend_agent.orders import LOST_TRIES_MAX, ORDERS_MAX, REFUSED_MAX, UNREACHABLE_TRIES, Desk, Orders, refused_in
from fleetmend_agent.outbox import Outbox

ORDER = pb.SealedOrder(order_id="ord-1-1", payload=b"{}", mac=b"m", check="units", key="a.service")
DONE = SealedOutcome("ord-1-1", b'{"outcome":"done"}', b"mac")


class World:
    def __init__(self, *script, latest=Status.CRIT, refused=()):
        self.script = list(script)
        self.handed_over, self.withdrawn = [], []
        self.started, self.outcomes, self.asked, self.slept = [], [], [], []
        self.gate = asyncio.Event()
        self.gate.set()
        desk = Desk(
            latest=lambda check, key: latest,
            started=lambda order, ms: self.started.append((order, ms)),
            outcome=self.outcomes.append,
            ask=lambda check, key: self.asked.append((check, key)),
            clock_ms=lambda: 77,
            sleep=self.sleep,
        )
        self.orders = Orders(self, desk, refused)

    async def sleep(self, seconds):
        self.slept.append(seconds)

    async def order(self, payload, mac, started):
        self.handed_over.append((payload, mac))
        await self.gate.wait()
        item = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(item, Exception):
            raise item
        started("ord-1-1", 55)
        return item

    async def withdraw(self, payload, mac):
        self.withdrawn.append((payload, mac))
        item = self.script[0]
        if isinstance(item, Exception):
            raise item
        return item

    async def settle(self):
        while self.orders._tasks:
            await asyncio.wait(list(self.orders._tasks.values()))


def scenario(test):
    asyncio.run(test())


def test_an_order_is_handed_over_its_start_and_outcome_told_and_its_subject_looked_at():
    async def test():
        world = World(DONE)
        world.orders.take(ORDER)
        await world.settle()
        assert world.handed_over == [(b"{}", b"m")]
        assert world.started == [("ord-1-1", 55)]
        assert [(each.order_id, each.payload, each.mac, each.agent_refusal) for each in world.outcomes] == [
            ("ord-1-1", DONE.payload, DONE.mac, "")
        ]
        assert world.asked == [("units", "a.service")]

    scenario(test)


def test_an_order_whose_fault_is_gone_is_withdrawn():
    async def test():
        world = World(SealedOutcome("ord-1-1", b'{"outcome":"refused","reason":"fault_gone"}', b"mac"), latest=Status.OK)
        world.orders.take(ORDER)
        await world.settle()
        assert world.handed_over == []
        assert world.outcomes[0].agent_refusal == "fault_gone"
        assert "units a.service was OK" in world.outcomes[0].detail

    scenario(test)


def test_a_fault_that_is_gone_because_the_order_healed_it_keeps_the_order_s_outcome():
    async def test():
        world = World(DONE, latest=Status.OK)
        world.orders.take(ORDER)
        await world.settle()
        assert (world.handed_over, world.withdrawn) == ([], [(b"{}", b"m")])
        assert (world.outcomes[0].payload, world.outcomes[0].agent_refusal) == (DONE.payload, "")

    scenario(test)


def test_what_nobody_knows_is_not_gone_and_an_order_without_subject_has_no_condition():
    async def test():
        world = World(DONE, latest=None)
        world.orders.take(ORDER)
        await world.settle()
        assert len(world.handed_over) == 1
        world = World(DONE, latest=Status.OK)
        world.orders.take(pb.SealedOrder(order_id="ord-2-1", payload=b"{}", mac=b"m"))
        await world.settle()
        assert len(world.handed_over) == 1
        assert world.asked == []

    scenario(test)


def test_an_order_under_way_is_not_carried_twice_but_again_after_its_end():
    async def test():
        world = World(DONE)
        world.gate.clear()
        world.orders.take(ORDER)
        await asyncio.sleep(0)
        world.orders.take(ORDER)
        world.gate.set()
        await world.settle()
        assert len(world.handed_over) == 1
        world.orders.take(ORDER)
        await world.settle()
        assert len(world.handed_over) == 2
        assert len(world.outcomes) == 2

    scenario(test)


def test_an_executor_out_of_reach_is_tried_three_times_and_then_said():
    async def test():
        world = World(ExecutorUnreachable("cannot reach the executor: no such file"))
        world.orders.take(ORDER)
        await world.settle()
        assert len(world.handed_over) == UNREACHABLE_TRIES
        assert world.outcomes[0].agent_refusal == "executor_unreachable"
        assert "no such file" in world.outcomes[0].detail

    scenario(test)


def test_an_executor_that_comes_back_in_time_gets_the_order():
    async def test():
        world = World(ExecutorUnreachable("x"), ExecutorRefused("not_enrolled", "y"), DONE)
        world.orders.take(ORDER)
        await world.settle()
        assert world.outcomes[0].payload == DONE.payload
        assert world.slept == [0.2, 0.5]

    scenario(test)


def test_a_lost_answer_is_asked_for_again_and_never_called_unreachable():
    async def test():
        world = World(AnswerLost("it broke"), *[ExecutorUnreachable("gone")] * 5, ExecutorRefused("busy", "under way"), DONE)
        world.orders.take(ORDER)
        await world.settle()
        assert [each.agent_refusal for each in world.outcomes] == [""]
        world = World(AnswerLost("it broke"))
        world.orders.take(ORDER)
        await world.settle()
        assert len(world.handed_over) == LOST_TRIES_MAX
        assert world.outcomes == []

    scenario(test)


def test_what_the_executor_will_not_take_is_told_with_its_word():
    async def test():
        world = World(ExecutorRefused("bad_seal", "its seal does not match"))
        world.orders.take(ORDER)
        world.orders.take(pb.SealedOrder(order_id="ord-9-1", payload=b"\xff"))
        await world.settle()
        assert [(each.agent_refusal, each.detail) for each in world.outcomes] == [
            ("unreadable", "bad_seal: its seal does not match"),
            ("unreadable", "cannot read the order: its text is not UTF-8"),
        ]

    scenario(test)


def test_what_was_refused_stays_refused():
    """The controller may have given another order by the time that the executor is back: both must not run."""

    async def test():
        world = World(*[ExecutorUnreachable("gone")] * UNREACHABLE_TRIES, DONE)
        world.orders.take(ORDER)
        await world.settle()
        world.orders.take(ORDER)
        await world.settle()
        assert len(world.handed_over) == UNREACHABLE_TRIES
        assert [outcome.agent_refusal for outcome in world.outcomes] == ["executor_unreachable"] * 2
        other = pb.SealedOrder(order_id="ord-1-2", payload=b"{}", mac=b"m")
        world.orders.take(other)
        await world.settle()
        assert world.outcomes[-1].payload == DONE.payload

    scenario(test)


def test_a_refusal_that_waits_in_the_outbox_outlives_the_agent(tmp_path):
    async def test():
        outbox = Outbox(tmp_path, "boot", 1 << 20)
        refusal = pb.OrderOutcome(order_id="ord-1-1", agent_refusal="executor_unreachable")
        for record in (pb.Record(observation=pb.Observation(check="c")), pb.Record(outcome=refusal)):
            outbox.append(record.SerializeToString())
        world = World(DONE, refused=refused_in(outbox))
        world.orders.take(ORDER)
        await world.settle()
        assert world.handed_over == []
        assert world.outcomes[0].agent_refusal == "executor_unreachable"
        outbox.ack(2)
        assert list(refused_in(outbox)) == []
        outbox.close()

    scenario(test)


def test_the_agent_remembers_a_bounded_number_of_refusals():
    async def test():
        world = World(DONE)
        for number in range(REFUSED_MAX + 5):
            world.orders.take(pb.SealedOrder(order_id=f"ord-{number}-1", payload=b"\xff", mac=b"m"))
            await world.settle()
        assert len(world.orders._refused) == REFUSED_MAX
        assert "ord-0-1" not in world.orders._refused

    scenario(test)


def test_orders_run_side_by_side_up_to_a_number():
    async def test():
        world = World(DONE)
        world.gate.clear()
        for index in range(ORDERS_MAX + 3):
            world.orders.take(pb.SealedOrder(order_id=f"ord-{index}-1", payload=b"{}"))
        await asyncio.sleep(0)
        assert len(world.handed_over) == ORDERS_MAX
        await world.orders.stop()
        assert world.outcomes == []

    scenario(test)
