"""The stream: what is sent when, what happens when it breaks, and what the gateway may say."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from fleetmend.v1 import link_pb2 as pb
from fleetmend_agent import link
from fleetmend_agent.identity import IdentityError
from tests.unit.agent.gateway import Gateway, linked, until


def run(scenario, tmp_path, gateway=None):
    async def main():
        async with linked(tmp_path, gateway() if gateway else None) as (ours, theirs):
            async with asyncio.timeout(30):
                await scenario(ours, theirs)

    asyncio.run(main())


def test_hello_comes_first_and_records_follow_the_welcome_and_are_forgotten_when_acknowledged(tmp_path):
    async def scenario(ours, gateway):
        ours.keep(3)
        stream = await gateway.stream(1)
        await stream.until(lambda each: each.seqs == [1, 2, 3])
        assert stream.hello.protocol_version == 1
        assert stream.reports[0].outbox_id == ours.outbox.outbox_id
        assert stream.reports[0].boot_id == "boot-1"
        await ours.acked(3)
        assert ours.outbox.depth == 0
        assert ours.link.connected
        ours.keep()
        await stream.until(lambda each: each.seqs == [1, 2, 3, 4])

    run(scenario, tmp_path)


def test_what_the_journal_holds_already_is_not_sent_again(tmp_path):
    async def scenario(ours, gateway):
        gateway.welcome.acked_seq = 2
        ours.keep(3)
        stream = await gateway.stream(1)
        await stream.until(lambda each: each.seqs)
        assert stream.seqs == [3]

    run(scenario, tmp_path)


def test_what_was_not_acknowledged_is_sent_again_on_the_next_stream(tmp_path):
    async def scenario(ours, gateway):
        ours.keep(2)
        first = await gateway.stream(1)
        await first.until(lambda each: each.seqs == [1, 2])
        first.end(grpc.StatusCode.UNAVAILABLE, "the journal is full")
        second = await gateway.stream(2)
        await second.until(lambda each: each.seqs == [1, 2])
        assert "UNAVAILABLE: the journal is full" in ours.losses[0]

    run(scenario, tmp_path, lambda: Gateway(acks=False))


def test_a_late_acknowledgement_makes_it_send_again_on_the_same_stream(tmp_path, monkeypatch):
    monkeypatch.setattr(link, "RESEND_AFTER_S", 0.0)

    async def scenario(ours, gateway):
        ours.keep(2)
        stream = await gateway.stream(1)
        await stream.until(lambda each: each.seqs == [1, 2])
        ours.link.session.resend_late()
        await stream.until(lambda each: each.seqs == [1, 2, 1, 2])
        stream.send(ack=pb.Ack(outbox_id="of somebody else", seq=2))
        stream.send(ack=pb.Ack(outbox_id=ours.outbox.outbox_id, seq=2))
        await ours.acked(2)
        ours.link.session.resend_late()
        ours.keep()
        await stream.until(lambda each: len(each.seqs) == 5)
        assert stream.seqs[-1] == 3

    run(scenario, tmp_path, lambda: Gateway(acks=False))


def test_a_long_backlog_goes_out_in_order_in_batches(tmp_path):
    async def scenario(ours, gateway):
        stream = await gateway.stream(1)
        ours.keep(3 * link.BATCH_RECORDS_MAX)
        await stream.until(lambda each: len(each.seqs) == 3 * link.BATCH_RECORDS_MAX)
        assert stream.seqs == list(range(1, 3 * link.BATCH_RECORDS_MAX + 1))
        assert len(stream.reports) >= 3

    run(scenario, tmp_path)


def test_no_more_than_a_window_is_under_way(tmp_path, monkeypatch):
    monkeypatch.setattr(link, "WINDOW_RECORDS_MAX", 10)
    monkeypatch.setattr(link, "BATCH_RECORDS_MAX", 10)

    async def scenario(ours, gateway):
        stream = await gateway.stream(1)
        ours.keep(25)
        await stream.until(lambda each: len(each.seqs) == 10)
        stream.send(ack=pb.Ack(outbox_id=ours.outbox.outbox_id, seq=10))
        await stream.until(lambda each: len(each.seqs) == 20)

    run(scenario, tmp_path, lambda: Gateway(acks=False))


def test_the_gateway_s_messages_reach_their_desks_and_unknown_ones_are_passed_over(tmp_path):
    async def scenario(ours, gateway):
        stream = await gateway.stream(1)
        stream.send()
        stream.send(config=pb.AgentConfig(digest="d1"))
        stream.send(order=pb.SealedOrder(order_id="ord-1-1"))
        stream.send(check_now=pb.CheckNow(check="disk", key="/"))
        await until(lambda: ours.asked)
        assert [config.digest for config in ours.configs] == ["d1"]
        assert [order.order_id for order in ours.orders] == ["ord-1-1"]
        assert ours.asked == [("disk", "/")]

    run(scenario, tmp_path)


def test_of_gauges_and_facts_only_the_newest_waits_and_is_built_when_sent(tmp_path):
    async def scenario(ours, gateway):
        stream = await gateway.stream(1)
        await ours.up()
        built = []

        def build(number):
            def make(session):
                built.append(number)
                return pb.LinkRequest(heartbeat=pb.Heartbeat(sent_clock_ms=number))

            return make

        ours.link.session.want("heartbeat", build(1))
        ours.link.session.want("heartbeat", build(2))
        await stream.until(lambda each: each.others)
        assert [message.heartbeat.sent_clock_ms for message in stream.others] == [2]
        assert built == [2]

    run(scenario, tmp_path)


def test_bye_is_obeyed(tmp_path):
    async def scenario(ours, gateway):
        first = await gateway.stream(1)
        await first.until(lambda each: each.hello)
        begin = asyncio.get_running_loop().time()
        first.send(bye=pb.Bye(reason="shutting_down", detail="back soon", retry_after_ms=300))
        await gateway.stream(2)
        assert asyncio.get_running_loop().time() - begin >= 0.29
        assert "the controller said bye: shutting_down: back soon" in ours.losses[0]

    run(scenario, tmp_path)


@pytest.mark.parametrize("welcome", [pb.Welcome(protocol_version=2), pb.Welcome()])
def test_another_protocol_is_not_spoken(tmp_path, welcome):
    async def scenario(ours, gateway):
        await until(lambda: ours.losses)
        assert "update this agent" in ours.losses[0]
        assert ours.welcomes == []

    run(scenario, tmp_path, lambda: Gateway(welcome))


def test_a_refusal_is_told_and_tried_again(tmp_path):
    async def scenario(ours, gateway):
        gateway.refuse = (grpc.StatusCode.PERMISSION_DENIED, "the host was removed")
        await gateway.stream(2)
        assert "PERMISSION_DENIED: the host was removed" in ours.losses[0]
        gateway.refuse = None
        await ours.up()
        assert ours.link.problem == ""

    run(scenario, tmp_path)


def test_a_controller_that_comes_back_is_found_again(tmp_path):
    async def scenario(ours, gateway):
        stream = await gateway.stream(1)
        await stream.until(lambda each: each.hello)
        await gateway.stop()
        ours.keep()
        await until(lambda: not ours.link.connected)
        await gateway.start()
        second = await gateway.stream(2)
        await second.until(lambda each: each.seqs == [1])

    run(scenario, tmp_path)


def test_credentials_that_cannot_be_read_are_a_problem_not_a_crash(tmp_path):
    async def scenario(ours, gateway):
        ours.dial_problem = IdentityError("cannot read agent.key")
        await until(lambda: len(ours.losses) > 1)
        assert "cannot read agent.key" in ours.losses[-1]
        ours.dial_problem = None
        await gateway.stream(1)

    run(scenario, tmp_path)


def test_new_credentials_move_the_stream_without_a_gap(tmp_path):
    async def scenario(ours, gateway):
        first = await gateway.stream(1)
        await ours.up()
        before = ours.link.session
        ours.link.rotate()
        second = await gateway.stream(2)
        await first.ended.wait()
        assert ours.link.session is not before
        assert ours.link.connected
        assert ours.losses == []
        ours.keep()
        await second.until(lambda each: each.seqs == [1])
        assert first.seqs == []

    run(scenario, tmp_path)


def test_the_old_stream_stays_if_the_new_credentials_do_not_work_and_they_are_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(link, "MOVE_AGAIN_S", 0.2)

    async def scenario(ours, gateway):
        first = await gateway.stream(1)
        await ours.up()
        ours.dial_problem = IdentityError("cannot read agent.crt")
        ours.link.rotate()
        await asyncio.sleep(0.05)
        ours.keep()
        await first.until(lambda each: each.seqs == [1])
        assert ours.losses == []
        ours.dial_problem = None
        second = await gateway.stream(2)
        await first.ended.wait()
        ours.keep()
        await second.until(lambda each: each.seqs == [2])
        assert ours.losses == []

    run(scenario, tmp_path)
