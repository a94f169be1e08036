"""The resident agent as a whole, between a gateway, an executor and a machine of our own."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import struct

import pytest

from fleetmend.v1 import link_pb2 as pb
from fleetmend_agent import agent as module
from fleetmend_agent import identity, renewal
from fleetmend_agent.agent import Agent
from fleetmend_agent.call import Call
from fleetmend_agent.config import Settings
from fleetmend_agent.notify import Notifier
from tests.unit.agent.bus import running
from tests.unit.agent.gateway import Gateway, until


class Executor:
    """Answers hello, keeps declarations, and ends every order well."""

    def __init__(self, path):
        self.path = path
        self.requests = []

    async def serve(self, reader, writer):
        (length,) = struct.unpack(">I", await reader.readexactly(4))
        request = json.loads(await reader.readexactly(length))
        self.requests.append(request)
        match request["op"]:
            case "hello":
                self.send(writer, {"event": "hello", "permitted_actions": ["restart_unit"]})
            case "declaration":
                self.send(writer, {"event": "stored"})
            case _:
                order = json.loads(request["payload"])["order_id"]
                self.send(writer, {"event": "started", "order_id": order, "started_clock_ms": 5})
                self.send(writer, {"event": "outcome", "order_id": order, "payload": '{"outcome":"done"}', "mac": "00"})
        writer.close()

    @staticmethod
    def send(writer, document):
        body = json.dumps(document).encode()
        writer.write(struct.pack(">I", len(body)) + body)

    def ops(self):
        return [request["op"] for request in self.requests]


class World:
    """One agent's surroundings; they outlive its restarts."""

    def __init__(self, folder):
        self.state = folder / "state"
        self.state.mkdir(mode=0o700)
        for name, mode in ((identity.KEY, 0o600), (identity.CERTIFICATE, 0o644), (identity.CA, 0o644)):
            identity.write(self.state / name, b"x", mode)
        identity.save(self.state, identity.Identity("h-1", "web-1", 0, 1 << 60))
        self.stamp = folder / "stamp"
        self.settings = Settings(
            controller="unused:1",
            state_dir=str(self.state),
            executor_socket=str(folder / "executor.sock"),
            dbus_socket=str(folder / "no-bus"),
        )
        self.gateway = Gateway()
        self.gateway.welcome.heartbeat_interval_ms = 500
        self.executor = Executor(self.settings.executor_socket)
        self.renewals = 0
        self.renew_code = 0
        self.renew_trouble = None
        self.renew_again = asyncio.Event()

    async def renew(self):
        self.renewals += 1
        if self.renew_trouble is not None:
            if self.renewals == 1:
                return await self.renew_trouble(self)
            await self.renew_again.wait()
        identity.save(self.state, identity.Identity("h-1", "web-1", 1 << 60, 1 << 61))
        return self.renew_code

    def config(self, digest="d1", **options):
        spec = {"every_ms": 600_000, "timeout_ms": 5_000, "confirm_bad": 1, "confirm_good": 1}
        stamp = pb.CheckSpec(
            name="stamp", type="file_age", params_json=json.dumps({"path": str(self.stamp), "max_age": 60_000}), **spec
        )
        odd = pb.CheckSpec(name="odd", type="warp_core", **spec)
        return pb.AgentConfig(digest=digest, checks=[stamp, odd], **options)

    @contextlib.asynccontextmanager
    async def agent(self):
        class Ours(Agent):
            async def _dial(agent):  # noqa: N805 - self is the world
                return await Call.dial("127.0.0.1", self.gateway.port, None)

        ours = Ours(self.settings, Notifier({}), self.renew)
        async with running(ours.run()) as task:
            yield ours
            ours.stop()
            async with asyncio.timeout(1):
                await task


def run(tmp_path, scenario):
    async def main():
        world = World(tmp_path)
        await world.gateway.start()
        try:
            async with await asyncio.start_unix_server(world.executor.serve, world.executor.path), asyncio.timeout(20):
                await scenario(world)
        finally:
            await world.gateway.stop()

    asyncio.run(main())


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(module, "SNAPSHOT_DELAY_S", 0.05)
    monkeypatch.setattr(module, "START_SPREAD_MS", 50)


def records(stream, kind):
    everything = [record for report in stream.reports for record in report.records]
    return [getattr(record, kind) for record in everything if record.WhichOneof("body") == kind]


def observed(stream):
    return [(each.check, each.key, each.status, each.requested) for each in records(stream, "observation")]


OK, CRIT, UNKNOWN = pb.STATUS_OK, pb.STATUS_CRIT, pb.STATUS_UNKNOWN


