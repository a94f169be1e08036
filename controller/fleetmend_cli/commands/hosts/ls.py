"""`fleetmend hosts ls`: the servers of the fleet."""

from __future__ import annotations

import click

from ...command import Session, command, fetch_pages, limit_option, note_more
from ...output import Column, labels_text, print_table, word
from ...times import when
from ...wire import pb

STATES = ("up", "lost", "never-connected")
_COLUMNS = (
    Column("HOST"),
    Column("STATE"),
    Column("OPEN", right=True),
    Column("LABELS", fixed=False),
    Column("LAST SEEN", fixed=False),
    Column("AGENT", fixed=False),
    Column("ID"),
)


def _run(session: Session, selector: str | None, state: str | None, limit: int) -> None:
    request = pb.ListHostsRequest(selector=selector or "")
    if state:
        request.state = pb.HostState.Value(f"HOST_STATE_{state.replace('-', '_').upper()}")
    session.show(fetch_pages(session, "ListHosts", request, "hosts", limit), _print)


def _print(answer: pb.ListHostsResponse, now_ms: int) -> None:
    rows = [
        (
            host.name,
            word(pb.HostState.DESCRIPTOR, host.state),
            str(host.incidents_open),
            labels_text(host.labels) + (" (paused)" if host.paused_by else ""),
            when(host.last_seen_ms if host.HasField("last_seen_ms") else None, now_ms),
            host.agent_version or "-",
            host.id,
        )
        for host in answer.hosts
    ]
    print_table(_COLUMNS, rows)
    note_more(answer)


COMMAND = command(
    "ls",
    "List hosts by name.",
    _run,
    params=[
        click.Option(["--on", "selector"], metavar="SELECTOR", help="Only hosts with these labels, such as role=web,site=a."),
        click.Option(["--state"], type=click.Choice(STATES), help="Only hosts in this state."),
        limit_option(1000),
    ],
    examples=["fleetmend hosts ls", "fleetmend hosts ls --on role=web", "fleetmend hosts ls --state lost --output json"],
    json="ListHostsResponse",
)
