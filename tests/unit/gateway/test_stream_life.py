"""How streams begin, replace each other, fall silent and end."""

import asyncio

import grpc
import pytest

from fleetmend.v1 import link_pb2
from fleetmend_controller.core.events import HostConnected, HostEnrolled, HostSilent, Observed
from fleetmend_controller.core.model import Subject
from fleetmend_controller.rules import CheckSpec, SelectedCheck, Selector
from tests.unit.gateway.world import Link, eventually, failing, observation, serving


def run(scenario, tmp_path, **config):
    async def main():
        async with serving(tmp_path, **config) as world:
            await scenario(world)

    asyncio.run(main())


def test_removing_a_host_ends_its_stream_and_every_later_call(tmp_path):
    async def scenario(world):
        answer, identity = await world.enrol()
        link = Link(world, identity)
        await link.hello()
        await world.registry.remove(answer.host_id, "ann")
        messages, code = await link.end()
        assert messages[-1].bye.reason == "removed"
        assert code is grpc.StatusCode.PERMISSION_DENIED
        again = Link(world, identity)
        with failing(grpc.StatusCode.PERMISSION_DENIED):
            await again.hello()
        await again.channel.close()
        assert b"web-1" not in world.gateway.render()
        assert world.refused("revoked") == 1

    run(scenario, tmp_path)


@pytest.mark.parametrize("ticks", range(6))
def test_a_stream_that_ends_while_it_is_written_to_says_goodbye_all_the_same(ticks, tmp_path):
    async def scenario(world):
        answer, identity = await world.enrol()
        opened = world.gateway.sessions.open
        ending = []

        async def end_soon(session):
            for _ in range(ticks):
                await asyncio.sleep(0)
            session.end("removed")

        def open_and_end(session):
            opened(session)
            ending.append(asyncio.create_task(end_soon(session)))

        world.gateway.sessions.open = open_and_end
        link = Link(world, identity)
        first = await link.hello()
        messages, code = await link.end()
        assert [message.WhichOneof("message") for message in [first, *messages]][-2:] == ["permits", "bye"]
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert not world.gateway.sessions.is_online(answer.host_id)

    run(scenario, tmp_path)


def test_an_agent_that_does_not_read_leaves_nothing_behind(tmp_path):
    async def scenario(world):
        answer, identity = await world.enrol()
        link = Link(world, identity)
        await link.hello()
        session = world.gateway.sessions.get(answer.host_id)
        for _ in range(200):
            session.send(link_pb2.LinkResponse(check_now=link_pb2.CheckNow(check="x" * 100_000)))
        await asyncio.sleep(0.2)
        session.end("slow")
        await eventually(lambda: not any(task.get_name() == f"link-{answer.host_id}" for task in asyncio.all_tasks()))
        assert not world.gateway.sessions.is_online(answer.host_id)

    run(scenario, tmp_path)


def test_a_stream_ends_with_the_certificate_that_opened_it(tmp_path):
    async def scenario(world):
        answer, identity = await world.enrol()
        link = Link(world, identity)
        await link.hello()
        ends_ms = world.registry.get(answer.host_id).certificate_not_after_ms
        world.clock.now_ms = ends_ms - 1
        world.gateway._end_expired()
        await link.beat()
        assert world.gateway.sessions.get(answer.host_id).ending is None
        world.clock.now_ms = ends_ms
        messages, code = await link.end()
        assert messages[-1].bye.reason == "expired"
        assert "renew" in messages[-1].bye.detail
        assert code is grpc.StatusCode.UNAUTHENTICATED
        assert not world.gateway.sessions.is_online(answer.host_id)

    run(scenario, tmp_path)


def test_a_newer_stream_replaces_the_older_one(tmp_path):
    async def scenario(world):
        answer, identity = await world.enrol()
        old, new = Link(world, identity), Link(world, identity)
        await old.hello()
        await new.hello()
        messages, code = await old.end()
        assert messages[-1].bye.reason == "replaced"
        assert code is grpc.StatusCode.ABORTED
        assert world.gateway.sessions.is_online(answer.host_id)
        world.gateway.request_check(Subject(answer.host_id, "units", "nginx.service"))
        assert (await new.read("check_now")).check_now.key == "nginx.service"
        await new.close()

    run(scenario, tmp_path)


def test_two_machines_on_one_identity_are_flagged_and_the_newcomer_waits(tmp_path):
    async def scenario(world):
        _, identity = await world.enrol()
        first, second = Link(world, identity, boot="boot-a"), Link(world, identity, boot="boot-b")
        await first.hello()
        await second.hello()
        await first.end()
        third = Link(world, identity, boot="boot-a")
        bye = (await third.hello()).bye
        assert (bye.reason, bye.retry_after_ms) == ("replaced", 60_000)
        await third.channel.close()
        assert world.refused("clone_conflict") == 1
        assert [row[0] for row in world.decider.audits if row[0] == "clone_conflict"]
        await second.beat()
        await second.report((1, observation()))
        await second.acked(1)
        await second.close()

    run(scenario, tmp_path)