def test_an_agent_says_hello_takes_its_checks_and_tells_what_it_sees(tmp_path):
    async def scenario(world):
        world.gateway.welcome.config.CopyFrom(world.config(declaration_payload=b"{}", declaration_mac=b"m"))
        async with world.agent() as agent:
            stream = await world.gateway.stream(1)
            await stream.until(lambda each: len(observed(each)) == 2)
            assert list(stream.hello.permitted_actions) == ["restart_unit"]
            assert stream.hello.config_digest == ""
            assert sorted(observed(stream)) == [("odd", "", UNKNOWN, False), ("stamp", "", CRIT, False)]
            await stream.until(lambda each: any(list(snapshot.checks) == ["stamp"] for snapshot in records(each, "snapshot")))
            assert {each.check: each.status for each in records(stream, "snapshot")[-1].observations} == {
                "odd": UNKNOWN,
                "stamp": CRIT,
            }
            await stream.until(lambda each: any(message.heartbeat.unhealthy for message in each.others))
            await until(lambda: world.executor.ops() == ["hello", "declaration"])
            await until(lambda: agent.outbox.depth == 0)

    run(tmp_path, scenario)


def test_a_file_that_changes_is_seen_at_once_by_its_signal(tmp_path):
    async def scenario(world):
        world.gateway.welcome.config.CopyFrom(world.config())
        async with world.agent():
            stream = await world.gateway.stream(1)
            await stream.until(lambda each: len(observed(each)) == 2)
            world.stamp.write_text("fresh")
            await stream.until(lambda each: ("stamp", "", OK, False) in observed(each))

    run(tmp_path, scenario)


def test_heartbeats_carry_gauges_once_and_all_facts_follow_the_welcome(tmp_path):
    async def scenario(world):
        world.stamp.write_text("fresh")
        world.gateway.welcome.config.CopyFrom(world.config())
        async with world.agent() as agent:
            stream = await world.gateway.stream(1)
            await stream.until(lambda each: any(message.heartbeat.series for message in each.others))
            await stream.until(lambda each: len([m for m in each.others if m.HasField("heartbeat")]) >= 4)
            names = [series.name for message in stream.others for series in message.heartbeat.series]
            assert len(names) == len(set(names)) > 0
            stats = stream.others[-1].heartbeat.stats if stream.others[-1].HasField("heartbeat") else None
            assert stats is None or (stats.resident_bytes > 0 and stats.cpu_seconds_total > 0)
            await stream.until(lambda each: {s.name for m in each.others for s in m.facts.sections} == set(agent._facts))

    run(tmp_path, scenario)


def test_a_question_and_an_order_are_answered(tmp_path):
    async def scenario(world):
        world.gateway.welcome.config.CopyFrom(world.config())
        async with world.agent():
            stream = await world.gateway.stream(1)
            await stream.until(lambda each: len(observed(each)) == 2)
            stream.send(check_now=pb.CheckNow(check="stamp"))
            await stream.until(lambda each: ("stamp", "", CRIT, True) in observed(each))
            payload = json.dumps({"order_id": "ord-1-1"}).encode()
            stream.send(order=pb.SealedOrder(order_id="ord-1-1", payload=payload, mac=b"m", check="stamp"))
            await stream.until(lambda each: observed(each).count(("stamp", "", CRIT, True)) == 2)
            (started,), (outcome,) = records(stream, "started"), records(stream, "outcome")
            assert (started.order_id, started.started_clock_ms) == ("ord-1-1", 5)
            assert (outcome.order_id, outcome.payload, outcome.agent_refusal) == ("ord-1-1", b'{"outcome":"done"}', "")

    run(tmp_path, scenario)


def test_without_controller_the_last_configuration_is_watched_and_told_later(tmp_path):
    async def scenario(world):
        world.stamp.write_text("fresh")
        world.gateway.welcome.config.CopyFrom(world.config())
        async with world.agent() as agent:
            stream = await world.gateway.stream(1)
            await stream.until(lambda each: any("stamp" in snapshot.checks for snapshot in records(each, "snapshot")))
            await until(lambda: agent.outbox.depth == 0)
            outbox_id, told = agent.outbox.outbox_id, agent.outbox.next_seq
        await world.gateway.stop()
        world.stamp.unlink()
        async with world.agent() as agent:
            await until(lambda: agent.runner.latest("stamp", "") is not None)
            assert agent.outbox.outbox_id == outbox_id
            assert agent.outbox.next_seq > told
            await world.gateway.start()
            world.gateway.welcome.acked_seq = told - 1
            again = await world.gateway.stream(2)
            await again.until(lambda each: ("stamp", "", CRIT, False) in observed(each))
            assert again.hello.config_digest == "d1"
            assert min(again.seqs) == told

    run(tmp_path, scenario)


