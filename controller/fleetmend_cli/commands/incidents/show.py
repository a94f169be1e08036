"""`fleetmend incidents show`: one incident with its orders and decisions."""

from __future__ import annotations

import click

from fleetmend.plain import plain_line, plain_lines

from ...command import Session, command
from ...output import Column, print_heading, print_pairs, print_table, word
from ...times import when
from ...wire import pb

_COLUMNS = (Column("AT", fixed=False), Column("GATE"), Column("ANSWER"), Column("REASON"), Column("TEXT", fixed=False))


def _run(session: Session, incident: str) -> None:
    session.show(session.call("GetIncident", pb.GetIncidentRequest(id=incident)), _print)


def _print(answer: pb.GetIncidentResponse, now_ms: int) -> None:
    incident = answer.incident
    print_pairs(
        [
            ("Incident", incident.id),
            ("Host", f"{incident.host_name} ({incident.host_id})"),
            ("Check", f"{incident.check} {incident.key}".strip()),
            ("What", incident.summary),
            ("Phase", word(pb.IncidentPhase.DESCRIPTOR, incident.phase)),
            ("Why", incident.why or "-"),
            ("Playbook", incident.playbook or "-"),
            *([("Taken", f"by {incident.taken_by} {when(incident.taken_ms, now_ms)}")] if incident.taken_by else []),
            ("Opened", when(incident.opened_ms, now_ms)),
            ("Closed", when(incident.closed_ms if incident.HasField("closed_ms") else None, now_ms)),
            *[(f"Found {name}", value) for name, value in sorted(answer.finding.items())],
            *[(attempt.order_id, _attempt(attempt, now_ms)) for attempt in answer.attempts],
        ]
    )
    if answer.decisions:
        print_heading("Decisions")
        rows = [(when(d.at_ms, now_ms), d.gate or "-", d.verdict or "-", d.why, d.text) for d in answer.decisions]
        print_table(_COLUMNS, rows)
    for attempt in answer.attempts:
        _print_said(attempt)


def _print_said(attempt: pb.IncidentAttempt) -> None:
    """What was run for an order and what it printed: the evidence."""
    if not attempt.commands and not attempt.output:
        return
    print_heading(f"{attempt.order_id} {attempt.action}")
    for command_line in attempt.commands:
        click.echo(plain_line(f"$ {command_line}"))
    if attempt.output:
        click.echo(plain_lines(attempt.output.rstrip("\n")))


def _attempt(attempt: pb.IncidentAttempt, now_ms: int) -> str:
    params = " ".join(f"{name}={value}" for name, value in sorted(attempt.params.items()))
    end = f"{attempt.outcome} {attempt.detail}".strip() if attempt.outcome else "under way"
    return f"{attempt.action} {params} for {attempt.requested_by}, ordered {when(attempt.ordered_ms, now_ms)}: {end}"


COMMAND = command(
    "show",
    "Show one incident with its orders and every decision.",
    _run,
    params=[click.Argument(["incident"])],
    examples=["fleetmend incidents show inc-17", "fleetmend incidents show inc-17 --output json | jq .attempts"],
    json="GetIncidentResponse",
    text="`fleetmend explain` tells the same as a story.",
)
