"""What the end-to-end tests share: a world with shops, waiting for incidents, and comparing ledgers with the journal."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from deploy.demo import shop
from deploy.demo.process import wait_for
from deploy.demo.shop import Shop
from deploy.demo.world import Host, World

Incident = dict[str, Any]
INCIDENT_TIMEOUT_S = 45.0


@contextmanager
def running(*names: str, delay_s: float = 0.0, attempts_max: int = 20) -> Iterator[tuple[World, list[Shop]]]:
    """A fleet of one host with these shops, all of them well."""
    with World(heartbeat_ms=500) as world:
        shops = [Shop.in_world(world, name, delay_s, attempts_max) for name in names]
        try:
            shop.start(world, *shops)
            yield world, shops
        finally:
            for one in shops:
                one.stop()


@dataclass(slots=True)
class Watch:
    """The incidents of one check that are opened after the watch begins: what happened before is not mistaken for them."""

    world: World
    check: str
    known: frozenset[str] = frozenset()

    @classmethod
    def begin(cls, world: World, check: str) -> Watch:
        """From now on, with nothing of that check open from before."""
        wait_for(f"{check} to be calm", lambda: not is_open(world, check), INCIDENT_TIMEOUT_S, world.controller, every_s=0.2)
        return cls(world, check, frozenset(incident["id"] for incident in world.incidents()))

    def until(self, what: str, is_so: Callable[[Incident], bool]) -> dict[str, Any]:
        """The details of the newest incident once it is so."""
        found: list[Incident] = []

        def look() -> bool:
            fresh = [i for i in self.world.incidents() if i["check"] == self.check and i["id"] not in self.known]
            found[:] = fresh[:1]
            return bool(found) and is_so(found[0])

        wait_for(f"an incident of {self.check} {what}", look, INCIDENT_TIMEOUT_S, self.world.controller, every_s=0.2)
        return dict(self.world.cli("incidents", "show", found[0]["id"]))


def is_open(world: World, check: str) -> bool:
    """Whether an incident of a check goes on."""
    return any(incident["check"] == check and not ended(incident) for incident in world.incidents())


def healed(incident: Incident) -> bool:
    """Ended by an action that was proved."""
    return bool(incident["phase"] == "resolved" and incident["why"] == "healed")


def ended(incident: Incident) -> bool:
    """Not in anybody's hands any more, whatever the way."""
    return bool(incident["phase"] == "resolved")


def escalated(incident: Incident) -> bool:
    """In the hands of people."""
    return bool(incident["phase"] == "escalated")


def ledger_of(host: Host) -> list[dict[str, Any]]:
    """What the executor wrote down, in order."""
    if not host.ledger.exists():
        return []
    return [json.loads(line)["record"] for line in host.ledger.read_text().splitlines()]


def begun_orders(host: Host) -> Counter[str]:
    """How often the executor's ledger says that each order began."""
    return Counter(record["order_id"] for record in ledger_of(host) if record["kind"] == "begin")


def outcomes(host: Host) -> dict[str, list[str]]:
    """Every end of each order, as the executor sealed it."""
    found: dict[str, list[str]] = {}
    for record in ledger_of(host):
        if record["kind"] == "end":
            found.setdefault(record["order_id"], []).append(json.loads(record["payload"])["outcome"])
    return found


def assert_ledger_agrees(world: World, host: Host) -> None:
    """No order ran twice, everything that ran was ordered and had the end that the journal has, and nothing else has one."""
    begun, ended = begun_orders(host), outcomes(host)
    assert [order for order, count in begun.items() if count != 1] == []
    here = [incident["id"] for incident in world.incidents() if incident["host_name"] == host.name]
    attempts = [attempt for incident in here for attempt in world.cli("incidents", "show", incident)["attempts"]]
    told = {attempt["order_id"]: attempt["outcome"] for attempt in attempts}
    assert set(begun) <= set(ended), "an order that began has no end"
    assert ended == {order: [told[order]] for order in ended}
    assert {order for order, outcome in told.items() if outcome in {"done", "failed"}} <= set(begun)
