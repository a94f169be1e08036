"""Incidents as lists, one by one, as they change, and explained."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetmend.v1 import admin_pb2 as pb

from ..core.effects import PhaseChanged
from ..core.events import Acknowledge
from ..core.storms import STORM_CHECK
from ..store.tables import incidents
from .case import build_case
from .convert import attempts_of, incident_of_case, incident_of_row, phase_of, phase_word, sections_of
from .deliveries import read_deliveries
from .desk import Desk
from .errors import AdminError, invalid, not_found
from .explain import Explanation, Line, explain
from .explain_text import render, zone
from .hosts import find_host_id, host_names
from .paging import decode_token, encode_token, page_size
from .story import MEMBERS_MAX, Story, read_cohort, read_members, read_story

DECISIONS_MAX = 1000
LISTED_MAX = 1000


def read_incidents(connection: Connection, query: sa.Select[Any]) -> list[pb.Incident]:
    """The incidents of a query over the incidents' table, with their hosts' names."""
    rows = connection.execute(query).all()
    names = host_names(connection, (row.host for row in rows))
    return [incident_of_row(row, names.get(row.host, row.host)) for row in rows]


def open_incidents(host: str = "") -> sa.Select[Any]:
    """Those that are not over, newest first."""
    query = sa.select(incidents).where(incidents.c.closed_ms.is_(None))
    if host:
        query = query.where(incidents.c.host == host)
    return query.order_by(incidents.c.opened_ms.desc(), incidents.c.id.desc())


async def list_incidents(desk: Desk, request: pb.ListIncidentsRequest) -> pb.ListIncidentsResponse:
    """A page of incidents, newest first."""
    size = page_size(request.page_size)
    place = decode_token(request.page_token, (int, str))
    host = await find_host_id(desk, request.host) if request.host else ""
    query = open_incidents(host)
    if request.filter == pb.INCIDENT_FILTER_ALL:
        query = sa.select(incidents).order_by(incidents.c.opened_ms.desc(), incidents.c.id.desc())
        query = query.where(incidents.c.host == host) if host else query
    if request.since_ms:
        query = query.where(incidents.c.opened_ms >= request.since_ms)
    if request.phase:
        query = query.where(incidents.c.phase == phase_word(request.phase))
    if place is not None:
        opened_ms, last_id = place
        later = sa.and_(incidents.c.opened_ms == opened_ms, incidents.c.id < last_id)
        query = query.where(sa.or_(incidents.c.opened_ms < opened_ms, later))
    found = await desk.store.read(lambda connection: read_incidents(connection, query.limit(size + 1)))
    page = found[:size]
    token = encode_token(page[-1].opened_ms, page[-1].id) if len(found) > size else ""
    return pb.ListIncidentsResponse(incidents=page, next_page_token=token)


async def get_incident(desk: Desk, request: pb.GetIncidentRequest) -> pb.GetIncidentResponse:
    """One incident with everything that was decided about it."""
    story, names = await _story(desk, request.id)
    case = build_case(story)
    if case is None:
        raise _unknown(request.id)
    decisions = [
        pb.IncidentDecision(
            seq=row.seq,
            at_ms=row.at_ms,
            why=reason["why"],
            text=reason["text"],
            gate=reason.get("gate") or "",
            verdict=reason.get("verdict") or "",
            playbook=reason.get("playbook") or "",
        )
        for row in story.rows
        for reason in row.reasons
    ]
    return pb.GetIncidentResponse(
        incident=incident_of_case(case, names.get(case.host, case.host)),
        finding=case.finding,
        decisions=decisions[-DECISIONS_MAX:],
        attempts=attempts_of(case),
    )


async def acknowledge(desk: Desk, request: pb.AcknowledgeIncidentRequest, who: str) -> pb.AcknowledgeIncidentResponse:
    """Note who takes an open incident. It changes nothing but who is told and who is reminded."""
    incident_id = request.incident_id
    _require_name(incident_id)
    incident = desk.decider.fleet.incidents.get(incident_id)
    if incident is None:
        raise not_found(f"cannot take {incident_id}: no open incident has this name; `fleetmend incidents ls` lists them")
    await desk.decider.audit("acknowledged", who, incident.subject.host, {"incident": incident_id})
    await desk.decider.submit([Acknowledge(desk.now_ms(), incident_id, who)])
    query = sa.select(incidents).where(incidents.c.id == incident_id)
    found = await desk.store.read(lambda connection: read_incidents(connection, query))
    if not found:
        raise _unknown(incident_id)
    return pb.AcknowledgeIncidentResponse(incident=found[0])


async def explain_incident(desk: Desk, request: pb.ExplainRequest) -> pb.ExplainResponse:
    """Why an incident went the way it did, from the journal alone."""
    story, names = await _story(desk, request.incident_id)
    asides, deliveries = await desk.store.read(lambda c: (storm_asides(c, story), read_deliveries(c, story.incident)))
    explanation = explain(story, names, asides, deliveries)
    if explanation is None:
        raise _unknown(request.incident_id)
    return _explained(explanation, render(explanation, zone(request.time_zone), all_gates=request.all_gates))


async def watch_incidents(desk: Desk, request: pb.WatchIncidentsRequest) -> AsyncGenerator[pb.WatchIncidentsResponse, None]:
    """The open incidents if asked for, then every change. Listening begins before reading, so that nothing falls between."""
    host = await find_host_id(desk, request.host) if request.host else ""
    key, changes = desk.decider.subscribe()
    try:
        if request.include_open:
            listed = await desk.store.read(lambda c: read_incidents(c, open_incidents(host).limit(LISTED_MAX)))
            for incident in reversed(listed):
                yield pb.WatchIncidentsResponse(incident=incident, listed=True)
        while True:
            change = await changes.get()
            if host and change.subject.host != host:
                continue
            found = await _changed(desk, change)
            if found is not None:
                yield found
    finally:
        desk.decider.unsubscribe(key)


async def _changed(desk: Desk, change: PhaseChanged) -> pb.WatchIncidentsResponse | None:
    query = sa.select(incidents).where(incidents.c.id == change.incident)
    found = await desk.store.read(lambda connection: read_incidents(connection, query))
    if not found:
        return None
    incident = found[0]
    # The list may be ahead of this change already.
    incident.phase = phase_of(change.after.value)
    before = phase_of(change.before.value) if change.before else pb.INCIDENT_PHASE_UNSPECIFIED
    return pb.WatchIncidentsResponse(incident=incident, before=before)


async def _story(desk: Desk, incident: str) -> tuple[Story, dict[str, str]]:
    _require_name(incident)

    def job(connection: Connection) -> tuple[Story, dict[str, str]]:
        story = read_story(connection, incident)
        case = build_case(story)
        return story, host_names(connection, [case.host] if case else [])

    return await desk.store.read(job)


def storm_asides(connection: Connection, story: Story) -> list[Line]:
    """What the hosts of a storm share, and the incidents it holds; nothing if the story is not a storm's."""
    case = build_case(story)
    if case is None or case.check != STORM_CHECK:
        return []
    asides = []
    cohort = read_cohort(connection, story.incident)
    if cohort is not None:
        text = f"{cohort.failing} failing hosts were compared with {cohort.healthy} healthy ones; they share:"
        asides.append(Line(cohort.at_ms, text, why="storm", evidence=cohort.lines))
    members = read_members(connection, story)
    query = sa.select(incidents).where(incidents.c.id.in_(members)).order_by(incidents.c.opened_ms, incidents.c.id)
    found = [f"{i.id}  {f'{i.check} {i.key}'.strip()} on {i.host_name}" for i in read_incidents(connection, query)]
    if found:
        first = f"the first {len(found)} of them" if len(members) == MEMBERS_MAX else f"{len(found)} of them"
        asides.append(Line(case.changed_ms, f"incidents that it holds, {first}:", why="storm", evidence=tuple(found)))
    return asides


def _require_name(incident: str) -> None:
    if not incident.startswith("inc-") or not incident[4:].isdigit():
        raise invalid(
            f"cannot read incident {incident!r}: an incident is named inc-<number>; `fleetmend incidents ls --all` lists them"
        )


def _unknown(incident: str) -> AdminError:
    return not_found(
        f"cannot find incident {incident}: the journal does not know it; `fleetmend incidents ls --all` lists them"
    )


def _explained(explanation: Explanation, text: str) -> pb.ExplainResponse:
    return pb.ExplainResponse(
        incident=incident_of_case(explanation.case, explanation.host_name),
        headline=explanation.headline,
        sections=sections_of(explanation.sections),
        text=text,
    )
