"""The servers themselves: certificates that renew while serving, the socket, the enrolment's trail."""

import asyncio
import socket

import grpc
import pytest

from fleetmend.v1 import admin_pb2, admin_pb2_grpc
from fleetmend_controller.gateway.servers import CannotListen
from tests.unit.gateway.world import World, eventually, failing, serving

HALF_A_YEAR_MS = 183 * 24 * 3_600_000


def run(scenario, tmp_path, **config):
    async def main():
        async with serving(tmp_path, **config) as world:
            await scenario(world)

    asyncio.run(main())


async def ask(channel):
    return await admin_pb2_grpc.AdminServiceStub(channel).GetStatus(admin_pb2.GetStatusRequest(), timeout=5)


def presented(world):
    """The certificate that the server shows to a new connection."""
    import ssl

    context = ssl.create_default_context(cadata=world.authority.ca_pem.decode())
    address = ("127.0.0.1", world.servers.enrol_port)
    with (
        socket.create_connection(address, timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="fleetmend-controller") as tls,
    ):
        return tls.getpeercert()["serialNumber"]


def test_a_renewed_certificate_is_shown_to_new_connections_and_old_ones_go_on(tmp_path):
    async def scenario(world):
        before = await asyncio.to_thread(presented, world)
        async with world.channel(await world.operator()) as channel:
            await ask(channel)
            assert not await world.gateway._certificate.renew_if_due()
            world.clock.now_ms += HALF_A_YEAR_MS
            # Half a year ahead of the clock that the TLS libraries read, a certificate is not valid yet: renew in the past.
            world.gateway._certificate.identity = world.authority.renew_server((), world.certificates_ms)
            await ask(channel)
        assert await asyncio.to_thread(presented, world) != before

    run(scenario, tmp_path)


def test_the_certificate_is_renewed_at_half_its_life(tmp_path):
    async def scenario(world):
        old = world.gateway._certificate.identity
        world.clock.now_ms = old.renew_at_ms
        assert await world.gateway._certificate.renew_if_due()
        new = world.gateway._certificate.identity
        assert new.not_after_ms > old.not_after_ms
        assert new == world.authority.server_identity()
        assert not await world.gateway._certificate.renew_if_due()

    run(scenario, tmp_path)


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path):
    async def scenario():
        path = tmp_path / "run" / "admin.sock"
        path.parent.mkdir(mode=0o700)
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        async with serving(tmp_path):
            async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
                await ask(channel)
            second = World(tmp_path)
            with pytest.raises(CannotListen, match="another controller is listening there"):
                await second.start()
            second.store.close()
            async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
                await ask(channel)
        assert not path.exists()

    asyncio.run(scenario())


def test_a_file_in_place_of_the_socket_is_left_alone(tmp_path):
    async def scenario():
        path = tmp_path / "run" / "admin.sock"
        path.parent.mkdir()
        path.write_text("precious")
        world = World(tmp_path)
        with pytest.raises(CannotListen, match="not a socket"):
            await world.start()
        world.store.close()
        assert path.read_text() == "precious"

    asyncio.run(scenario())


def test_refused_enrolments_leave_a_bounded_trail_without_the_token(tmp_path):
    async def scenario(world):
        token = "fm1." + "0" * 12 + "." + "5" * 64
        for _ in range(6):
            with failing(grpc.StatusCode.UNAUTHENTICATED):
                await world.enrol("web-1", token)
        rows = [row for row in world.decider.audits if row[0] == "enrol_refused"]
        assert [(row[1], row[3]) for row in rows] == [("127.0.0.1", {"reason": "token", "hostname": "web-1"})] * 3
        assert "5555" not in repr(world.decider.audits)

    run(scenario, tmp_path)


@pytest.mark.parametrize("flushed_between", [True, False])
def test_inventory_is_kept_and_a_failed_section_keeps_its_last_body(flushed_between, tmp_path):
    from fleetmend.v1 import link_pb2
    from fleetmend_controller.store.tables import facts
    from tests.unit.gateway.world import Link

    async def scenario(world):
        answer, identity = await world.enrol()
        link = Link(world, identity)
        await link.hello()
        sections = [
            link_pb2.FactSection(name="os", json='{"id": "debian\\u001b[2J"}'),
            link_pb2.FactSection(name="cpu", json='{"cores": 2}'),
            link_pb2.FactSection(name="bad", json="[1"),
            link_pb2.FactSection(name="../x", json="{}"),
        ]
        await link.call.write(link_pb2.LinkRequest(facts=link_pb2.Facts(sections=sections)))
        failed = link_pb2.FactSection(name="cpu", error="cannot read /proc/cpuinfo")
        # Written together or one after the other, the last known body stays.
        if flushed_between:
            await eventually(lambda: world.rejected("bad_facts") == 2)
            await world.gateway.inventory.flush()
        await link.call.write(link_pb2.LinkRequest(facts=link_pb2.Facts(sections=[failed])))

        async def rows():
            await world.gateway.inventory.flush()
            found = await world.store.read(lambda c: c.execute(facts.select()).all())
            return {row.name: (row.body, row.error) for row in found if row.host == answer.host_id}

        async with asyncio.timeout(10):
            while (await rows()).get("cpu", ("", ""))[1] == "":
                await asyncio.sleep(0.01)
        assert await rows() == {
            "os": ('{"id":"debian [2J"}', ""),
            "cpu": ('{"cores":2}', "cannot read /proc/cpuinfo"),
        }
        assert world.rejected("bad_facts") == 2
        await world.registry.remove(answer.host_id, "ann")
        assert await rows() == {}
        await link.end()

    run(scenario, tmp_path)
