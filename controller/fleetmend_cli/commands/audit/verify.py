"""`fleetmend audit verify`: whether the journal is whole."""

from __future__ import annotations

import click

from ...command import Session, command
from ...errors import CliError
from ...output import is_terminal, plain
from ...wire import pb


def _run(session: Session) -> None:
    watched = is_terminal(err=True)
    verdict = None
    for step in session.stream("VerifyAudit", pb.VerifyAuditRequest()):
        if step.HasField("verdict"):
            verdict = step.verdict
        elif watched and step.rows_total:
            click.echo(f"\r{step.rows_checked} of {step.rows_total} rows", err=True, nl=False)
    if watched:
        click.echo("\r\x1b[K", err=True, nl=False)
    if verdict is None:
        raise CliError("cannot verify the journal: the controller ended the stream early", "try again; see `fleetmend status`")
    if session.output != "table":
        session.show_value(plain(verdict))
    elif verdict.intact:
        click.echo(f"the journal is whole: {verdict.rows} rows")
    if not verdict.intact:
        raise CliError(verdict.problem)


COMMAND = command(
    "verify",
    "Check the hash chain of the whole journal; exit code 1 if a row was changed, cut or lost.",
    _run,
    examples=["fleetmend audit verify", "fleetmend audit verify --output json | jq .bad_seq"],
    json="AuditVerdict",
)
