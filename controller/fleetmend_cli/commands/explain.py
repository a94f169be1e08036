"""`fleetmend explain`: why an incident went the way it did."""

from __future__ import annotations

import click

from fleetmend.plain import plain_lines

from ..command import Session, command
from ..times import zone_name
from ..wire import pb


def _run(session: Session, incident: str) -> None:
    session.show(session.call("Explain", pb.ExplainRequest(incident_id=incident, time_zone=zone_name())), _print)


def _print(answer: pb.ExplainResponse, _now_ms: int) -> None:
    click.echo(plain_lines(answer.text), nl=False)


COMMAND = command(
    "explain",
    "Tell why an incident went the way it did.",
    _run,
    params=[click.Argument(["incident"])],
    examples=["fleetmend explain inc-17", "fleetmend explain inc-17 --output json | jq -r .headline"],
    json="ExplainResponse",
    text="What was seen, which playbook answered, what each gate said, what was ordered, what the host answered, whether it"
    " helped, and who was told. For actions taken and withheld alike, and for incidents of any age.",
)
