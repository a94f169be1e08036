"""Whom the gateway lets probe what, and which answers count."""

from __future__ import annotations

import asyncio
import json

import pytest

from fleetmend.reach import Found, Try
from fleetmend.v1 import link_pb2
from fleetmend_controller.core.effects import AskWitness
from fleetmend_controller.core.events import WitnessSaid
from fleetmend_controller.core.inquiry import CONTROLLER, Reach, Stream
from fleetmend_controller.gateway.sessions import address_of
from fleetmend_controller.gateway.witnesses import addresses_of, judged

from .world import Link, eventually, serving

NETWORK = json.dumps({
    "interfaces": [
        {"name": "lo", "addresses": ["127.0.0.1/8"]},
        {"name": "eth0", "addresses": ["192.0.2.7/24", "2001:db8::7/64", "fe80::1/64"]},
        {"name": "docker0", "addresses": ["172.17.0.1/16"]},
    ]
})  # fmt: skip
REACHED = Try("192.0.2.7", 22, Found.REACHED, 3)
MISSED = Try("192.0.2.7", 22, Found.NO_ANSWER, 3000, "no answer within 3 s")
UNABLE = Try("192.0.2.7", 0, Found.UNABLE, 0, "Permission denied")


@pytest.mark.parametrize(
    ("peer", "network", "found"),
    [
        ("192.0.2.7", NETWORK, ["192.0.2.7"]),
        ("198.51.100.1", NETWORK, ["192.0.2.7", "2001:db8::7"]),
        ("198.51.100.1", "", ["198.51.100.1"]),
        ("127.0.0.1", "", []),
        ("", NETWORK, ["192.0.2.7", "2001:db8::7"]),
        ("", '{"interfaces": [{"name": 1}]}', []),
        ("", "[", []),
    ],
)
def test_a_host_is_looked_for_where_it_was_known_to_be(peer, network, found):
    assert addresses_of(peer, network) == found


def test_the_address_in_a_peers_name():
    assert address_of("ipv4:192.0.2.7:443") == "192.0.2.7"
    assert address_of("ipv6:%5B2001:db8::7%5D:443") == "2001:db8::7"
    assert address_of("unix:/run/x") == ""


@pytest.mark.parametrize(
    ("seen", "control", "unable", "reach"),
    [
        ([MISSED, REACHED], [], "", Reach.REACHED),
        ([MISSED, UNABLE], [REACHED], "", Reach.NOT_REACHED),
        ([MISSED], [MISSED], "", Reach.UNABLE),
        ([MISSED], [], "", Reach.UNABLE),
        ([MISSED], None, "", Reach.NOT_REACHED),
        ([UNABLE], [REACHED], "", Reach.UNABLE),
        ([], [REACHED], "", Reach.UNABLE),
        ([], None, "too many probes at once", Reach.UNABLE),
    ],
)
def test_a_miss_counts_only_from_who_reaches_others(seen, control, unable, reach):
    assert judged(seen, control, unable)[0] is reach


def run(scenario, folder):
    async def main():
        async with serving(folder) as world:
            await scenario(world)

    asyncio.run(main())


async def two_hosts(world, monkeypatch):
    monkeypatch.setattr("fleetmend_controller.gateway.witnesses.usable", lambda _address: True)
    token = await world.token(uses=2)
    (lost, lost_key), (witness, witness_key) = [
        await world.enrol(name, token, machine_id=letter * 32) for name, letter in (("web-1", "a"), ("web-2", "b"))
    ]
    links = [Link(world, lost_key), Link(world, witness_key, outbox="box-2")]
    for link in links:
        await link.hello()
    return lost.host_id, witness.host_id, links


def answer(probe, **fields):
    return link_pb2.LinkRequest(probed=link_pb2.Probed(probe_id=probe.probe_id, **fields))


def tried(result):
    return [link_pb2.ProbeTry(address="127.0.0.1", port=22, result=result, took_ms=3)]


