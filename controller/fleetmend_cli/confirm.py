"""Asking before what cannot be taken back."""

from __future__ import annotations

import sys

import click

from fleetmend.plain import plain_line

from .errors import CliError


def yes_option() -> click.Option:
    """--yes."""
    return click.Option(["--yes", "-y"], is_flag=True, help="Do not ask.")


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal; elsewhere --yes must have been given."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("cannot ask for confirmation without a terminal: give --yes")
    if not click.confirm(plain_line(question), err=True):
        raise CliError("cannot go on: not confirmed; nothing was changed")
