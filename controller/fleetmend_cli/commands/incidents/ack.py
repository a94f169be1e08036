"""`fleetmend incidents ack`: take an incident."""

from __future__ import annotations

import click

from fleetmend.plain import plain_line

from ...command import Session, command
from ...wire import pb


def _run(session: Session, incident: str) -> None:
    request = pb.AcknowledgeIncidentRequest(incident_id=incident)
    session.show(session.call("AcknowledgeIncident", request), _print)


def _print(answer: pb.AcknowledgeIncidentResponse, _now_ms: int) -> None:
    taken = answer.incident
    what = f"{taken.check} {taken.key}".strip()
    click.echo(plain_line(f"{taken.taken_by} has {taken.id}: {what} on {taken.host_name}: {taken.summary}"))


COMMAND = command(
    "ack",
    "Take an open incident: people are told who has it, and are not reminded of it.",
    _run,
    params=[click.Argument(["incident"])],
    examples=["fleetmend incidents ack inc-17", "fleetmend incidents ack inc-17 --output json | jq .incident.taken_by"],
    json="AcknowledgeIncidentResponse",
    text="It changes nothing about what is done. Whoever calls last has it; it ends when the check says OK again.",
)
