"""The agents' stream, spoken to over real mutual TLS."""

import asyncio

import pytest

from fleetmend.seal import derive_host_key, seal, unseal
from fleetmend.v1 import link_pb2
from fleetmend_controller.core.events import (
    EvidenceConfirmed,
    HostConnected,
    Observed,
    OrderEnded,
    OrderStarted,
    PersonSeen,
)
from fleetmend_controller.core.model import Cost, Order, Outcome, Status, Subject
from fleetmend_controller.pki.authority import read_master_secret
from fleetmend_controller.rules import CheckSpec, SelectedCheck, Selector
from tests.unit.gateway.world import BOOT, Link, eventually, observation, serving

OK, WARN, CRIT = link_pb2.STATUS_OK, link_pb2.STATUS_WARN, link_pb2.STATUS_CRIT


def run(scenario, tmp_path, **config):
    async def main():
        async with serving(tmp_path, **config) as world:
            await scenario(world)

    asyncio.run(main())


def order(host, number=1):
    return Order(
        id=f"ord-{number}-1",
        incident=f"inc-{number}",
        host=host,
        check="units",
        key="nginx.service",
        boot=BOOT,
        action="restart_unit",
        params=(("unit", "nginx.service"),),
        cost=Cost.DISRUPTIVE,
        timeout_ms=60_000,
        issued_ms=1,
        expires_ms=2,
        expires_clock_ms=90_000,
        requested_by="playbook restart",
    )


def outcome(world, host, order_id="ord-1-1", key_of=None, **changes):
    document = {
        "kind": "outcome",
        "v": 1,
        "order_id": order_id,
        "host_id": host,
        "boot_id": BOOT,
        "epoch": 7,
        "outcome": "done",
        "reason": "",
        "detail": "restarted",
        "started_clock_ms": 58_000,
        "ended_clock_ms": 59_000,
        "output": "ok\n\x1b[31mred",
        "commands": [],
    } | changes
    payload, mac = seal(derive_host_key(read_master_secret(world.config.state_dir), key_of or host), document)
    return link_pb2.OrderOutcome(order_id=order_id, payload=payload, mac=mac, ended_clock_ms=59_000)


def test_a_host_is_welcomed_with_its_checks_and_a_sealed_declaration(tmp_path):
    async def scenario(world):
        check = CheckSpec("root", "filesystem_space", {"mount": "/"}, 30_000, 10_000, 2, 2)
        await world.put_in_force(SelectedCheck(Selector((("role", ("web",)),)), check))
        answer, identity = await world.enrol()
        world.decider.acked[answer.host_id, "box-1"] = 41
        link = Link(world, identity)
        welcome = (await link.hello()).welcome
        assert (welcome.host_id, welcome.name, welcome.epoch, welcome.acked_seq) == (answer.host_id, "web-1", 7, 41)
        assert welcome.heartbeat_interval_ms == 10_000
        (spec,) = welcome.config.checks
        assert (spec.name, spec.params_json, spec.every_ms, spec.confirm_bad) == ("root", '{"mount":"/"}', 30_000, 2)
        document = unseal(
            answer.executor_key, welcome.config.declaration_payload, welcome.config.declaration_mac, "declaration"
        )
        assert document["host_id"] == answer.host_id
        assert (document["epoch"], document["units"]) == (7, {})
        await eventually(lambda: world.decider.of(HostConnected))
        (connected,) = world.decider.of(HostConnected)
        assert (connected.host, connected.boot, connected.clock_ms) == (answer.host_id, BOOT, 50_000)
        assert world.registry.get(answer.host_id).agent_version == "0.1.0"
        await link.close()

    run(scenario, tmp_path)


