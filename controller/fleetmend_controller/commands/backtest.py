"""`fleetmend-controller backtest PLAYBOOK.yaml`: what a playbook would have done to recorded history."""

from __future__ import annotations

import json
from pathlib import Path

import click
import yaml

from ..backtest.history import History, HistoryError, from_database, read_file
from ..backtest.report import text_of
from ..backtest.run import backtest
from ..backtest.variant import Variant, VariantError, parse_limits
from ..decider.ledger import PolicyMissing
from ..playbooks.text import FILE_BYTES_MAX
from ..playbooks.values import duration_ms
from ._options import config_option, failures, output_option, read_config


@click.command(
    "backtest",
    help=(
        "Replay recorded history with PLAYBOOK put into the rules of the time, in the place of the one of the same name, and "
        "say what it would have done. Reads a snapshot of the database beside a running controller and changes nothing; "
        "docs/backtest.md says what is certain and what is assumed."
    ),
    epilog="Example: fleetmend-controller backtest restart.yaml --since 30d --limits fleet.percent=5",
)
@click.argument("playbook", metavar="PLAYBOOK", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--since", default="30d", show_default=True, help="How far back from the newest record, such as 12h or 30d.")
@click.option("--limits", multiple=True, metavar="NAME=VALUE", help="Replace a limit, such as fleet.percent=5; repeatable.")
@click.option(
    "--history",
    "history_path",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Replay this exported file instead of the controller's database.",
)
@config_option
@output_option
def COMMAND(  # noqa: N802 - what every command file declares
    playbook: Path, since: str, limits: tuple[str, ...], history_path: Path | None, config_path: Path, output: str
) -> None:
    """Replay and print."""
    with failures():
        try:
            variant = Variant(playbook.name, _text(playbook), parse_limits(limits))
            result = backtest(_history(history_path, config_path, since), variant)
        except (HistoryError, VariantError, PolicyMissing) as error:
            raise click.ClickException(str(error)) from error
    if output == "table":
        click.echo(text_of(result))
    else:
        click.echo(json.dumps(result, indent=2) if output == "json" else yaml.safe_dump(result, sort_keys=False).rstrip())


def _text(path: Path) -> str:
    raw = path.read_bytes()
    if len(raw) > FILE_BYTES_MAX:
        raise VariantError(f"cannot read {path}: it has more than {FILE_BYTES_MAX} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise VariantError(f"cannot read {path}: it is not UTF-8 text") from error


def _history(path: Path | None, config_path: Path, since: str) -> History:
    since_ms = since_of(since)
    return read_file(path, since_ms) if path is not None else from_database(read_config(config_path).database_url, since_ms)


def since_of(text: str) -> int:
    """Milliseconds of a duration on the command line."""
    try:
        return duration_ms(text)
    except ValueError as error:
        raise HistoryError(f"cannot read --since {text!r}: {error}") from error
