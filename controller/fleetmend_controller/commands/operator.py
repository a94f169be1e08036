"""`fleetmend-controller operator add|rm|ls`: the people who may call the controller from afar, and their certificates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from ..pki import commands as pki
from ..pki.names import Role
from ..pki.operators import Operator
from ._options import config_option, failures, output_option, read_config, show

COMMAND = click.Group("operator", help="Operators' certificates.")


@COMMAND.command("add", help="Issue a certificate to NAME and write operator.key, operator.crt and ca.crt into a directory.")
@click.argument("name")
@click.option("--role", type=click.Choice([role.word for role in Role]), required=True, help="What the operator may do.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Directory for the three files.")
@click.option("--days", type=click.IntRange(1, 825), default=365, show_default=True, help="How long the certificate is valid.")
@config_option
@output_option
def add(name: str, role: str, out: Path, days: int, config_path: Path, output: str) -> None:
    """Issue a certificate."""
    with failures():
        paths = pki.operator_add(read_config(config_path), name, role, out, timedelta(days=days))
    show([{"file": str(path)} for path in paths], output)


@COMMAND.command("rm", help="Revoke every certificate of NAME; its next call is refused.")
@click.argument("name")
@config_option
@output_option
def rm(name: str, config_path: Path, output: str) -> None:
    """Revoke an operator."""
    with failures():
        revoked = pki.operator_remove(read_config(config_path), name)
    show([{"name": name, "revoked": revoked}], output)


@COMMAND.command("ls", help="List the certificates of operators.")
@config_option
@output_option
def ls(config_path: Path, output: str) -> None:
    """List operators."""
    with failures():
        known = pki.operator_list(read_config(config_path))
    show([_row(operator) for operator in known], output)


def _row(operator: Operator) -> dict[str, str]:
    return {
        "name": operator.name,
        "role": operator.role,
        "valid_until": _date(operator.not_after_ms),
        "revoked": _date(operator.revoked_ms) if operator.revoked_ms is not None else "-",
        "serial": operator.serial,
    }


def _date(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