def test_only_transitions_reach_the_decider_and_every_record_is_acknowledged(tmp_path):
    async def scenario(world):
        answer, identity = await world.enrol()
        link = Link(world, identity)
        await link.hello()
        await link.report((1, observation()), (2, observation()), (3, observation(requested=True)), (4, observation("a", OK)))
        await link.acked(4)
        await link.report((5, observation(status=OK)))
        await link.acked(5)
        seen = [(event.key, event.status, event.seq) for event in world.decider.of(Observed)]
        assert seen == [
            ("nginx.service", Status.CRIT, 1),
            ("nginx.service", Status.CRIT, 3),
            ("nginx.service", Status.OK, 5),
        ]
        first = world.decider.of(Observed)[0]
        assert (first.host, first.outbox, first.boot) == (answer.host_id, "box-1", BOOT)
        assert first.clock_ms - first.sampled_clock_ms == 1_000
        await link.close()

    run(scenario, tmp_path)


def test_a_record_that_was_had_before_is_acknowledged_and_not_decided_again(tmp_path):
    async def scenario(world):
        _, identity = await world.enrol()
        link = Link(world, identity)
        await link.hello()
        for _ in range(3):
            await link.report((1, observation(requested=True)))
            await link.acked(1)
        assert len(world.decider.of(Observed)) == 1
        await link.close()

    run(scenario, tmp_path)


def test_while_the_journal_is_full_nothing_is_acknowledged_and_nothing_is_lost(tmp_path):
    async def scenario(world):
        answer, identity = await world.enrol()
        link = Link(world, identity)
        await link.hello()
        await eventually(lambda: world.decider.of(HostConnected))
        world.decider.down = True
        await link.report((1, observation()))
        await link.report((2, observation("b")))
        await link.report((1, observation()), (2, observation("b")))
        await link.beat(
            series=[link_pb2.Series(id=1, name="filesystem_used_ratio", check="root", key="/")], series_ids=[1], values=[0.5]
        )
        await eventually(lambda: b"fleetmend_filesystem_used_ratio{" in world.gateway.render())
        assert world.decider.of(Observed) == []
        world.decider.down = False
        await link.acked(2)
        assert [(event.key, event.seq) for event in world.decider.of(Observed)] == [("nginx.service", 1), ("b", 2)]
        assert world.gateway.is_up(answer.host_id)
        await link.close()

    run(scenario, tmp_path)


def test_what_a_snapshot_lacks_is_gone_if_its_check_has_spoken(tmp_path):
    async def scenario(world):
        answer, identity = await world.enrol()
        await world.put_in_force(SelectedCheck(Selector(), CheckSpec("mute", "unit_failed", {}, 1000, 1000)))
        world.decider.sick[answer.host_id] = {
            ("units", "old.service"): Status.CRIT,
            ("units", "still.service"): Status.CRIT,
            ("mute", "x"): Status.CRIT,
            ("dropped", "y"): Status.WARN,
            ("host_lost", ""): Status.CRIT,
            ("operator_run", "req-1"): Status.CRIT,
        }
        link = Link(world, identity)
        await link.hello()
        snapshot = link_pb2.Snapshot(
            observations=[observation("still.service"), observation("new.service"), observation("fine.service", OK)],
            checks=["units"],
        )
        await link.report((1, snapshot))
        await link.acked(1)
        told = {(event.check, event.key): event for event in world.decider.of(Observed)}
        assert {subject: event.status for subject, event in told.items()} == {
            ("units", "new.service"): Status.CRIT,
            ("units", "old.service"): Status.OK,
            ("dropped", "y"): Status.OK,
        }
        assert told["units", "old.service"].finding == {"gone": True}
        # One record, one number, on the last of its events: the others go into the journal with it.
        assert [event.seq for event in world.decider.of(Observed)] == [0, 0, 1]
        await link.close()

    run(scenario, tmp_path)


def test_a_heartbeat_confirms_only_what_is_asked_for_and_still_bad(tmp_path):
    async def scenario(world):
        answer, identity = await world.enrol()
        world.decider.wanted = {Subject(answer.host_id, "units", "nginx.service"), Subject(answer.host_id, "units", "b")}
        link = Link(world, identity)
        await link.hello()
        await link.report((1, observation()), (2, observation("c")))
        await link.acked(2)
        states = [
            link_pb2.SubjectState(check="units", key="nginx.service", status=CRIT, sampled_clock_ms=60_500),
            link_pb2.SubjectState(check="units", key="b", status=CRIT, sampled_clock_ms=60_500),
            link_pb2.SubjectState(check="units", key="c", status=CRIT, sampled_clock_ms=60_500),
        ]
        await link.beat(unhealthy=states)
        await eventually(lambda: world.decider.of(EvidenceConfirmed))
        (confirmed,) = world.decider.of(EvidenceConfirmed)
        assert (confirmed.key, confirmed.sampled_clock_ms, confirmed.clock_ms) == ("nginx.service", 60_500, 61_000)
        await link.close()

    run(scenario, tmp_path)


