"""Permits out, sealed; what hosts tell of their use back, believed only under their own seal or of their own permits."""

from __future__ import annotations

import asyncio
import json

import pytest

from fleetmend import permits
from fleetmend.seal import derive_host_key, seal, unseal
from fleetmend.v1 import link_pb2
from fleetmend_controller.core.effects import Grant, SendPermits
from fleetmend_controller.core.events import OrderEnded, PermitUsed
from fleetmend_controller.core.model import ActionStep, Cost, Outcome, Proof
from fleetmend_controller.pki.authority import read_master_secret
from tests.unit.gateway.world import BOOT, Link, eventually, observation, serving

RESTART = ActionStep("restart_unit", (("unit", "{finding.unit}"),), Cost.DISRUPTIVE, Proof(30_000, 10_000), 60_000)
EVIDENCE = ActionStep("collect_evidence", (), Cost.HARMLESS, None, 10_000)
REACH = '{"reach":{"checks":["unit_failed"],"where":null,"values":{"unit":["a.service"]}},"unless":[]}'
USE = {
    "playbook": "restart",
    "version": 7,
    "action": "restart_unit",
    "params": {"unit": "a.service"},
    "within_ms": 30_000,
    "stay_ok_ms": 10_000,
    "timeout_ms": 60_000,
    "check": "units",
    "check_type": "unit_failed",
    "key": "a.service",
    "summary": "it \x1b[31mfailed",
    "finding": {"unit": "a.service", "Odd Name": 1, "seconds": "0.5"},
    "since_clock_ms": 40_000,
    "sampled_clock_ms": 55_000,
    "away_ms": 42_000,
}


def given(host: str, **changes) -> SendPermits:
    grant = Grant("restart", (f"permit-{host}-1-1",), REACH, (EVIDENCE,), RESTART, 2_000, 5_000, 2, 3, 3_600_000)
    whole = {"host": host, "boot": BOOT, "version": 7, "expires_clock_ms": 90_000, "grants": (grant,), "fresh": 1}
    return SendPermits(**{**whole, "left_units": ("b.service",), "left_subjects": (("units", "b.service"),), **changes})


def run(scenario, tmp_path):
    async def main():
        async with serving(tmp_path) as world:
            answer, identity = await world.enrol()
            link = Link(world, identity)
            await link.hello()
            await scenario(world, link, answer)
            await link.close()

    asyncio.run(main())


def began(host: str, permit: str = "", said: object = USE) -> link_pb2.PermitUse:
    text = said if isinstance(said, str) else json.dumps(said)
    return link_pb2.PermitUse(permit_id=permit or f"permit-{host}-1-1", permit=text, started_clock_ms=58_000)


def ended(world, host: str, permit: str = "", key_of: str = "", **changes) -> link_pb2.PermitUse:
    permit = permit or f"permit-{host}-1-1"
    document = {
        "kind": "outcome",
        "v": 1,
        "order_id": permit,
        "host_id": host,
        "boot_id": BOOT,
        "epoch": 7,
        "outcome": "done",
        "reason": "done",
        "detail": "restarted",
        "started_clock_ms": 58_000,
        "ended_clock_ms": 59_000,
        "output": "",
        "commands": [],
        "permit": USE,
    } | changes
    payload, mac = seal(derive_host_key(read_master_secret(world.config.state_dir), key_of or host), document)
    return link_pb2.PermitUse(permit_id=permit, payload=payload, mac=mac)


def test_a_set_goes_out_sealed_as_hosts_read_it(tmp_path):
    async def scenario(world, link, answer):
        world.gateway.send_permits(given(answer.host_id), 9)
        sent = (await link.read("permits")).permits
        held = permits.parse(unseal(answer.executor_key, sent.payload, sent.mac, permits.KIND))
        assert (held.host_id, held.boot_id, held.age, held.expires_clock_ms) == (answer.host_id, BOOT, (9, 7), 90_000)
        (grant,) = held.grants
        assert (grant.playbook, grant.for_ms, grant.within_ms, grant.stay_ok_ms) == ("restart", 2_000, 30_000, 10_000)
        assert (grant.uses_max, grant.window_ms, grant.backoff_ms, grant.factor) == (3, 3_600_000, 5_000, 2)
        assert ([deed.action for deed in grant.first], grant.deed.action) == (["collect_evidence"], "restart_unit")
        assert grant.reach.values == {"unit": ("a.service",)}
        assert (held.left_units, held.left_subjects) == ({"b.service"}, {("units", "b.service")})

    run(scenario, tmp_path)


