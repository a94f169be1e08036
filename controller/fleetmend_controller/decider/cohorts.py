"""Compares the hosts that have one fault with those that run it and are well, when the core asks for it.

What they share and the others lack goes back to the core as an event (a storm's page waits for it, and a cause in common is a
storm), into the log and into the audit trail.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..cohort import Difference, common_cause, difference, fact_traits, label_traits
from ..core.effects import CompareHosts
from ..core.events import CommonCause, Event
from ..core.model import Fleet
from ..rules import Labels, RuleSet
from ..store.engine import Store, StoreUnavailable
from ..store.tables import facts
from .ports import JournalUnavailable

log = logging.getLogger("fleetmend.decider")

# The first hosts make a storm, the others come a moment later.
GATHER_S = 1.0
# Sections of the inventory that say what a host is made of; the rest says how it does.
SECTIONS = ("agent", "boot", "cpu", "kernel", "os", "packages")
SIDE_HOSTS_MAX = 2_000
SECTION_CHARS_MAX = 256 * 1024
LINE_CHARS_MAX = 300
_IN_CHUNK = 500


class Core(Protocol):
    """What is asked of the decider."""

    fleet: Fleet
    rules: RuleSet

    async def submit(self, events: Sequence[Event]) -> None:
        """Journal and decide."""

    async def audit(self, what: str, who: str, host: str, detail: dict[str, str], incident: str = "") -> None:
        """Append a row to the audit trail."""


@dataclass(frozen=True, slots=True)
class Sides:
    """Labels by host: those that fail, and those that run the same checks and do not."""

    failing: dict[str, dict[str, str]]
    healthy: dict[str, dict[str, str]]


@dataclass(frozen=True, slots=True)
class Found:
    """What tells the sides apart: everything worth a line, and of it what chance does not explain."""

    lines: tuple[str, ...]
    cause: tuple[str, ...]


class Cohorts:
    """Works out and writes down what hosts that fail together share."""

    def __init__(self, store: Store, core: Core, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._core = core
        self._now_ms = now_ms
        self._tasks: set[asyncio.Task[None]] = set()

    def compare(self, effect: CompareHosts) -> None:
        """The core asks. Returns at once."""
        task = asyncio.get_running_loop().create_task(self._compare(effect), name="decider-cohort")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """End what is under way: the core pages without it."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("cannot compare hosts that fail together", exc_info=task.exception())

    async def _compare(self, effect: CompareHosts) -> None:
        await asyncio.sleep(GATHER_S)
        fault, now_s = effect.fault, self._now_ms() // 1000
        sides = split(self._core.fleet, fault, self._core.rules.checks_for)
        try:
            found = await self._store.read(lambda connection: compare(connection, sides, now_s))
            storm = self._core.fleet.outbreaks.get(fault)
            told = found.lines if storm is not None else found.cause
            # A storm that came meanwhile has a comparison of its own under way.
            if effect.incident != storm.incident if storm is not None else not told:
                return
            await self._core.submit([CommonCause(self._now_ms(), fault, tuple(sides.failing), told)])
            outbreak = self._core.fleet.outbreaks.get(fault)
            await self._write_down(outbreak.incident if outbreak is not None else effect.incident, fault, sides, told)
        except (StoreUnavailable, JournalUnavailable, sa.exc.SQLAlchemyError) as error:
            log.warning("incident=%s cannot compare the hosts of the storm: %s", effect.incident, error)

    async def _write_down(self, incident: str, fault: str, sides: Sides, told: tuple[str, ...]) -> None:
        lines = told or ("nothing that failing hosts share and healthy ones lack",)
        for line in lines:
            log.warning("incident=%s cohort of %s: %s", incident, fault, line)
        detail = {
            "check_type": fault,
            "failing": str(len(sides.failing)),
            "healthy": str(len(sides.healthy)),
            "difference": "\n".join(lines),
        }
        await self._core.audit("cohort", "controller", "", detail, incident)


def split(fleet: Fleet, fault: str, checks_for: Callable[[Labels], Iterable[Any]]) -> Sides:
    """The hosts that have an open incident of this fault, and those that run one of the same checks and have none.

    Who does not run the check cannot fail it: that web servers fail what only web servers run says nothing.
    """
    failing: dict[str, None] = {}
    names: dict[str, None] = {}
    for incident in fleet.incidents.values():
        if incident.fault == fault and incident.subject.host in fleet.hosts:
            failing[incident.subject.host] = None
            names[incident.subject.check] = None
    runs = {host.id for host in fleet.hosts.values() if any(spec.name in names for spec in checks_for(host.labels))}
    if runs.isdisjoint(failing):
        # The rules do not say who runs it: then anybody may.
        runs = set(fleet.hosts)
    return Sides(
        {host.id: dict(host.labels) for host in fleet.hosts.values() if host.id in failing},
        {host.id: dict(host.labels) for host in fleet.hosts.values() if host.id in runs and host.id not in fleet.by_host},
    )


def compare(connection: Connection, sides: Sides, now_s: int) -> Found:
    """Labels of all hosts, inventory of at most 2,000 of each side. For a worker thread."""
    names = sorted({name for side in (sides.failing, sides.healthy) for labels in side.values() for name in labels})
    failing, healthy = (_traits(connection, side, names, now_s) for side in (sides.failing, sides.healthy))
    found = difference(failing, healthy)
    return Found(_lines(found), _lines(common_cause(failing, found)))


def _lines(found: Sequence[Difference]) -> tuple[str, ...]:
    return tuple(trait.text()[:LINE_CHARS_MAX] for trait in found)


def _traits(
    connection: Connection, side: Mapping[str, dict[str, str]], names: Sequence[str], now_s: int
) -> list[Mapping[str, str]]:
    known = _inventory(connection, _sample(side))
    return [label_traits(labels, names) | fact_traits(known.get(host, {}), now_s) for host, labels in side.items()]


def _sample(hosts: Iterable[str]) -> list[str]:
    """Evenly over the ids, which are random: the same hosts each time."""
    ordered = sorted(hosts)
    step = -(-len(ordered) // SIDE_HOSTS_MAX) or 1
    return ordered[::step]


def _inventory(connection: Connection, hosts: Sequence[str]) -> dict[str, dict[str, Any]]:
    known: dict[str, dict[str, Any]] = {}
    for start in range(0, len(hosts), _IN_CHUNK):
        wanted = sa.select(facts.c.host, facts.c.name, facts.c.body).where(
            facts.c.host.in_(hosts[start : start + _IN_CHUNK]),
            facts.c.name.in_(SECTIONS),
            facts.c.body != "",
            sa.func.length(facts.c.body) <= SECTION_CHARS_MAX,
        )
        for row in connection.execute(wanted):
            # The gateway lets only JSON objects into the table.
            known.setdefault(row.host, {})[row.name] = json.loads(row.body)
    return known