def test_a_witness_is_asked_and_only_its_answer_counts(tmp_path, monkeypatch):
    async def scenario(world):
        lost, witness, links = await two_hosts(world, monkeypatch)
        world.gateway.ask_witness(AskWitness("inc-1", lost, witness, lost, 1))
        probe = (await links[1].read("probe")).probe
        assert list(probe.addresses) == ["127.0.0.1"]
        assert (list(probe.ports), probe.timeout_ms) == ([22], 3_000)
        missed, reached = tried(link_pb2.PROBE_RESULT_NO_ANSWER), tried(link_pb2.PROBE_RESULT_REACHED)
        # The lost host answers for itself, and somebody answers what was never asked.
        await links[0].call.write(answer(probe, tries=reached))
        await links[1].call.write(answer(link_pb2.Probe(probe_id="probe-none"), tries=reached))
        await eventually(lambda: world.rejected("unasked_probe") == 2)
        await links[1].call.write(answer(probe, tries=missed, control_tries=reached))
        await eventually(lambda: world.decider.of(WitnessSaid))
        (said,) = world.decider.of(WitnessSaid)
        assert (said.incident, said.witness, said.round, said.reach) == ("inc-1", witness, 1, Reach.NOT_REACHED)
        await links[1].call.write(answer(probe, tries=reached))
        await eventually(lambda: world.rejected("unasked_probe") == 3)
        assert len(world.decider.of(WitnessSaid)) == 1
        for link in links:
            await link.close()

    run(scenario, tmp_path)


def test_a_late_answer_is_none_and_hostile_words_are_cleaned(tmp_path, monkeypatch):
    async def scenario(world):
        lost, witness, links = await two_hosts(world, monkeypatch)
        world.gateway.ask_witness(AskWitness("inc-1", lost, witness, "", 1))
        probe = (await links[1].read("probe")).probe
        world.clock.now_ms += 60_000
        await links[1].call.write(answer(probe, unable="x"))
        await eventually(lambda: world.rejected("unasked_probe") == 1)
        world.gateway.ask_witness(AskWitness("inc-1", lost, witness, "", 2))
        probe = (await links[1].read("probe")).probe
        await links[1].call.write(answer(probe, unable="\x1b[2J" + "x" * 5000))
        await eventually(lambda: world.decider.of(WitnessSaid))
        (said,) = world.decider.of(WitnessSaid)
        assert said.reach is Reach.UNABLE
        assert "\x1b" not in said.text
        assert len(said.text) < 200
        for link in links:
            await link.close()

    run(scenario, tmp_path)


def test_the_controller_looks_itself_and_an_unknown_address_is_said(tmp_path):
    async def scenario(world):
        lost, _ = await world.enrol()
        world.gateway.ask_witness(AskWitness("inc-1", lost.host_id, CONTROLLER, "", 1))
        await eventually(lambda: world.decider.of(WitnessSaid))
        (said,) = world.decider.of(WitnessSaid)
        assert (said.witness, said.reach) == (CONTROLLER, Reach.UNABLE)
        assert "no address" in said.text

    run(scenario, tmp_path)


def test_how_a_stream_ended_is_remembered(tmp_path):
    async def scenario(world):
        answer_, identity = await world.enrol()
        sessions = world.gateway.sessions
        assert sessions.stream(answer_.host_id, world.clock()) is Stream.UNKNOWN
        link = Link(world, identity)
        await link.hello()
        heard_ms = world.clock()
        assert sessions.stream(answer_.host_id, heard_ms) is Stream.QUIET
        await link.close()
        await eventually(lambda: not sessions.is_online(answer_.host_id))
        assert sessions.stream(answer_.host_id, heard_ms) is Stream.ENDED
        assert sessions.stream(answer_.host_id, heard_ms - 40_000) is Stream.QUIET

    run(scenario, tmp_path)