def test_a_set_for_another_boot_or_an_absent_host_goes_nowhere(tmp_path):
    async def scenario(world, link, answer):
        world.gateway.send_permits(given(answer.host_id, boot="another"), 9)
        world.gateway.send_permits(given("h-absent"), 9)
        world.gateway.send_permits(given(answer.host_id, version=8), 9)
        sent = (await link.read("permits")).permits
        assert permits.parse(json.loads(sent.payload)).version == 8

    run(scenario, tmp_path)


def test_a_host_that_is_removed_gets_an_empty_set_before_goodbye(tmp_path):
    async def scenario(world, link, answer):
        world.gateway.close_host(answer.host_id, "removed")
        sent = (await link.read("permits")).permits
        held = permits.parse(unseal(answer.executor_key, sent.payload, sent.mac, permits.KIND))
        assert (held.grants, held.age > (7, 10**15)) == ((), True)
        assert (await link.read("bye")).bye.reason == "removed"

    run(scenario, tmp_path)


def test_begin_and_end_of_a_use_reach_the_decider_cleaned_and_numbered(tmp_path):
    async def scenario(world, link, answer):
        host = answer.host_id
        await link.report((1, began(host)), (2, ended(world, host)))
        await link.acked(2)
        first, second = world.decider.of(PermitUsed)
        (end,) = world.decider.of(OrderEnded)
        assert (first.sealed, first.seq, second.sealed, second.seq, end.seq) == (False, 1, True, 0, 2)
        assert (first.permit, first.playbook, first.params) == (f"permit-{host}-1-1", "restart", (("unit", "a.service"),))
        assert (first.finding, first.away_ms) == ({"unit": "a.service", "seconds": "0.5"}, 42_000)
        assert (first.started_clock_ms, first.since_clock_ms) == (58_000, 40_000)
        assert "\x1b" not in first.summary
        assert (end.order, end.outcome, end.ended_clock_ms) == (first.permit, Outcome.DONE, 59_000)

    run(scenario, tmp_path)


FORGERIES = {
    "another host's permit": ("foreign_order", lambda w, h, o: began(h, f"permit-{o}-1-1")),
    "an order's id": ("foreign_order", lambda w, h, o: began(h, "ord-1-1")),
    "another host's seal": ("bad_seal", lambda w, h, o: ended(w, h, key_of=o)),
    "another host inside": ("foreign_outcome", lambda w, h, o: ended(w, h, host_id=o)),
    "another permit inside": ("foreign_outcome", lambda w, h, o: ended(w, h, order_id=f"permit-{h}-1-2")),
    "no use": ("malformed", lambda w, h, o: began(h, said="{")),
    "a use that lacks a part": ("malformed", lambda w, h, o: began(h, said={**USE, "params": None})),
    "a clock that is none": ("malformed", lambda w, h, o: began(h, said={**USE, "away_ms": -5})),
    "a check of the controller's own": ("malformed", lambda w, h, o: began(h, said={**USE, "check": "host_lost"})),
    "a hostile check": ("malformed", lambda w, h, o: began(h, said={**USE, "check": "a\nb"})),
    "an outcome without its use": ("malformed", lambda w, h, o: _without_use(w, h)),
}


@pytest.mark.parametrize("case", FORGERIES)
def test_what_is_not_its_own_or_not_whole_is_rejected_and_the_stream_goes_on(case, tmp_path):
    reason, forge = FORGERIES[case]

    async def scenario(world, link, answer):
        other, _ = await world.enrol("web-2")
        await link.report((1, forge(world, answer.host_id, other.host_id)), (2, observation()))
        await link.acked(2)
        assert world.decider.of(PermitUsed) == world.decider.of(OrderEnded) == []
        await eventually(lambda: world.rejected(reason) == 1)

    run(scenario, tmp_path)


def _without_use(world, host: str) -> link_pb2.PermitUse:
    permit = f"permit-{host}-1-1"
    key = derive_host_key(read_master_secret(world.config.state_dir), host)
    document = {"kind": "outcome", "order_id": permit, "host_id": host, "boot_id": BOOT, "outcome": "done", "ended_clock_ms": 1}
    payload, mac = seal(key, document)
    return link_pb2.PermitUse(permit_id=permit, payload=payload, mac=mac)