def test_an_order_goes_out_sealed_and_its_outcome_comes_back(tmp_path):
    async def scenario(world):
        answer, identity = await world.enrol()
        world.decider.orders["ord-1-1"] = answer.host_id
        link = Link(world, identity)
        await link.hello()
        world.gateway.send_order(order(answer.host_id), 7)
        sent = (await link.read("order")).order
        document = unseal(answer.executor_key, sent.payload, sent.mac, "order")
        assert (document["order_id"], document["boot_id"], document["epoch"]) == ("ord-1-1", BOOT, 7)
        assert (document["subject"], document["params"]) == (
            {"check": "units", "key": "nginx.service"},
            {"unit": "nginx.service"},
        )
        await link.report((1, link_pb2.OrderStarted(order_id="ord-1-1", started_clock_ms=58_000)))
        await link.report((2, outcome(world, answer.host_id)))
        await link.acked(2)
        (started,) = world.decider.of(OrderStarted)
        (ended,) = world.decider.of(OrderEnded)
        assert (started.order, started.seq) == ("ord-1-1", 1)
        assert (ended.order, ended.outcome, ended.ended_clock_ms, ended.seq) == ("ord-1-1", Outcome.DONE, 59_000, 2)
        assert "\x1b" not in ended.output
        await link.close()

    run(scenario, tmp_path)


FORGERIES = {
    "another host's name": ("foreign_outcome", lambda w, h, o: outcome(w, h, host_id=o)),
    "another host's seal": ("bad_seal", lambda w, h, o: outcome(w, h, key_of=o)),
    "another host's order": ("foreign_order", lambda w, h, o: outcome(w, h, order_id="ord-2-1")),
    "another order inside": ("foreign_outcome", lambda w, h, o: _inside(w, h)),
    "start of another's order": ("unknown_order", lambda w, h, o: link_pb2.OrderStarted(order_id="ord-2-1")),
    "refusal of an order never sent": (
        "unknown_order",
        lambda w, h, o: link_pb2.OrderOutcome(order_id="ord-9-9", agent_refusal="expired"),
    ),
    "no seal at all": ("bad_seal", lambda w, h, o: link_pb2.OrderOutcome(order_id="ord-1-1")),
}


def _inside(world, host):
    message = outcome(world, host, order_id="ord-3-1")
    message.order_id = "ord-1-1"
    return message


@pytest.mark.parametrize("case", FORGERIES)
def test_what_belongs_to_another_is_rejected_and_audited_and_the_stream_goes_on(case, tmp_path):
    reason, forge = FORGERIES[case]

    async def scenario(world):
        answer, identity = await world.enrol()
        other, _ = await world.enrol("web-2")
        world.decider.orders |= {"ord-1-1": answer.host_id, "ord-2-1": other.host_id, "ord-3-1": answer.host_id}
        link = Link(world, identity)
        await link.hello()
        await link.report((1, forge(world, answer.host_id, other.host_id)), (2, observation()))
        await link.acked(2)
        assert world.decider.of(OrderEnded) == world.decider.of(OrderStarted) == []
        assert [event.host for event in world.decider.of(Observed)] == [answer.host_id]
        assert world.rejected(reason) == 1
        await eventually(lambda: any(row[0] == "rejected_record" for row in world.decider.audits))
        (row,) = [row for row in world.decider.audits if row[0] == "rejected_record"]
        assert (row[1], row[3]["reason"]) == (answer.host_id, reason)
        await link.close()

    run(scenario, tmp_path)


