"""`fleetmend maintenance add`: announce maintenance, once or again and again."""

from __future__ import annotations

import re

import click

from fleetmend.plain import plain_line

from ...command import Session, command
from ...options import duration_option
from ...tables import window_hosts, window_times
from ...times import TimeError, parse_until, zone_name
from ...wire import pb

_CLOCK = re.compile(r"\d{1,2}:\d\d")


def _run(
    session: Session,
    selector: str | None,
    hosts: tuple[str, ...],
    begin: str | None,
    until: str | None,
    length_ms: int | None,
    every: str | None,
    zone: str | None,
    reason: str | None,
) -> None:
    if bool(selector) == bool(hosts):
        raise click.UsageError("cannot choose hosts: give either --on LABEL=VALUE or --host, and not both")
    if (until is None) == (length_ms is None):
        raise click.UsageError("cannot know how long it lasts: give either --until or --for")
    if zone and not every:
        raise click.UsageError("cannot use --tz without --every: other times are those of this machine")
    if not reason:
        raise click.UsageError("cannot announce maintenance without --reason: people will ask")
    start_ms = session.now_ms + _until("--from", begin, session.now_ms) if begin else 0
    request = pb.AddMaintenanceRequest(
        selector=selector or "",
        hosts=hosts,
        start_ms=start_ms,
        # A length counts from the beginning, and 18:30 is the first one after it.
        length_ms=length_ms or _until("--until", until or "", start_ms or session.now_ms),
        repeat=_repeat(every, zone) if every else "",
        reason=reason,
    )
    session.show(session.call("AddMaintenance", request), _print)


def _until(option: str, text: str, now_ms: int) -> int:
    try:
        return parse_until(text, now_ms)
    except TimeError as error:
        raise click.UsageError(f"cannot read {option}: {error}") from None


def _repeat(every: str, zone: str | None) -> str:
    """As the controller writes it: `daily 02:00 UTC`, `weekly Sat,Sun 02:00 Europe/Berlin`."""
    words = every.split()
    if len(words) == 1 and _CLOCK.fullmatch(words[0]):
        words.insert(0, "daily")
    elif words and words[0].lower() not in ("daily", "weekly"):
        words.insert(0, "weekly")
    return " ".join([*words, zone or zone_name() or "UTC"])


def _print(answer: pb.AddMaintenanceResponse, now_ms: int) -> None:
    window = answer.window
    covered = "1 host" if window.hosts_covered == 1 else f"{window.hosts_covered} hosts"
    click.echo(plain_line(f"announced {window.id} for {window_hosts(window)} ({covered}), {window_times(window, now_ms)}"))
    click.echo("faults are still seen; what still fails at the end is handled then")


COMMAND = command(
    "add",
    "Announce maintenance: nothing is healed on these hosts meanwhile.",
    _run,
    params=[
        click.Option(["--on", "selector"], metavar="LABEL=VALUE,...", help="Hosts with all these labels, also later ones."),
        click.Option(["--host", "hosts"], multiple=True, help="A host by id or name; may be repeated."),
        click.Option(["--from", "begin"], metavar="TIME", help="When it begins: 30m, 18:30, 2026-05-01T18:30; default: now."),
        click.Option(["--until"], metavar="TIME", help="When it ends: 18:30 or 2026-05-01T18:30."),
        duration_option(["--for", "length_ms"], "How long it lasts, each time.", None),
        click.Option(["--every"], metavar="TEXT", help='Again and again: "Sat 02:00", "Sat,Sun 02:00", "daily 02:00".'),
        click.Option(["--tz", "zone"], metavar="ZONE", help="Time zone of --every; default: this machine's."),
        click.Option(["--reason"], help="Why; kept with the window and in the audit trail."),
    ],
    examples=[
        'fleetmend maintenance add --on role=web --for 2h --reason "kernel upgrade"',
        'fleetmend maintenance add --host web-3 --from 22:00 --until 23:30 --reason "disk swap"',
        'fleetmend maintenance add --on role=db --every "Sat 02:00" --tz Europe/Berlin --for 4h --reason "weekly patches"',
    ],
    json="AddMaintenanceResponse",
)
