"""How an agent looks at another host: sockets on loopback, which only a test lets it use."""

from __future__ import annotations

import asyncio
import socket

import pytest

from fleetmend import reach
from fleetmend.reach import Found, look, usable
from fleetmend.v1 import link_pb2 as pb
from fleetmend_agent.host import Host
from fleetmend_agent.witness import AT_ONCE_MAX, PER_MINUTE_MAX, Witness


@pytest.fixture
def loopback(monkeypatch):
    monkeypatch.setattr(reach, "usable", lambda address: address.startswith("127."))


@pytest.fixture
def port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(8)
        yield listening.getsockname()[1]


@pytest.mark.parametrize("address", ["192.0.2.7", "10.0.0.1", "2001:db8::7", "fd00::1"])
def test_other_machines_may_be_looked_at(address):
    assert usable(address)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "169.254.1.1", "fe80::1", "::ffff:127.0.0.1", "x", ""],
)
def test_what_is_no_other_machine_is_never_looked_at(address):
    assert not usable(address)


def test_an_open_port_and_one_that_refuses_are_both_an_answer(loopback, port):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refusing = closed.getsockname()[1]
        found = asyncio.run(look(["127.0.0.1"], [port, refusing], 2.0))
    by_port = {t.port: t.found for t in found}
    assert by_port[port] is Found.REACHED
    assert by_port[refusing] is Found.REACHED
    assert set(by_port) == {port, refusing, 0}


def test_nothing_but_so_many_addresses_and_ports_is_tried(loopback):
    found = asyncio.run(look([f"127.0.0.{n}" for n in range(1, 9)], [1, 2, 3, 4, 5, 6, 70_000], 0.5))
    assert len({t.address for t in found}) == reach.ADDRESSES_MAX
    assert {t.port for t in found} == {0, 1, 2, 3, 4}


def probe(number=1, port=9, **fields):
    given = {"addresses": ["127.0.0.2"], "control_addresses": ["127.0.0.3"], "ports": [port], "timeout_ms": 500}
    return pb.Probe(probe_id=f"probe-{number}", **{**given, **fields})


class Desk:
    """An agent's witness with its answers."""

    def __init__(self, addresses=()):
        self.answers = []
        self.now = 1_000
        host = Host(ipv4_addresses=lambda: {"eth0": tuple(addresses)})
        self.witness = Witness(host, self.answers.append, lambda: self.now)

    async def until(self, count):
        async with asyncio.timeout(10):
            while len(self.answers) < count:
                await asyncio.sleep(0.01)


def test_what_is_found_is_answered_for_both_hosts(loopback):
    async def story():
        desk = Desk()
        desk.witness.take(probe())
        await desk.until(1)
        (said,) = desk.answers
        assert said.probe_id == "probe-1"
        # Nobody listens on port 9, and the kernel says so: the machine is up.
        assert {t.result for t in said.tries if t.port} == {pb.PROBE_RESULT_REACHED}
        assert {t.address for t in said.control_tries} == {"127.0.0.3"}

    asyncio.run(story())


def test_an_address_of_its_own_proves_nothing(loopback):
    async def story():
        desk = Desk(["127.0.0.2/8"])
        desk.witness.take(probe())
        await desk.until(1)
        assert desk.answers[0].unable
        assert not desk.answers[0].tries

    asyncio.run(story())


def test_too_many_at_once_or_a_minute_are_declined(loopback):
    async def story():
        desk = Desk()
        for number in range(AT_ONCE_MAX + 2):
            desk.witness.take(probe(number))
            desk.witness.take(probe(number))
        assert [a.unable for a in desk.answers if a.unable] == ["too many probes at once"] * 4
        await desk.until(AT_ONCE_MAX + 4)
        for number in range(100, 100 + PER_MINUTE_MAX):
            desk.witness.take(probe(number, addresses=[]))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        declined = sum(1 for a in desk.answers if a.unable == "too many probes at once")
        assert declined >= 4 + AT_ONCE_MAX
        await desk.witness.stop()

    asyncio.run(story())