def test_a_late_outcome_of_an_order_nobody_remembers_is_acknowledged_quietly(tmp_path):
    async def scenario(world):
        answer, identity = await world.enrol()
        link = Link(world, identity)
        await link.hello()
        await link.report((1, outcome(world, answer.host_id)))
        await link.acked(1)
        assert world.decider.of(OrderEnded) == []
        assert not [row for row in world.decider.audits if row[0] == "rejected_record"]
        await link.close()

    run(scenario, tmp_path)


def test_hostile_text_is_made_harmless_at_the_edge(tmp_path):
    async def scenario(world):
        _, identity = await world.enrol()
        link = Link(world, identity)
        await link.hello()
        nasty = observation(summary="a\x1b[2J\nb" + "x" * 9_000)
        nasty.finding["unit"].text = "n\x00\u202eginx"
        nasty.finding["Bad Name"].text = "dropped"
        nasty.finding["huge"].number = float("inf")
        nasty.finding["pid"].integer = 12
        await link.report((1, nasty), (2, observation("a\nb")), (3, observation(check="")), (4, observation(status=0)))
        await link.report((5, observation(check="host_lost", key="")), (6, observation(check="operator_run")))
        await link.acked(6)
        (seen,) = world.decider.of(Observed)
        assert seen.summary.startswith("a [2J b")
        assert len(seen.summary) <= 500
        assert seen.finding == {"unit": "n  ginx", "pid": 12}
        assert world.rejected("malformed") == 5
        await link.close()

    run(scenario, tmp_path)


def test_people_at_work_are_told_once_a_minute_while_they_are_there(tmp_path):
    async def scenario(world):
        answer, identity = await world.enrol()
        link = Link(world, identity)
        await link.hello()
        await link.beat(presence=["anna at pts/0", "apt-get at work"])
        await eventually(lambda: world.decider.of(PersonSeen))
        (seen,) = world.decider.of(PersonSeen)
        assert (seen.host, seen.who) == (answer.host_id, "anna at pts/0, apt-get at work")
        assert seen.until_ms == seen.at_ms + 15 * 60_000

        await link.beat(presence=["anna at pts/0"])
        await link.report((1, observation()))
        await link.acked(1)
        assert len(world.decider.of(PersonSeen)) == 1

        world.clock.now_ms += 60_000
        await link.beat(presence=["anna at pts/0"])
        await eventually(lambda: len(world.decider.of(PersonSeen)) == 2)
        world.clock.now_ms += 60_000
        await link.beat()
        await link.report((2, observation(status=OK)))
        await link.acked(2)
        assert len(world.decider.of(PersonSeen)) == 2
        await link.close()

    run(scenario, tmp_path)


def test_a_package_manager_is_believed_for_a_moment_only(tmp_path):
    async def scenario(world):
        _, identity = await world.enrol()
        link = Link(world, identity)
        await link.hello()
        for times in (1, 2):
            await link.beat(presence=["apt-get at work", "dpkg at work"])
            await eventually(lambda times=times: len(world.decider.of(PersonSeen)) == times)
        assert {seen.until_ms - seen.at_ms for seen in world.decider.of(PersonSeen)} == {30_000}
        await link.close()

    run(scenario, tmp_path)


def test_what_an_agent_says_of_people_is_cleaned_and_bounded(tmp_path):
    async def scenario(world):
        _, identity = await world.enrol()
        link = Link(world, identity)
        await link.hello()
        await link.beat(presence=["\x1b[31m\u202eanna", "", "\n", *["x" * 5_000] * 50])
        await eventually(lambda: world.decider.of(PersonSeen))
        (seen,) = world.decider.of(PersonSeen)
        assert seen.who == ", ".join(["[31m anna", *["x" * 100] * 5])
        await link.close()

    run(scenario, tmp_path)


def test_people_at_work_are_not_forgotten_over_a_journal_outage(tmp_path):
    async def scenario(world):
        _, identity = await world.enrol()
        link = Link(world, identity)
        await link.hello()
        await eventually(lambda: world.decider.of(HostConnected))
        world.decider.down = True
        await link.beat(presence=["anna at pts/0"])
        await asyncio.sleep(0.05)
        world.decider.down = False
        await eventually(lambda: world.decider.of(PersonSeen))
        await link.close()

    run(scenario, tmp_path)
