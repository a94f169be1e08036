"""What the journal and the executors' ledgers must say together, whatever was killed: one function a promise.

Pure: rows of the journal and records of ledgers in, sentences about broken promises out. The lab and the end-to-end tests
feed it what real processes left on disk; tests/unit/tools/test_promises.py shows that each promise can be seen broken.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

Record = Mapping[str, Any]
DISTURBING = ("disruptive", "destructive")
# What an order can come to without anything in the executor's ledger: the agent refused it, or it was lost on the way.
MAY_LACK_A_RECORD = ("refused", "expired", "unknown")


@dataclass(frozen=True)
class Row:
    """One row of the journal."""

    seq: int
    epoch: int
    at_ms: int
    kind: str
    host: str
    incident: str
    body: dict[str, Any]

    def effects(self, name: str) -> list[dict[str, Any]]:
        """Effects of one type that this decision asked for."""
        return [effect for effect in self.body.get("effects", []) if effect["type"] == name]

    def is_event(self, *names: str) -> bool:
        """Whether it is an event of one of these types."""
        return self.kind == "event" and self.body["type"] in names


@dataclass(frozen=True)
class Evidence:
    """A journal, and each host's ledger by the host's id."""

    journal: Sequence[Row]
    ledgers: Mapping[str, Sequence[Record]] = field(default_factory=dict)

    @property
    def orders(self) -> dict[str, dict[str, Any]]:
        """Every order that the journal says was sent, by id; the first sending counts."""
        found: dict[str, dict[str, Any]] = {}
        for row in self.journal:
            for effect in row.effects("SendOrder"):
                found.setdefault(effect["order"]["id"], effect["order"] | {"sent_at_ms": row.at_ms})
        return found

    @property
    def ends(self) -> dict[str, list[str]]:
        """The outcomes of each order that were reported, as the journal has them."""
        found: dict[str, list[str]] = {}
        for row in self.journal:
            if row.is_event("OrderEnded"):
                found.setdefault(row.body["order"], []).append(row.body["outcome"])
        return found

    def records(self, *kinds: str) -> Iterator[tuple[str, Record]]:
        """Records of these kinds with the id of their host."""
        for host, entries in self.ledgers.items():
            yield from ((host, entry) for entry in entries if entry["kind"] in kinds)


def outcome_of(end: Record) -> dict[str, Any]:
    """The sealed outcome in an `end` record."""
    found: dict[str, Any] = json.loads(end["payload"])
    return found


def nothing_ran_twice(evidence: Evidence) -> list[str]:
    """Each order begins at most once and ends at most once in the ledgers."""
    counts = Counter((entry["kind"], entry["order_id"]) for _, entry in evidence.records("begin", "end"))
    return [f"{order} has {times} records of kind {kind}" for (kind, order), times in counts.items() if times > 1]


def nothing_ran_unordered(evidence: Evidence) -> list[str]:
    """What a ledger holds was ordered, by the journal, from that host and for that action."""
    orders, broken = evidence.orders, []
    for host, entry in evidence.records("begin", "end"):
        order = orders.get(entry["order_id"])
        if order is None:
            broken.append(f"{host} has {entry['order_id']}, which the journal never sent")
        elif (order["host"], order["action"]) != (host, entry["action"]):
            broken.append(f"{entry['order_id']} was for {order['host']}: {order['action']}, but {host} has {entry['action']}")
    return broken


def every_end_was_heard(evidence: Evidence) -> list[str]:
    """The journal has the outcome that the ledger has, for every order, and never another one."""
    ends, broken = evidence.ends, []
    for _, entry in evidence.records("end"):
        told, outcome = ends.get(entry["order_id"], []), outcome_of(entry)["outcome"]
        if set(told) != {outcome}:
            broken.append(f"{entry['order_id']} ended {outcome} in the ledger, and in the journal {told or 'not at all'}")
    return broken


def every_report_is_recorded(evidence: Evidence) -> list[str]:
    """An outcome that only a started action can have stands in the ledger of its host, begun and ended."""
    begun = {entry["order_id"] for _, entry in evidence.records("begin")}
    ended = {entry["order_id"] for _, entry in evidence.records("end")}
    orders = evidence.orders
    told = [(order, outcome) for order, outcomes in evidence.ends.items() for outcome in outcomes]
    return [
        f"the journal says that {order} ended {outcome}, but no ledger has it begun and ended"
        for order, outcome in told
        if order in orders and orders[order]["host"] in evidence.ledgers
        if outcome not in MAY_LACK_A_RECORD and not (order in begun and order in ended)
    ]


def every_order_ends_once(evidence: Evidence) -> list[str]:
    """Each order that was sent has exactly one end in the decisions."""
    ended = Counter(effect["order"] for row in evidence.journal for effect in row.effects("ActionEnded"))
    return [f"{order} has {ended[order]} ends instead of one" for order in evidence.orders if ended[order] != 1]


def nothing_ran_too_late_or_elsewhere(evidence: Evidence) -> list[str]:
    """Nothing begins after its expiry on the host's boot clock, or on another boot than it was given for."""
    orders, broken = evidence.orders, []
    for _, entry in evidence.records("begin"):
        order = orders.get(entry["order_id"])
        if order is None:
            continue
        if entry["boot_id"] != order["boot"]:
            broken.append(f"{order['id']} was for boot {order['boot']} and ran on {entry['boot_id']}")
        if entry["started_clock_ms"] >= order["expires_clock_ms"]:
            broken.append(f"{order['id']} expired at {order['expires_clock_ms']} and began at {entry['started_clock_ms']}")
    return broken


