"""`fleetmend explain`: why an incident went the way it did."""

from __future__ import annotations

import re

import click

from fleetmend.plain import plain_lines

from ..command import Session, command
from ..output import STYLES, styled
from ..times import zone_name
from ..wire import pb

# The text of a line begins at this column (admin/explain_text.py on the controller).
_VERDICT = re.compile(r"  \S.{28}(hold|refuse) ")


def _run(session: Session, incident: str) -> None:
    session.show(session.call("Explain", pb.ExplainRequest(incident_id=incident, time_zone=zone_name())), _print)


def _print(answer: pb.ExplainResponse, _now_ms: int) -> None:
    titles = {section.title for section in answer.sections}
    for line in plain_lines(answer.text).splitlines():
        click.echo(styled(line, "bold" if line in titles else _style(line)))


def _style(line: str) -> str:
    """What holds an action back stands out."""
    found = _VERDICT.match(line)
    return STYLES[found[1]] if found else ""


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
