"""Takes what Alertmanager tells, places each alert on its host, and looks after those that it says nothing of any more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from ..core.events import AlertSaid, Event
from ..core.model import ALERT_PREFIX, Alert, Fleet, Incident, Phase, Status, Subject
from ..decider.ports import DeciderPort, JournalUnavailable
from ..http.metrics import Metrics
from ..rules import RuleSet
from ..store.engine import Store
from . import placing
from .body import Told, parse

log = logging.getLogger("fleetmend.alertmanager")

LOOK_EVERY_S = 10.0
# The sender's clock need not be ours.
EXPIRY_GRACE_MS = 60_000
# An alert that was a symptom of an incident which is over, and fires on: for so long its own end may be on the way.
LEFT_OVER_MS = 300_000
SICK_OF_HOST_MAX = 1_000
UNPLACED_MAX = 1_000
ASKED_MAX = 10_000


class Deciding(DeciderPort, Protocol):
    """The decider, with its fleet and its rules to look at."""

    fleet: Fleet
    rules: RuleSet


@dataclass(frozen=True, slots=True)
class Unplaced:
    """An alert that fires and whose host nobody knows."""

    name: str
    labels: str
    why: str
    since_ms: int
    said_ms: int


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one body's alerts."""

    placed: int
    unplaced: int
    own: int
    rejected: int