def epochs_never_fall(evidence: Evidence) -> list[str]:
    """No host obeys an older decider after a newer one."""
    broken = []
    for host, entries in evidence.ledgers.items():
        highest = 0
        for entry in (entry for entry in entries if entry["kind"] == "begin"):
            if entry["epoch"] < highest:
                broken.append(f"{host} began {entry['order_id']} of epoch {entry['epoch']} after epoch {highest}")
            highest = max(highest, entry["epoch"])
    return broken


def one_at_a_time(evidence: Evidence) -> list[str]:
    """Two disturbing orders never run on one host at the same time."""
    return [
        f"{host} ran {first} until {end} and {second} from {begin}"
        for host in evidence.ledgers
        for spans in _disturbing_spans(evidence, host).values()
        for (_, end, first), (begin, _, second) in pairwise(sorted(spans))
        if begin < end
    ]


def _disturbing_spans(evidence: Evidence, host: str) -> dict[str, list[tuple[int, int, str]]]:
    """Begin, end and order of what disturbed a host, by boot. What has no end yet counts as its first instant."""
    orders, entries = evidence.orders, evidence.ledgers[host]
    ends = {entry["order_id"]: outcome_of(entry)["ended_clock_ms"] for entry in entries if entry["kind"] == "end"}
    spans: dict[str, list[tuple[int, int, str]]] = {}
    for entry in entries:
        order = orders.get(entry["order_id"]) if entry["kind"] == "begin" else None
        if order is not None and order["cost"] in DISTURBING:
            begin = entry["started_clock_ms"]
            spans.setdefault(entry["boot_id"], []).append((begin, ends.get(order["id"], begin), order["id"]))
    return spans


def a_pause_is_a_pause(evidence: Evidence) -> list[str]:
    """No order of a playbook is given while everything is paused."""
    paused, until_ms, broken = False, None, []
    given: set[str] = set()
    for row in evidence.journal:
        if row.is_event("Paused") and row.body["scope"] == "global":
            paused, until_ms = True, row.body["until_ms"]
        elif row.is_event("Resumed") and row.body["scope"] == "global":
            paused = False
        in_force = paused and (until_ms is None or row.at_ms < until_ms)
        for effect in row.effects("SendOrder"):
            order = effect["order"]
            if in_force and order["id"] not in given:
                broken.append(f"{order['id']} was given in row {row.seq}, while everything is paused")
            given.add(order["id"])
    return broken


def budgets_are_kept(evidence: Evidence, hosts_at_once_max: int) -> list[str]:
    """No more hosts than the budget allows are worked on at once: from an order until its incident is proved, waits or ends."""
    working: dict[str, str] = {}
    broken = []
    orders: dict[str, dict[str, Any]] = {}
    for row in evidence.journal:
        for effect in row.effects("SendOrder"):
            orders[effect["order"]["incident"]] = effect["order"]
        for effect in row.effects("PhaseChanged"):
            incident, order = effect["incident"], orders.get(effect["incident"])
            if effect["after"] in ("ordered", "running", "proving") and order is not None and order["cost"] in DISTURBING:
                working[incident] = order["host"]
            elif effect["after"] in ("held", "resolved", "escalated", "open"):
                working.pop(incident, None)
        at_once = sorted(set(working.values()))
        if len(at_once) > hosts_at_once_max:
            broken.append(
                f"row {row.seq}: {len(at_once)} hosts are worked on at once, {hosts_at_once_max} are allowed: {at_once}"
            )
    return broken


def time_goes_forward(evidence: Evidence) -> list[str]:
    """No decider begins before the newest row of the one before it, whatever the system's clock was set to meanwhile.

    Within one life an event may wait and be overtaken by a moment; the core takes it as of now.
    """
    broken, newest, epoch = [], 0, 0
    for row in evidence.journal:
        if row.epoch > epoch and row.at_ms < newest:
            broken.append(f"row {row.seq} of epoch {row.epoch} is at {row.at_ms}, epoch {epoch} was at {newest} already")
        newest, epoch = max(newest, row.at_ms), max(epoch, row.epoch)
    return broken


PROMISES: tuple[Callable[[Evidence], list[str]], ...] = (
    nothing_ran_twice,
    nothing_ran_unordered,
    every_end_was_heard,
    every_report_is_recorded,
    every_order_ends_once,
    nothing_ran_too_late_or_elsewhere,
    epochs_never_fall,
    one_at_a_time,
    a_pause_is_a_pause,
    time_goes_forward,
)


def broken_promises(evidence: Evidence) -> list[str]:
    """Every sentence of every promise."""
    return [f"{promise.__name__}: {sentence}" for promise in PROMISES for sentence in promise(evidence)]