def test_silence_is_told_once_and_the_return_too(tmp_path):
    async def scenario(world):
        answer, identity = await world.enrol()
        link = Link(world, identity)
        await link.hello()
        await link.report((1, observation()))
        await link.acked(1)
        world.gateway.silence._looked_ms = None
        for _ in range(3):
            world.clock.now_ms += 2_000
            await world.gateway._tell_silence()
        assert world.decider.of(HostSilent) == []
        for _ in range(20):
            world.clock.now_ms += 2_000
            await world.gateway._tell_silence()
        (silent,) = world.decider.of(HostSilent)
        assert (silent.host, 30_000 < silent.silent_ms <= 34_000) == (answer.host_id, True)
        assert b'fleetmend_host_up{host="web-1"} 0' in world.gateway.render()
        assert b"fleetmend_check_status{" not in world.gateway.render()
        before = len(world.decider.of(HostConnected))
        await link.beat()
        await eventually(lambda: len(world.decider.of(HostConnected)) == before + 1)
        assert b'fleetmend_host_up{host="web-1"} 1' in world.gateway.render()
        assert b"fleetmend_check_status{" in world.gateway.render()
        await link.close()

    run(scenario, tmp_path)


def test_changed_rules_reach_the_hosts_that_they_concern(tmp_path):
    async def scenario(world):
        answer, identity = await world.enrol()
        _, bystander = await world.enrol("db-1", token=await world.token(labels={"role": "db"}))
        link, other = Link(world, identity), Link(world, bystander)
        await link.hello()
        await other.hello()
        check = CheckSpec("root", "filesystem_space", {"mount": "/"}, 30_000, 10_000)
        await world.put_in_force(SelectedCheck(Selector((("role", ("web",)),)), check))
        config = (await link.read("config")).config
        assert [spec.name for spec in config.checks] == ["root"]
        world.gateway.request_check(Subject(bystander.name, "x", ""))
        assert (await other.read()).WhichOneof("message") == "check_now"
        assert answer.host_id != bystander.name
        await link.close()
        await other.close()

    run(scenario, tmp_path)


def test_new_labels_lead_to_a_new_configuration_at_once(tmp_path):
    async def scenario(world):
        answer, identity = await world.enrol()
        check = CheckSpec("root", "filesystem_space", {"mount": "/"}, 30_000, 10_000)
        await world.put_in_force(SelectedCheck(Selector((("role", ("db",)),)), check))
        link = Link(world, identity)
        assert list((await link.hello()).welcome.config.checks) == []
        await world.registry.label(answer.host_id, {"role": "db"}, ())
        assert [spec.name for spec in (await link.read("config")).config.checks] == ["root"]
        await link.close()

    run(scenario, tmp_path)


def test_a_chattering_agent_is_slowed_and_nothing_of_it_is_lost(tmp_path):
    async def scenario(world):
        _, identity = await world.enrol()
        link = Link(world, identity)
        await link.hello()
        for number in range(600):
            await link.report((number + 1, observation(f"u{number}")))
        await link.acked(490)
        world.clock.now_ms += 3_000
        await link.acked(600)
        assert [event.seq for event in world.decider.of(Observed)] == list(range(1, 601))
        await link.close()

    run(scenario, tmp_path)


def test_a_host_that_the_decider_could_not_be_told_of_is_told_at_its_hello(tmp_path):
    async def scenario(world):
        world.decider.down = True
        answer, identity = await world.enrol()
        assert world.decider.of(HostEnrolled) == []
        world.decider.down = False
        link = Link(world, identity)
        await link.hello()
        await eventually(lambda: world.decider.of(HostConnected))
        kinds = [type(event) for event in world.decider.events]
        assert kinds.index(HostEnrolled) < kinds.index(HostConnected)
        assert world.decider.of(HostEnrolled)[0].host == answer.host_id
        await link.close()

    run(scenario, tmp_path)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"protocol_version": 2}, grpc.StatusCode.FAILED_PRECONDITION),
        ({"boot_id": ""}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"outbox_id": "a b"}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"sent_clock_ms": -1}, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_a_hello_that_cannot_be_is_refused(fields, code, tmp_path):
    async def scenario(world):
        _, identity = await world.enrol()
        link = Link(world, identity)
        with failing(code):
            await link.hello(**fields)
        await link.channel.close()
        assert len(world.gateway.sessions) == 0

    run(scenario, tmp_path)


def test_an_agent_that_does_not_read_is_cut_off(tmp_path):
    async def scenario(world):
        answer, identity = await world.enrol()
        link = Link(world, identity)
        await link.hello()
        session = world.gateway.sessions.get(answer.host_id)
        for number in range(200_000):
            world.gateway.request_check(Subject(answer.host_id, "units", f"{number}" + "x" * 500))
            if session.ending is not None:
                break
        assert session.ending.reason == "slow"
        await eventually(lambda: not world.gateway.sessions.is_online(answer.host_id))
        assert world.metrics.rpc_errors.labels("/fleetmend.v1.LinkService/Link")._value.get() == 0
        await link.close()

    run(scenario, tmp_path)
