"""Impossible worlds are refused: a simulation that lets them pass would prove nothing about real ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fleetmend_controller.core.effects import AskWitness
from fleetmend_controller.core.events import (
    AlertSaid,
    Approve,
    DeciderStarted,
    Drained,
    EvidenceConfirmed,
    HostConnected,
    HostSilent,
    Observed,
    OrderEnded,
    OrderStarted,
    PermitUsed,
    PolicyLoaded,
    WitnessSaid,
)
from fleetmend_controller.core.inquiry import Reach
from fleetmend_controller.core.model import Order, Outcome, Status

from .host import Record, Server
from .nature import Impossible
from .outside import ALERT
from .swarm import Swarm
from .world import World

UNIT = "u0.service"
CALM = Swarm(3, 1, 60_000, fault_every_ms=10**9, action_ms=2_000)


WORLDS: list[Callable[[World], None]] = []


def impossible(happens: Callable[[World], None]) -> Callable[[World], None]:
    """Add a world to those that must be refused."""
    WORLDS.append(happens)
    return happens


def running() -> World:
    """A world in which nothing goes wrong, a minute old."""
    world = World(1, swarm=CALM)
    for server in world.everyone:
        server.look_at_all()
    world.brain.start(first=True)
    world.time.run_until(world.time.now_ms + 60_000)
    return world


def ordered(world: World, ms: int = 500) -> tuple[Server, Order]:
    """A host whose unit broke, and the first disruptive order for it, some time after it was given."""
    server = world.everyone[0]
    world.trouble.fail(server, UNIT)
    while not any(o.action == "restart_unit" for o in world.checker.books.issued.values()):
        world.time.run_until(world.time.now_ms + 10)
    world.time.run_until(world.time.now_ms + ms)
    return server, next(o for o in world.checker.books.issued.values() if o.action == "restart_unit")


def observed(world: World, server: Server, **changes: object) -> Observed:
    """A report of this moment."""
    clock = server.clock_ms()
    parts: dict[str, object] = {"status": Status.OK, "boot": server.boot, "sampled_clock_ms": clock, "clock_ms": clock}
    parts |= {"finding": {"unit": UNIT}, "summary": "", **changes}
    return Observed(world.brain.now_ms(), server.id, "unit_failed", "unit_failed", UNIT, **parts)


@impossible
def an_order_begins_before_it_was_sent(world: World) -> None:
    server, order = ordered(world)
    del world.nature.sent_ms[order.id]
    world.brain.take([OrderStarted(world.brain.now_ms(), server.id, order.id, server.box, server.next_seq - 1)])


@impossible
def an_order_begins_that_no_host_began(world: World) -> None:
    server, order = ordered(world)
    del world.nature.begun[order.id]
    world.brain.take([OrderStarted(world.brain.now_ms(), server.id, order.id, server.box, server.next_seq - 1)])


@impossible
def an_order_ends_before_it_began(world: World) -> None:
    server, order = ordered(world)
    begun = world.nature.begun[order.id].clock_ms
    server.add(Record(0, server.boot, "ended", order=order.id, outcome=Outcome.DONE, clock_ms=begun - 100))
    world.time.run_until(world.time.now_ms + 60_000)


@impossible
def an_order_ends_that_never_began(world: World) -> None:
    server = world.everyone[0]
    server.add(Record(0, server.boot, "ended", order="ord-1-1", outcome=Outcome.DONE, clock_ms=server.clock_ms()))
    world.time.run_until(world.time.now_ms + 60_000)


@impossible
def an_order_is_refused_where_it_never_was(world: World) -> None:
    server, other = ordered(world)[0], world.everyone[1]
    assert server is not other
    clock = other.clock_ms()
    other.add(Record(0, other.boot, "ended", order="ord-1-2", outcome=Outcome.REFUSED, clock_ms=clock))
    world.time.run_until(world.time.now_ms + 60_000)


@impossible
def an_order_arrives_that_nobody_sent(world: World) -> None:
    server, order = ordered(world, ms=0)
    del world.nature.sent_ms[order.id]
    server.receive_order(order, 1)


@impossible
def a_host_that_is_off_writes_a_record(world: World) -> None:
    server = world.everyone[0]
    server.power_off(lambda: None)
    server.snapshot()


@impossible
def a_host_that_is_off_says_hello(world: World) -> None:
    server = world.everyone[0]
    server.power_off(lambda: None)
    world.brain.take([HostConnected(world.brain.now_ms(), server.id, server.boot, server.clock_ms())])


@impossible
def a_host_that_is_off_acts(world: World) -> None:
    server, order = ordered(world)
    server.power_off(lambda: None)
    world.nature.began(server, order)


@impossible
def a_host_that_is_cut_off_says_hello(world: World) -> None:
    server = world.everyone[0]
    server.partitioned = True
    world.brain.take([HostConnected(world.brain.now_ms(), server.id, server.boot, server.clock_ms())])


@impossible
def a_boot_begins_twice(world: World) -> None:
    world.nature.on(world.everyone[0])


@impossible
def a_boot_is_told_that_never_was(world: World) -> None:
    server = world.everyone[0]
    world.brain.take([HostConnected(world.brain.now_ms(), server.id, "h-0-boot-9", server.clock_ms())])


@impossible
def the_clock_of_a_boot_goes_backwards_at_hello(world: World) -> None:
    server = world.everyone[0]
    server.booted_ms += 90_000
    world.unlink(server)
    world.link(server)


@impossible
def the_clock_of_a_boot_goes_backwards_in_the_outbox(world: World) -> None:
    server = world.everyone[0]
    server.asked("unit_failed", UNIT)
    server.booted_ms += 30_000
    server.asked("unit_failed", UNIT)
    world.time.run_until(world.time.now_ms + 60_000)


@impossible
def a_clock_is_ahead_of_its_boot(world: World) -> None:
    server = world.everyone[0]
    world.brain.take([HostConnected(world.brain.now_ms(), server.id, server.boot, server.clock_ms() + 600_000)])


@impossible
def an_agent_reports_what_no_check_saw(world: World) -> None:
    world.brain.take([observed(world, world.everyone[0], status=Status.CRIT)])


@impossible
def an_agent_reports_with_a_record_that_it_never_wrote(world: World) -> None:
    world.brain.take([observed(world, world.everyone[0], outbox=world.everyone[0].box, seq=99)])


@impossible
def an_agent_reports_from_the_future(world: World) -> None:
    server = world.everyone[0]
    server.asked("unit_failed", UNIT)
    sampled = server.sampled["unit_failed", UNIT]
    world.brain.take([observed(world, server, sampled_clock_ms=sampled, clock_ms=sampled - 1)])


@impossible
def a_heartbeat_confirms_what_no_check_saw(world: World) -> None:
    server = world.everyone[0]
    clock = server.clock_ms()
    event = EvidenceConfirmed(world.brain.now_ms(), server.id, "unit_failed", UNIT, server.boot, clock, clock)
    world.brain.take([event])


@impossible
def a_linked_host_is_called_silent(world: World) -> None:
    world.brain.take([HostSilent(world.brain.now_ms(), "h-0", 30_000)])


def used(world: World, permit: str) -> PermitUsed:
    """A host tells that it used a permit now."""
    server = world.everyone[0]
    clock = server.clock_ms()
    what = ("restart", "restart_unit", (("unit", UNIT),), 20_000, 5_000, 30_000, "unit_failed", "unit_failed", UNIT)
    return PermitUsed(
        world.brain.now_ms(),
        server.id,
        permit,
        *what,
        {"unit": UNIT},
        "crit",
        server.boot,
        clock,
        clock,
        clock,
        clock,
        11_000,
        False,
    )


@impossible
def a_permit_was_used_that_no_host_used(world: World) -> None:
    world.brain.take([used(world, "permit-h-0-1-1")])


@impossible
def a_permit_was_used_at_another_time(world: World) -> None:
    world.nature.began_alone(world.everyone[0], "permit-h-0-1-1")
    world.time.run_until(world.time.now_ms + 1_000)
    world.brain.take([used(world, "permit-h-0-1-1")])


@impossible
def a_host_that_is_off_heals_alone(world: World) -> None:
    server = world.everyone[0]
    server.power_off(lambda: None)
    world.nature.began_alone(server, "permit-h-0-1-1")


@impossible
def an_alert_fires_that_nobody_saw(world: World) -> None:
    now_ms = world.brain.now_ms()
    world.brain.take([AlertSaid(now_ms, "h-0", ALERT, UNIT, Status.CRIT, {}, "it is down", now_ms, now_ms, 0)])


@impossible
def a_witness_says_what_it_never_saw(world: World) -> None:
    world.nature.witnessed(AskWitness("inc-1", "h-0", "h-1", "h-2", 1), Reach.REACHED)
    world.brain.take([WitnessSaid(world.brain.now_ms(), "h-0", "inc-1", "h-1", 1, Reach.NOT_REACHED, "")])


@impossible
def a_witness_looks_and_is_off(world: World) -> None:
    world.neighbours.die(world.servers["h-1"])
    world.nature.witnessed(AskWitness("inc-1", "h-0", "h-1", "h-2", 1), Reach.NOT_REACHED)


@impossible
def the_controller_ends_what_it_never_began(world: World) -> None:
    now_ms = world.brain.now_ms()
    world.brain.take([OrderEnded(now_ms, "h-0", "ord-1-1", Outcome.DONE, "", "", "h-0-boot-1", 1, 1)])


@impossible
def a_hook_answers_that_nobody_called(world: World) -> None:
    world.brain.take([Drained(world.brain.now_ms(), "h-0", "ord-1-1", True, "")])


@impossible
def somebody_approves_what_nobody_was_asked(world: World) -> None:
    world.brain.take([Approve(world.brain.now_ms(), "ord-1-1", "ann", "x")])


@impossible
def an_epoch_comes_twice(world: World) -> None:
    world.brain.take([DeciderStarted(world.brain.now_ms(), world.brain.epoch)])


@impossible
def rules_come_into_force_that_do_not_exist(world: World) -> None:
    world.brain.take([PolicyLoaded(world.brain.now_ms(), "p99", "ann")])


@impossible
def time_goes_backwards(world: World) -> None:
    world.time.now_ms -= 61_000
    world.brain.take([DeciderStarted(world.brain.now_ms(), world.brain.epoch + 1)])


@pytest.mark.parametrize("happens", WORLDS, ids=lambda happens: happens.__name__)
def test_an_impossible_world_is_refused(happens: Callable[[World], None]):
    world = running()
    with pytest.raises(Impossible, match="the world is impossible"):
        happens(world)


def test_there_are_many_ways_to_be_impossible():
    assert len(WORLDS) >= 20


def test_a_world_without_trouble_is_possible():
    world = running()
    server, order = ordered(world, ms=60_000)
    assert world.checker.books.words[order.id].outcome == "done"
    assert not server.bad
