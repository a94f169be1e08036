"""From the effects of a decision to rows of the outbox, in the transaction that journals it: neither without the other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..core.effects import Acknowledged, ApprovalWanted, Closed, CompareHosts, Effect, Escalated, Step, Why
from ..core.incidents import HOST_LOST_CHECK
from ..core.model import Fleet, Subject
from ..core.storms import FLEET, STORM_CHECK
from ..notify import Kind, Message
from ..store.tables import notifications
from . import rows
from .routing import Notify

# Told beside an incident, about its playbook or its past: nothing ends them later.
_NOTICES = (Why.MASKING, Why.TRUST_DEMOTED)
# Approval is asked for with the urgency of a page: it has an end.
APPROVAL_SEVERITY = "page"
_IN_CHUNK = 500


@dataclass(slots=True)
class Outbox:
    """Where the decider leaves what people are to be told. `wake` is called once new rows are durable."""

    notify: Notify
    wake: Callable[[], None] = lambda: None
    wrote: bool = False

    def note(self, connection: Connection, fleet: Fleet, steps: Iterable[Step], now_ms: int) -> None:
        """Write the rows of these steps."""
        told = [(step, effect) for step in steps for effect in step.effects if isinstance(effect, _TOLD)]
        if not told:
            return
        ending = [effect.incident for _, effect in told if isinstance(effect, Closed)]
        known = _known(connection, ending)
        known |= {effect.incident for _, effect in told if not isinstance(effect, Closed)}
        for step, effect in told:
            if effect.incident in known:
                self._one(connection, fleet, step, effect, now_ms)

    def committed(self) -> None:
        """The rows are durable."""
        if self.wrote:
            self.wrote = False
            self.wake()

    def _one(self, connection: Connection, fleet: Fleet, step: Step, effect: Effect, now_ms: int) -> None:
        self.wrote = True
        match effect:
            case Escalated():
                self._escalated(connection, fleet, effect, now_ms)
            case ApprovalWanted():
                self._approval(connection, fleet, effect, now_ms)
            case CompareHosts():
                # A storm's page waits for what its hosts share; what waited beside it need not be told before.
                storm = fleet.outbreaks.get(effect.fault)
                if storm is not None and storm.incident == effect.incident:
                    rows.fold(connection, effect.fault, effect.incident)
            case Acknowledged():
                rows.calm(connection, effect.incident)
                message = {"kind": Kind.ACKNOWLEDGED, "by": effect.by, "text": f"{effect.by} took it"}
                self._follow(connection, effect.incident, f"{Kind.ACKNOWLEDGED.value}:{now_ms}", message, now_ms)
            case Closed():
                text = next((r.text for r in reversed(step.reasons) if r.incident == effect.incident), effect.why.value)
                message = {"kind": Kind.RESOLVED, "why": effect.why.value, "text": text}
                self._follow(connection, effect.incident, Kind.RESOLVED.value, message, now_ms)
                rows.over(connection, [effect.incident])

    def _escalated(self, connection: Connection, fleet: Fleet, effect: Escalated, now_ms: int) -> None:
        notice = effect.why in _NOTICES
        suffix = f":{effect.why.value}:{hashlib.sha256(effect.text.encode()).hexdigest()[:8]}" if notice else ""
        kind = (Kind.NOTICE if notice else Kind.ESCALATED).value + suffix
        message = self._message(fleet, effect.incident, effect.subject, kind, now_ms)
        message = replace(message, to=effect.to, severity=effect.severity, why=effect.why.value, text=effect.text)
        if effect.part_of and not notice:
            rows.insert(connection, kind, "", message, now_ms, fault=effect.fault, part_of=effect.part_of)
            return
        of_fleet = effect.subject.host == FLEET
        if of_fleet:
            fault = effect.subject.key if effect.subject.check == STORM_CHECK else HOST_LOST_CHECK
            rows.fold(connection, fault, effect.incident)
        for each in self.notify.channels_for(effect.to, effect.severity):
            if message.kind is Kind.ESCALATED or message.kind in each.channel.kinds:
                next_ms = now_ms if of_fleet else now_ms + self.notify.first_word_ms(effect.severity)
                rows.insert(connection, kind, each.name, message, next_ms, fault=effect.fault)

    def _approval(self, connection: Connection, fleet: Fleet, effect: ApprovalWanted, now_ms: int) -> None:
        incident = fleet.incidents.get(effect.incident)
        subject = incident.subject if incident is not None else Subject("", "", "")
        kind = f"{Kind.APPROVAL.value}:{effect.order}"
        message = self._message(fleet, effect.incident, subject, kind, now_ms)
        text = f"{effect.text}; fleetmend approve {effect.order}"
        message = replace(
            message, to=effect.to, severity=APPROVAL_SEVERITY, why="approval_needed", text=text, until_ms=effect.until_ms
        )
        for each in self.notify.channels_for(effect.to, APPROVAL_SEVERITY):
            if Kind.APPROVAL in each.channel.kinds:
                rows.insert(connection, kind, each.name, message, now_ms)

    def _follow(self, connection: Connection, incident: str, kind: str, changes: dict[str, object], now_ms: int) -> None:
        """Tell whoever was told, or will be. A channel that left the configuration is told nothing."""
        told = {row.channel: row for row in reversed(rows.told_of(connection, [incident])) if row.channel}
        for channel, first in sorted(told.items()):
            configured = self.notify.channels.get(channel)
            if configured is None or changes["kind"] not in configured.channel.kinds or first.state == rows.FOLDED:
                continue
            message = replace(first.message, id=self._id(incident, kind), at_ms=now_ms, until_ms=0, **changes)  # type: ignore[arg-type]
            rows.insert(connection, kind, channel, message, now_ms)

    def _message(self, fleet: Fleet, incident_id: str, subject: Subject, kind: str, now_ms: int) -> Message:
        incident, host = fleet.incidents.get(incident_id), fleet.hosts.get(subject.host)
        base = Kind(kind.partition(":")[0])
        thread = self._id(incident_id, kind) if base is Kind.NOTICE else f"{self.notify.source}/{incident_id}"
        return Message(
            id=self._id(incident_id, kind),
            thread=thread,
            kind=base,
            at_ms=now_ms,
            incident=incident_id,
            opened_ms=incident.opened_ms if incident is not None else now_ms,
            host=host.name if host is not None else "",
            host_id=host.id if host is not None else "",
            check=subject.check,
            key=subject.key,
            summary=incident.summary if incident is not None else "",
            playbook=incident.playbook if incident is not None else "",
            to="",
            severity="",
            why="",
            text="",
            source=self.notify.source,
            labels=dict(host.labels) if host is not None else {},
        )

    def _id(self, incident: str, kind: str) -> str:
        return f"{self.notify.source}/{incident}/{kind}"


_TOLD = (Escalated, ApprovalWanted, Acknowledged, Closed, CompareHosts)


def _known(connection: Connection, incidents: Sequence[str]) -> set[str]:
    """Which of these people were told of, or are to be."""
    known: set[str] = set()
    for start in range(0, len(incidents), _IN_CHUNK):
        some = notifications.c.incident.in_(incidents[start : start + _IN_CHUNK])
        known.update(connection.execute(sa.select(notifications.c.incident).where(some).distinct()).scalars())
    return known
