"""The hosts of the fleet: who is enrolled, under which name and labels, and who was removed for ever.

The table is the truth about identities; the decider hears of changes as events. The table is written first. What the decider
could not be told (its journal is full, the process died between) is told later: by `announce`, or by `reconcile` at a start.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..core.events import HostEnrolled, HostRemoved
from ..decider.ports import DeciderPort, JournalUnavailable, KnownHost
from ..store.engine import Store
from ..store.tables import facts, hosts
from .authority import Authority, Issued
from .tokens import Presented, check_labels, spend

log = logging.getLogger(__name__)


class NameTaken(ValueError):
    """A living host has this name already."""


class UnknownHost(LookupError):
    """No living host has this id."""


@dataclass(frozen=True, slots=True)
class HostRecord:
    """One enrolled host. Times are Unix milliseconds; `last_seen_ms` is None until its agent first connected."""

    id: str
    name: str
    labels: dict[str, str]
    machine_id: str
    enrolled_ms: int
    certificate_serial: str
    certificate_not_after_ms: int
    last_seen_ms: int | None = None
    agent_version: str = ""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A server that became a host. `twins` are the ids of living hosts with the same machine id: a cloned disk?"""

    host: HostRecord
    issued: Issued
    twins: tuple[str, ...]


class Registry:
    """All living hosts in memory, so that a call is judged without the database; every change is durable before it counts."""

    def __init__(
        self, store: Store, decider: DeciderPort, clock: Callable[[], int], wall_ms: Callable[[], int] | None = None
    ) -> None:
        """`clock` dates events; `wall_ms`, the system's own clock, certificates and tokens (absent: the same)."""
        self._store = store
        self._decider = decider
        self._clock = clock
        self._wall_ms = wall_ms or clock
        self._living: dict[str, HostRecord] = {}
        self._names: dict[str, str] = {}
        self._untold: dict[str, HostEnrolled | HostRemoved] = {}
        self._seen: dict[str, tuple[int, str]] = {}
        self.on_removed: list[Callable[[str], None]] = []
        self.on_labelled: list[Callable[[str], None]] = []

    async def load(self) -> None:
        """Read the table. Call once, before anything is served."""
        living = sa.select(hosts).where(hosts.c.removed_ms.is_(None))
        for row in await self._store.read(lambda c: c.execute(living).all()):
            self._keep(_record(row))

    def __len__(self) -> int:
        return len(self._living)

    def all(self) -> list[HostRecord]:
        """Every living host, by name."""
        return [self._living[self._names[name]] for name in sorted(self._names)]

    def get(self, host_id: str) -> HostRecord | None:
        """The living host with this id."""
        return self._living.get(host_id)

    def find(self, id_or_name: str) -> HostRecord | None:
        """The living host with this id, or else with this name."""
        return self._living.get(id_or_name) or self._living.get(self._names.get(id_or_name, ""))

    async def enrol(self, authority: Authority, presented: Presented, csr_der: bytes, name: str, machine_id: str) -> Enrolled:
        """Spend the token, sign the certificate and keep the host, in one transaction: all of it or nothing.

        TokenRefused, BadRequest (see authority) or NameTaken say why not; StoreUnavailable if nothing can be kept now.
        """
        now_ms = self._wall_ms()
        host_id = f"h-{secrets.token_hex(8)}"

        def job(connection: Connection) -> Enrolled:
            labels = spend(connection, presented, now_ms)
            if connection.execute(_living_where(hosts.c.name == name)).first() is not None:
                raise NameTaken(
                    f"cannot enrol {name}: a host of that name is enrolled; `fleetmend hosts rm {name}` frees the name"
                )
            same_disk = _living_where(hosts.c.machine_id == machine_id).limit(8)
            twins = tuple(row.id for row in connection.execute(same_disk)) if machine_id else ()
            issued = authority.issue_agent(host_id, csr_der, now_ms)
            host = HostRecord(host_id, name, labels, machine_id, now_ms, issued.serial, issued.not_after_ms)
            connection.execute(hosts.insert().values(_row(host)))
            return Enrolled(host, issued, twins)

        enrolled = await self._store.write(job)
        self._keep(enrolled.host)
        await self._tell(HostEnrolled(self._clock(), host_id, name, enrolled.host.labels))
        return enrolled

    async def renewed(self, host_id: str, issued: Issued) -> None:
        """Keep which certificate a host got last. UnknownHost if it was removed meanwhile."""
        statement = (
            hosts.update()
            .where(hosts.c.id == host_id, hosts.c.removed_ms.is_(None))
            .values(certificate_serial=issued.serial, certificate_not_after_ms=issued.not_after_ms)
        )
        changed = await self._store.write(lambda c: c.execute(statement).rowcount)
        if changed != 1 or host_id not in self._living:
            raise UnknownHost(f"cannot renew the certificate of {host_id}: the host was removed")
        host = self._living[host_id]
        self._living[host_id] = replace(host, certificate_serial=issued.serial, certificate_not_after_ms=issued.not_after_ms)

    async def label(self, host_id: str, put: Mapping[str, str], drop: tuple[str, ...]) -> HostRecord:
        """Change labels. UnknownHost, KeyError for a label to drop that is not there, LabelError for one that cannot be."""
        host = self._require(host_id)
        labels = dict(host.labels)
        for label in drop:
            del labels[label]
        labels = check_labels({**labels, **put})
        statement = hosts.update().where(hosts.c.id == host_id, hosts.c.removed_ms.is_(None))
        text = json.dumps(labels, sort_keys=True)
        await self._store.write(lambda c: c.execute(statement.values(labels=text)))
        changed = replace(self._require(host_id), labels=labels)
        self._living[host_id] = changed
        for hear in self.on_labelled:
            hear(host_id)
        await self._tell(HostEnrolled(self._clock(), host_id, host.name, labels))
        return changed

    async def remove(self, host_id: str, by: str) -> HostRecord:
        """Remove a host for ever: its identity is refused from now on, its inventory forgotten, its name free. UnknownHost."""
        host = self._require(host_id)
        now_ms = self._clock()

        def job(connection: Connection) -> None:
            gone = hosts.update().where(hosts.c.id == host_id, hosts.c.removed_ms.is_(None))
            connection.execute(gone.values(removed_ms=now_ms, removed_by=by))
            connection.execute(facts.delete().where(facts.c.host == host_id))

        await self._store.write(job)
        self._living.pop(host_id, None)
        if self._names.get(host.name) == host_id:
            del self._names[host.name]
        self._seen.pop(host_id, None)
        for hear in self.on_removed:
            hear(host_id)
        await self._tell(HostRemoved(now_ms, host_id, by))
        return host

    def touch(self, host_id: str, at_ms: int, agent_version: str = "") -> None:
        """Note that a host was heard; `flush` writes it down."""
        host = self._living.get(host_id)
        if host is None:
            return
        version = agent_version or host.agent_version
        self._living[host_id] = replace(host, last_seen_ms=at_ms, agent_version=version)
        self._seen[host_id] = (at_ms, version)

    async def flush(self) -> None:
        """Write down who was heard since the last time. StoreUnavailable leaves it for the next time."""
        if not self._seen:
            return
        seen, self._seen = self._seen, {}
        rows = [{"of": host_id, "at": at_ms, "version": version} for host_id, (at_ms, version) in seen.items()]
        statement = (
            hosts.update()
            .where(hosts.c.id == sa.bindparam("of"))
            .values(last_seen_ms=sa.bindparam("at"), agent_version=sa.bindparam("version"))
        )
        try:
            await self._store.write(lambda c: c.execute(statement, rows))
        except BaseException:
            self._seen = {**seen, **self._seen}
            raise

    async def reconcile(self, known_hosts: Iterable[KnownHost]) -> int:
        """Tell the decider what it does not know of the table, and what it has that the table has not; how many differed."""
        now_ms = self._clock()
        fleet = {host.id: host for host in known_hosts}
        differences: list[HostEnrolled | HostRemoved] = []
        for host in self._living.values():
            known = fleet.get(host.id)
            if known is None or known.name != host.name or known.labels != host.labels:
                differences.append(HostEnrolled(now_ms, host.id, host.name, host.labels))
        differences += [HostRemoved(now_ms, host_id, "reconcile") for host_id in fleet if host_id not in self._living]
        for difference in differences:
            await self._tell(difference)
        return len(differences)

    async def announce(self, host_id: str | None = None) -> None:
        """Tell the decider again what it could not be told before: of one host, or of all."""
        waiting = [event for host, event in self._untold.items() if host_id in {None, host}]
        for event in waiting:
            await self._tell(event)

    async def _tell(self, event: HostEnrolled | HostRemoved) -> None:
        first = event.host not in self._untold
        self._untold[event.host] = event
        try:
            await self._decider.submit([event])
        except JournalUnavailable as error:
            level = logging.WARNING if first else logging.DEBUG
            log.log(level, "cannot tell the decider of %s: %s; it will be told when the journal takes rows", event.host, error)
            return
        if self._untold.get(event.host) is event:
            del self._untold[event.host]

    def _keep(self, host: HostRecord) -> None:
        self._living[host.id] = host
        self._names[host.name] = host.id

    def _require(self, host_id: str) -> HostRecord:
        host = self._living.get(host_id)
        if host is None:
            raise UnknownHost(f"cannot find {host_id}: no living host has this id")
        return host


def _living_where(condition: sa.ColumnElement[bool]) -> sa.Select[tuple[Any]]:
    return sa.select(hosts.c.id).where(condition, hosts.c.removed_ms.is_(None))


def _row(host: HostRecord) -> dict[str, Any]:
    return {
        "id": host.id,
        "name": host.name,
        "labels": json.dumps(host.labels, sort_keys=True),
        "machine_id": host.machine_id,
        "enrolled_ms": host.enrolled_ms,
        "certificate_serial": host.certificate_serial,
        "certificate_not_after_ms": host.certificate_not_after_ms,
    }


def _record(row: Any) -> HostRecord:
    return HostRecord(
        id=row.id,
        name=row.name,
        labels=json.loads(row.labels),
        machine_id=row.machine_id,
        enrolled_ms=row.enrolled_ms,
        certificate_serial=row.certificate_serial,
        certificate_not_after_ms=row.certificate_not_after_ms,
        last_seen_ms=row.last_seen_ms,
        agent_version=row.agent_version or "",
    )