class Inbox:
    """The way in for alerts."""

    def __init__(
        self, decider: Deciding, store: Store, metrics: Metrics, now_ms: Callable[[], int], silent_after_ms: int
    ) -> None:
        self._decider = decider
        self._store = store
        self._metrics = metrics
        self._now_ms = now_ms
        self._silent_after_ms = silent_after_ms
        self._started_ms = now_ms()
        self._unplaced: dict[str, Unplaced] = {}
        self._asked: dict[Subject, None] = {}
        self._woken = asyncio.Event()
        self._turn = asyncio.Lock()

    @property
    def unplaced(self) -> list[Unplaced]:
        """What fires and belongs to no host, oldest first."""
        return sorted(self._unplaced.values(), key=lambda each: (each.since_ms, each.name, each.labels))

    async def take(self, raw: bytes) -> Taken:
        """Take one body of the webhook. It is durable when this returns. BadBody, JournalUnavailable."""
        body = parse(raw)
        async with self._turn:
            said_ms = self._now_ms()
            own = [alert for alert in body.alerts if alert.own]
            places = await self._places([alert for alert in body.alerts if not alert.own])
            placed = [(alert, place.hosts[0]) for alert, place in places if not place.why_not]
            events, refused = self._events(placed, said_ms)
            if events:
                await self._decider.submit(events)
            for alert, place in places:
                await self._note_place(alert, place, said_ms)
            taken = Taken(len(events), len(places) - len(placed), len(own), body.rejected + refused)
        for outcome in ("placed", "unplaced", "own", "rejected"):
            self._metrics.alerts.labels(outcome).inc(getattr(taken, outcome))
        self._metrics.alerts_unplaced.set(len(self._unplaced))
        return taken

    def asked(self, subject: Subject) -> None:
        """The core wants a fresh result of an alert: what is known of it, if that is worth a result."""
        if len(self._asked) < ASKED_MAX:
            self._asked[subject] = None
            self._woken.set()

    async def run(self) -> None:
        """Answer, and look after the silent ones, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._woken.wait()
            except TimeoutError:
                await self._submit(self.look())
            self._woken.clear()
            asked, self._asked = self._asked, {}
            await self._submit([event for subject in asked if (event := self.answer(subject)) is not None])

    def look(self) -> list[Event]:
        """Alerts that are not said any more become unknown; those that an incident left behind get one of their own."""
        now_ms, fleet = self._now_ms(), self._decider.fleet
        events: list[Event] = []
        for subject, alert in fleet.alerts.items():
            if not alert.firing:
                continue
            incident = _incident(fleet, subject)
            silent = self._is_silent(alert, now_ms)
            if silent and incident is not None and incident.status is not Status.UNKNOWN:
                text = f"Alertmanager says nothing of {subject.check} any more, neither that it fires nor that it is over"
                events.append(_said(subject, alert, Status.UNKNOWN, text, now_ms, now_ms))
            if incident is None and subject not in fleet.symptom_of and now_ms - alert.said_ms >= LEFT_OVER_MS:
                # As old as it is: nothing is done upon it, but it is not forgotten.
                events.append(_said(subject, alert, Status.CRIT, alert.summary, now_ms, alert.said_ms))
        return events

    def answer(self, subject: Subject) -> Event | None:
        """That an alert is over stays true until it fires again: a sample of now. Anything else has to be told."""
        now_ms, fleet = self._now_ms(), self._decider.fleet
        incident, alert = _incident(fleet, subject), fleet.alerts.get(subject)
        if incident is None or alert is None or alert.firing or incident.status is not Status.OK:
            return None
        if incident.phase is Phase.PROVING and incident.ok_clock_ms is None and now_ms < (incident.prove_by_ms or 0):
            # It was over before the action ended. That it did not come back for the whole time of proof says enough.
            return None
        return _said(subject, alert, Status.OK, alert.summary, now_ms, now_ms)

    def _is_silent(self, alert: Alert, now_ms: int) -> bool:
        if alert.expires_ms and now_ms >= alert.expires_ms + EXPIRY_GRACE_MS:
            return True
        return now_ms - max(alert.said_ms, self._started_ms) >= self._silent_after_ms

    async def _submit(self, events: list[Event]) -> None:
        if not events:
            return
        try:
            await self._decider.submit(events)
        except JournalUnavailable as error:
            # Looked at and asked for again while it matters.
            log.warning("cannot tell the decider about %d alerts: %s", len(events), error)

    async def _places(self, alerts: list[Told]) -> list[tuple[Told, placing.Place]]:
        hosts = self._decider.fleet.hosts
        named = placing.by_name(hosts)
        names = dict.fromkeys(name for alert in alerts for name in placing.names_in(alert.labels) if name not in named)
        told: Mapping[str, tuple[str, ...]] = {}
        if names:
            told = await self._store.read(lambda connection: placing.say_so_themselves(connection, tuple(names), hosts))
        return [(alert, placing.place(alert.labels, named, told)) for alert in alerts]

    def _events(self, placed: list[tuple[Told, str]], said_ms: int) -> tuple[list[Event], int]:
        fleet = self._decider.fleet
        events: list[Event] = []
        refused = 0
        for alert, host in placed:
            subject = Subject(host, ALERT_PREFIX + alert.name, alert.fingerprint)
            if subject not in fleet.alerts and len(fleet.by_host.get(host, ())) >= SICK_OF_HOST_MAX:
                refused += 1
                continue
            status = Status.CRIT if alert.fires else Status.OK
            finding = {
                "alertname": alert.name,
                "severity": alert.labels.get("severity", ""),
                "job": alert.labels.get("job", ""),
                "instance": alert.labels.get("instance", ""),
            }
            unit = self._unit(alert, host)
            finding |= {"unit": unit} if unit else {}
            times = (said_ms, alert.starts_ms, alert.ends_ms or (0 if alert.fires else said_ms))
            events.append(AlertSaid(said_ms, host, subject.check, subject.key, status, dict(finding), alert.summary, *times))
        return events, refused

    def _unit(self, alert: Told, host: str) -> str:
        known = self._decider.fleet.hosts.get(host)
        units = self._decider.rules.declaration_for(known.labels)["units"] if known is not None else {}
        return next((name for label in ("unit", "name") if (name := alert.labels.get(label, "")) in units), "")

    async def _note_place(self, alert: Told, place: placing.Place, said_ms: int) -> None:
        known = self._unplaced.get(alert.fingerprint)
        if not alert.fires or not place.why_not:
            self._unplaced.pop(alert.fingerprint, None)
            return
        if known is not None:
            self._unplaced[alert.fingerprint] = replace(known, why=place.why_not, said_ms=said_ms)
            return
        if len(self._unplaced) >= UNPLACED_MAX:
            del self._unplaced[min(self._unplaced, key=lambda key: self._unplaced[key].said_ms)]
        labels = ",".join(f"{name}={value}" for name, value in sorted(alert.labels.items()))[:1_000]
        self._unplaced[alert.fingerprint] = Unplaced(alert.name, labels, place.why_not, said_ms, said_ms)
        log.warning("alert=%s has no host here: %s", alert.name, place.why_not)
        detail = {"alert": alert.name, "labels": labels, "why": place.why_not, "summary": alert.summary}
        await self._decider.audit("alert_unplaced", "alertmanager", "", detail)


def _incident(fleet: Fleet, subject: Subject) -> Incident | None:
    incident_id = fleet.by_subject.get(subject)
    return fleet.incidents[incident_id] if incident_id is not None else None


def _said(subject: Subject, alert: Alert, status: Status, text: str, now_ms: int, said_ms: int) -> AlertSaid:
    ends_ms = alert.ended_ms if status is Status.OK else alert.expires_ms
    return AlertSaid(
        at_ms=now_ms,
        host=subject.host,
        check=subject.check,
        key=subject.key,
        status=status,
        finding=dict(alert.finding),
        summary=text,
        said_ms=said_ms,
        starts_ms=alert.starts_ms,
        ends_ms=ends_ms,
    )
