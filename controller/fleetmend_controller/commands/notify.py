"""`fleetmend-controller notify ls|test`: the channels to people, and whether one of them works."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from .. import clock
from ..handover.routing import Configured, Notify
from ..notify import Answer, Kind, Message, Outcome
from ._options import config_option, failures, output_option, read_config, show

COMMAND = click.Group("notify", help="Channels to people, as the section `notify` of the configuration names them.")


@COMMAND.command("ls", help="List the channels and what is wrong with their files.")
@config_option
@output_option
def ls(config_path: Path, output: str) -> None:
    """List channels."""
    with failures():
        notify = _configured(config_path)
    problems = list(notify.missing_secrets())
    rows = [_row(each, problems) for each in notify.channels.values()]
    show(rows, output)


@COMMAND.command(
    "test",
    help="Send one test message over CHANNEL now. Exit code 0 when it was accepted; whether people saw it only they can tell.",
    epilog="Example: fleetmend-controller notify test oncall",
)
@click.argument("channel")
@config_option
@output_option
def test(channel: str, config_path: Path, output: str) -> None:
    """Send a test message."""
    with failures():
        notify = _configured(config_path)
    each = notify.channels.get(channel)
    if each is None:
        raise click.ClickException(f"cannot find channel {channel!r}: there are {', '.join(sorted(notify.channels))}")
    answer = asyncio.run(_send(each, notify.source))
    show([{"channel": channel, "type": each.channel.name, "outcome": answer.outcome.value, "text": answer.text or "-"}], output)
    if answer.outcome is not Outcome.ACCEPTED:
        raise SystemExit(1)


async def _send(each: Configured, source: str) -> Answer:
    now_ms = clock.wall_ms()
    message = Message(
        id=f"{source}/test/{now_ms}",
        thread=f"{source}/test",
        kind=Kind.TEST,
        at_ms=now_ms,
        incident="",
        opened_ms=now_ms,
        host="",
        host_id="",
        check="test",
        key="",
        summary="",
        playbook="",
        to="whoever reads this",
        severity="ticket",
        why="test",
        text=f"{source} can reach you over {each.name}; nothing is wrong",
        source=source,
    )
    return await each.channel.send(each.options, message)


def _configured(path: Path) -> Notify:
    notify = read_config(path).notify
    if notify is None:
        raise click.ClickException(f"cannot find channels: {path} has no section `notify`; see docs/notify.md")
    return notify


def _row(each: Configured, problems: list[str]) -> dict[str, str]:
    mine = [text for text in problems if text.startswith(f"channel {each.name}: ")]
    return {"channel": each.name, "type": each.channel.name, "problem": "; ".join(mine) or "-"}
