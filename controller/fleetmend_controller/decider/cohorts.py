"""When a storm is noticed: compares the hosts that fail with those that do not, for the log and the audit trail.

Outside the core, and after the page: what comes of it decides nothing.
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

from ..cohort import Difference, difference, fact_traits, label_traits
from ..core.effects import Escalated
from ..core.model import Fleet
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
_IN_CHUNK = 500


class Audit(Protocol):
    """How a row gets into the journal."""

    async def __call__(self, what: str, who: str, host: str, detail: dict[str, str], incident: str = "") -> None:
        """Append it."""


@dataclass(frozen=True, slots=True)
class Sides:
    """Labels by host: those that fail, and those that do not."""

    failing: dict[str, dict[str, str]]
    healthy: dict[str, dict[str, str]]


class Cohorts:
    """Works out and writes down what the hosts of a storm share."""

    def __init__(self, store: Store, fleet: Callable[[], Fleet], audit: Audit, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._fleet = fleet
        self._audit = audit
        self._now_ms = now_ms
        self._tasks: set[asyncio.Task[None]] = set()

    def storm(self, effect: Escalated) -> None:
        """A storm was paged. Returns at once."""
        task = asyncio.get_running_loop().create_task(self._compare(effect), name="decider-cohort")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """End what is under way: the next storm will be compared afresh."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("cannot compare the hosts of a storm", exc_info=task.exception())

    async def _compare(self, effect: Escalated) -> None:
        await asyncio.sleep(GATHER_S)
        check_type, now_s = effect.subject.key, self._now_ms() // 1000
        sides = split(self._fleet(), check_type)
        try:
            found = await self._store.read(lambda connection: compare(connection, sides, now_s))
            lines = [trait.text() for trait in found] or ["nothing that failing hosts share and healthy ones lack"]
            for line in lines:
                log.warning("incident=%s cohort of %s: %s", effect.incident, check_type, line)
            detail = {
                "check_type": check_type,
                "failing": str(len(sides.failing)),
                "healthy": str(len(sides.healthy)),
                "difference": "\n".join(lines),
            }
            await self._audit("cohort", "controller", "", detail, effect.incident)
        except (StoreUnavailable, JournalUnavailable, sa.exc.SQLAlchemyError) as error:
            log.warning("incident=%s cannot compare the hosts of the storm: %s", effect.incident, error)


def split(fleet: Fleet, check_type: str) -> Sides:
    """The hosts that have an open incident of this type of check, and those that have none at all."""
    failing = {i.subject.host: None for i in fleet.incidents.values() if i.fault == check_type}
    return Sides(
        {host.id: dict(host.labels) for host in fleet.hosts.values() if host.id in failing},
        {host.id: dict(host.labels) for host in fleet.hosts.values() if host.id not in fleet.by_host},
    )


def compare(connection: Connection, sides: Sides, now_s: int) -> list[Difference]:
    """Labels of all hosts, inventory of at most 2,000 of each side. For a worker thread."""
    names = sorted({name for side in (sides.failing, sides.healthy) for labels in side.values() for name in labels})
    return difference(*(_traits(connection, side, names, now_s) for side in (sides.failing, sides.healthy)))


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