def test_after_a_break_what_is_bad_is_looked_at_anew_at_once(tmp_path):
    async def scenario(world):
        world.gateway.welcome.heartbeat_interval_ms = 3_600_000
        world.gateway.welcome.config.CopyFrom(world.config())
        async with world.agent() as agent:
            stream = await world.gateway.stream(1)
            await stream.until(lambda each: len(observed(each)) == 2)
            before = agent.host.clock_ms()
            stream.end()
            again = await world.gateway.stream(2)
            await again.until(
                lambda each: any(
                    {state.check for state in message.heartbeat.unhealthy if state.sampled_clock_ms >= before}
                    == {"stamp", "odd"}
                    for message in each.others
                )
            )

    run(tmp_path, scenario)


def test_a_new_configuration_takes_over_and_what_is_gone_is_in_the_snapshot(tmp_path):
    async def scenario(world):
        world.gateway.welcome.config.CopyFrom(world.config())
        async with world.agent() as agent:
            stream = await world.gateway.stream(1)
            await stream.until(lambda each: len(observed(each)) == 2)
            only = world.config("d2")
            del only.checks[1]
            stream.send(config=only)
            await stream.until(
                lambda each: (
                    [[o.check for o in snapshot.observations] for snapshot in records(each, "snapshot")][-1:] == [["stamp"]]
                )
            )
            assert list(agent.runner.watches) == ["stamp"]

    run(tmp_path, scenario)


def test_a_certificate_past_its_half_life_is_renewed_and_the_stream_moves(tmp_path, monkeypatch):
    async def scenario(world):
        identity.save(world.state, identity.Identity("h-1", "web-1", 0, 1))
        async with world.agent() as agent:
            await world.gateway.stream(1)
            await until(lambda: agent.link.connected)
            await agent._renew_if_due()
            first, second = world.gateway.streams[0], await world.gateway.stream(2)
            await first.ended.wait()
            await second.until(lambda each: each.seqs)
            await agent._renew_if_due()
            assert world.renewals == 1

    run(tmp_path, scenario)


async def _no_process(_):
    raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")


async def _hangs(_):
    await asyncio.Event().wait()


async def _leaves_no_identity(world):
    (world.state / identity.IDENTITY).write_text("{")
    return 0


async def _fails(_):
    return 1


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (_no_process, "Resource temporarily unavailable"),
        (_hangs, "it took longer than"),
        (_leaves_no_identity, "identity.json"),
        (_fails, "exit code 1"),
    ],
    ids=["no process", "hangs", "no identity", "fails"],
)
def test_a_renewal_that_fails_is_said_and_tried_again_and_ends_nothing(tmp_path, monkeypatch, caplog, trouble, said):
    monkeypatch.setattr(module, "RENEW_CHECK_MS", 300)
    monkeypatch.setattr(renewal, "TIMEOUT_S", 0.1)

    async def first_try(world):
        # The next attempt waits for this test, however busy the machine: it must not be its success that ends the stream.
        monkeypatch.setattr(renewal, "TIMEOUT_S", 60)
        return await trouble(world)

    async def scenario(world):
        identity.save(world.state, identity.Identity("h-1", "web-1", 0, 1))
        world.renew_trouble = first_try
        async with world.agent() as agent:
            first = await world.gateway.stream(1)
            await until(lambda: "cannot renew the certificate" in caplog.text)
            assert said in caplog.text
            assert agent.link.connected
            assert not first.ended.is_set()
            world.renew_again.set()
            await world.gateway.stream(2)
            assert (world.renewals, agent.failed) == (2, False)

    run(tmp_path, scenario)


def test_a_damaged_configuration_is_passed_over_and_a_record_too_large_is_said(tmp_path, caplog):
    async def scenario(world):
        (world.state / "config.pb").write_bytes(b"\xff\xff\xff")
        async with world.agent() as agent:
            stream = await world.gateway.stream(1)
            agent._order_ended(pb.OrderOutcome(order_id="ord-1-1", payload=b"x" * (1 << 20)))
            await stream.until(lambda each: records(each, "snapshot"))
            assert records(stream, "outcome") == []

    run(tmp_path, scenario)
    assert "config.pb" in caplog.text
    assert "cannot report one outcome" in caplog.text


def test_a_clock_far_off_is_said(tmp_path, caplog):
    async def scenario(world):
        world.gateway.welcome.wall_ms = 1_000
        async with world.agent():
            await until((world.state / "welcome.json").exists)
        assert json.loads((world.state / "welcome.json").read_text())["skew_ms"] > 1_000_000

    run(tmp_path, scenario)
    assert "off the controller's" in caplog.text


def test_a_state_that_others_can_read_is_refused(tmp_path):
    async def scenario(world):
        (world.state / identity.KEY).chmod(0o644)
        with pytest.raises(identity.IdentityError, match="lets others in"):
            async with world.agent():
                pass

    run(tmp_path, scenario)
