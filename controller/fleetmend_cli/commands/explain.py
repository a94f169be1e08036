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
_VERDICT = re.compile(r"  (?:\S.{28})?(hold|refuse) ")


def _run(session: Session, incident: str | None, host: str | None, *, all_gates: bool) -> None:
    if (incident is None) == (host is None):
        raise click.UsageError("cannot explain: give either an incident, or a host with --why-not")
    if host is not None:
        asked = pb.ExplainHostRequest(host=host, time_zone=zone_name(), all_gates=all_gates)
        session.show(session.call("ExplainHost", asked), _print)
        return
    request = pb.ExplainRequest(incident_id=incident or "", time_zone=zone_name(), all_gates=all_gates)
    session.show(session.call("Explain", request), _print)


def _print(answer: pb.ExplainResponse | pb.ExplainHostResponse, _now_ms: int) -> None:
    titles = {section.title for section in answer.sections}
    for line in plain_lines(answer.text).splitlines():
        click.echo(styled(line, "bold" if line in titles else _style(line)))


def _style(line: str) -> str:
    """What holds an action back stands out."""
    found = _VERDICT.match(line)
    return STYLES[found[1]] if found else ""


COMMAND = command(
    "explain",
    "Tell why an incident went the way it did, or why nothing is done on a host.",
    _run,
    params=[
        click.Argument(["incident"], required=False),
        click.Option(["--why-not", "host"], metavar="HOST", help="Tell why nothing is done on this host now."),
        click.Option(["--gates", "all_gates"], is_flag=True, help="Tell the answer of each gate, also of those that allow."),
    ],
    examples=[
        "fleetmend explain inc-17",
        "fleetmend explain inc-17 --gates",
        "fleetmend explain --why-not web-3",
        "fleetmend explain inc-17 --output json | jq -r .headline",
    ],
    json="ExplainResponse; with --why-not ExplainHostResponse",
    text="What was seen, which playbook answered, what each gate said, what was ordered, what the host answered, whether it"
    " helped, and who was told. For actions taken and withheld alike, and for incidents of any age.",
)
