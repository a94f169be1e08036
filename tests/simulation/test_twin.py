"""Copies share nothing that can change; fleets are the same only if the order of what they remember is, too."""

from __future__ import annotations

from fleetmend_controller.core.model import Fleet, Subject
from fleetmend_controller.store import codec

from . import twin
from .swarm import of_seed
from .world import World


def lived() -> Fleet:
    world = World(5)
    world.run()
    assert not of_seed(5, world.rng).quiet
    return world.brain.fleet


def test_a_copy_is_the_same_and_shares_nothing_that_can_change():
    fleet = lived()
    before = codec.encode(fleet)
    copied = twin.copy(fleet)
    assert twin.differing(fleet, copied) == []
    assert codec.encode(copied) == before
    for host in copied.hosts.values():
        host.labels["x"] = "y"
        host.orders_at["z"] = [1]
    for incident in copied.incidents.values():
        incident.attempts.clear()
        incident.finding["x"] = "y"
    for times in copied.attempts_at.values():
        times.append(1)
    copied.next_incident += 1
    assert codec.encode(fleet) == before
    assert {"hosts", "next_incident"} <= set(twin.differing(fleet, copied))


def test_the_order_of_what_is_remembered_counts():
    one, other = Fleet(), Fleet()
    for fleet, names in ((one, "ab"), (other, "ba")):
        for name in names:
            fleet.attempts_at[Subject("h", "c", name)] = [1]
    assert one == other
    assert twin.differing(one, other) == ["attempts_at"]
