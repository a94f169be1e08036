"""`fleetmend token create`: let servers join."""

from __future__ import annotations

import click

from ...command import Session, command, read_pairs
from ...options import duration_option
from ...output import labels_text
from ...times import relative
from ...wire import pb


def _run(session: Session, labels: tuple[str, ...], uses: int, ttl_ms: int) -> None:
    request = pb.CreateTokenRequest(labels=read_pairs(labels, "label"), uses=uses, ttl_ms=ttl_ms)
    session.show(session.call("CreateToken", request), _print)


def _print(answer: pb.CreateTokenResponse, now_ms: int) -> None:
    token = answer.token
    click.echo(answer.secret)
    # The token alone goes to standard output, so that it can be sent into a file.
    click.echo(
        f"for {token.uses_total} host{'s' if token.uses_total > 1 else ''}, ends {relative(token.expires_ms, now_ms)},"
        f" labels {labels_text(token.labels)}; it is shown this once",
        err=True,
    )


COMMAND = command(
    "create",
    "Make a join token and print it, this once.",
    _run,
    params=[
        click.Option(
            ["--label", "labels"], multiple=True, metavar="NAME=VALUE", help="Label of the hosts that join; repeatable."
        ),
        click.Option(["--uses"], type=click.IntRange(1, 10_000), default=1, show_default=True, help="How many hosts may join."),
        duration_option(["--ttl", "ttl_ms"], "How long it lives.", "30m"),
    ],
    examples=[
        "fleetmend token create --label role=web --label site=a",
        "(umask 077; fleetmend token create --uses 20 --ttl 2h > join.token)",
    ],
    json="CreateTokenResponse",
)
