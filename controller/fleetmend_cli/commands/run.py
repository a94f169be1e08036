"""`fleetmend run`: one action on chosen servers."""

from __future__ import annotations

from typing import Any

import click

from fleetmend.plain import plain_line

from ..command import Session, command, read_pairs
from ..errors import CliError
from ..options import duration_option
from ..output import Column, is_terminal, plain, print_heading, print_table, word
from ..wire import pb

_COLUMNS = (Column("HOST"), Column("RESULT"), Column("INCIDENT"), Column("TEXT", fixed=False))


def _run(session: Session, **given: Any) -> None:
    hosts, selector, everything = given["hosts"], given["selector"], given["everything"]
    if not hosts and not selector and not everything:
        raise click.UsageError("cannot run on no host: choose with --host, --on SELECTOR, or --all")
    request = pb.RunActionRequest(
        action=given["action"],
        params=read_pairs(given["params"], "parameter"),
        hosts=hosts,
        selector=selector or "",
        expect=given["expect"],
        all=everything,
        reason=given["reason"] or "",
        wait_ms=given["wait_ms"],
        approve_myself=given["approve_myself"],
    )
    plan, summary = _follow(session, request)
    if session.output == "table":
        _print(summary)
    else:
        session.show_value({"plan": plain(plan), "summary": plain(summary)})
    if summary.not_done:
        raise CliError(
            f"cannot call it done: {summary.not_done} of {len(plan.hosts)} hosts did not do it",
            "`fleetmend explain INCIDENT` says why for each",
        )


def _follow(session: Session, request: Any) -> tuple[Any, Any]:
    """Plan and summary; what happens between is shown to whoever watches a terminal."""
    watched = is_terminal(err=True)
    plan = summary = None
    try:
        for answer in session.stream("RunAction", request):
            kind = answer.WhichOneof("message")
            if kind == "plan":
                plan = answer.plan
                _warn(plan)
            elif kind == "summary":
                summary = answer.summary
            elif watched and kind == "update":
                update = answer.update
                state = word(pb.RunState.DESCRIPTOR, update.state)
                click.echo(plain_line(f"{update.host_name}: {state} {update.text}".rstrip()), err=True)
    except KeyboardInterrupt:
        raise CliError(
            "cannot say how it ends: interrupted; the request lives on", "`fleetmend incidents ls` shows it"
        ) from None
    if plan is None or summary is None:
        raise CliError(
            "cannot say how it ends: the controller ended the stream early", "`fleetmend incidents ls` shows the request"
        )
    return plan, summary


def _warn(plan: pb.RunPlan) -> None:
    unwilling = [host.name for host in plan.hosts if host.unwilling]
    if unwilling:
        named = ", ".join(unwilling[:10]) + (", ..." if len(unwilling) > 10 else "")
        click.echo(plain_line(f"the own policy of {named} did not list {plan.action}: expect a refusal"), err=True)


def _print(summary: pb.RunSummary) -> None:
    results = summary.results
    print_table(_COLUMNS, [(r.host_name, word(pb.RunState.DESCRIPTOR, r.state), r.incident_id or "-", r.text) for r in results])
    for result in results:
        if result.output:
            print_heading(f"{result.host_name} said")
            for line in result.output.splitlines():
                click.echo(f"  {plain_line(line)}")


COMMAND = command(
    "run",
    "Run one action on chosen hosts, and wait for their answers.",
    _run,
    params=[
        click.Argument(["action"]),
        click.Option(
            ["--param", "-p", "params"], multiple=True, metavar="NAME=VALUE", help="Parameter of the action; repeatable."
        ),
        click.Option(["--host", "hosts"], multiple=True, help="A host by id or name; repeatable."),
        click.Option(["--on", "selector"], metavar="SELECTOR", help="Hosts with these labels, such as role=web,site=a."),
        click.Option(["--expect"], type=click.IntRange(1), metavar="N", help="How many hosts this must be."),
        click.Option(
            ["--all", "everything"], is_flag=True, help="Whatever number it is; without --on every host of the fleet."
        ),
        click.Option(["--reason"], help="Why; kept in the audit trail."),
        click.Option(["--approve-myself"], is_flag=True, help="Nobody else need approve what cannot be undone; admins only."),
        duration_option(["--wait", "wait_ms"], "How long to wait for answers.", "10m"),
    ],
    examples=[
        "fleetmend run restart_unit --host web-3 -p unit=nginx.service",
        "fleetmend run reload_unit --on role=web --expect 12 -p unit=nginx.service --reason 'new certificate'",
        "fleetmend run collect_evidence --host web-3 --output json | jq -r '.summary.results[].output'",
    ],
    json="{plan: RunPlan, summary: RunSummary}",
    text="It passes the same gates as a playbook's action, and what cannot be undone waits until another person approves it"
    " (`fleetmend approvals ls`). More than one host takes --expect with the right number, or --all."
    " Exit code 1 if any host did not do it.",
)
