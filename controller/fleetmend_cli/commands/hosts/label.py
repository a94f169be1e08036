"""`fleetmend hosts label`: change a server's labels."""

from __future__ import annotations

import click

from ...command import Session, command, read_pairs
from ...output import labels_text
from ...wire import pb


def _run(session: Session, host: str, labels: tuple[str, ...], remove: tuple[str, ...]) -> None:
    if not labels and not remove:
        raise click.UsageError("cannot label without labels: give name=value, or --remove NAME")
    request = pb.LabelHostRequest(host=host, set=read_pairs(labels, "label"), remove=remove)
    session.show(session.call("LabelHost", request), _print)


def _print(answer: pb.LabelHostResponse, _now_ms: int) -> None:
    click.echo(f"{answer.host.name} has labels {labels_text(answer.host.labels)}")


COMMAND = command(
    "label",
    "Set and remove labels of a host.",
    _run,
    params=[
        click.Argument(["host"]),
        click.Argument(["labels"], nargs=-1, metavar="[NAME=VALUE]..."),
        click.Option(["--remove"], multiple=True, metavar="NAME", help="Label to take away; may be given several times."),
    ],
    examples=["fleetmend hosts label web-3 role=web rack=r12", "fleetmend hosts label web-3 --remove canary"],
    json="LabelHostResponse",
    text="Groups, limits and rules follow the labels at once.",
)
