"""`fleetmend-controller history export`: recorded history as a file, to try playbooks on elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from ..backtest.history import HistoryError, from_database, write_file
from ..decider.ledger import PolicyMissing
from ._options import config_option, failures, output_option, read_config, show
from .backtest import since_of

COMMAND = click.Group("history", help="The record of what hosts told and what was decided.")


@COMMAND.command(
    "export",
    help=(
        "Write the newest part of the journal to FILE as JSON lines, packed if its name ends with .gz, for `backtest "
        "--history`. What actions printed is left out; host names, labels, findings and the rules are in it. Changes nothing."
    ),
    epilog="Example: fleetmend-controller history export --since 30d history.jsonl.gz",
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--since", default="30d", show_default=True, help="How far back from the newest record, such as 12h or 30d.")
@config_option
@output_option
def export(file: Path, since: str, config_path: Path, output: str) -> None:
    """Write the file."""
    with failures():
        try:
            history = from_database(read_config(config_path).database_url, since_of(since))
        except (HistoryError, PolicyMissing) as error:
            raise click.ClickException(str(error)) from error
        lines = write_file(history, file)
    show([{"file": str(file), "lines": lines, "events": len(history.events), "rules": len(history.policies)}], output)
