"""`fleetmend-controller lint DIR...`: rules that can be used but are unsafe, or can never do anything."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
import yaml

from ._options import output_option
from ._rules import directories_argument, host_policy_option, number_of, read_rules, show_warnings


@click.command(
    "lint",
    help=(
        "Find what is unsafe or unreachable in the rules of every DIR: playbooks without limits or proof, steps that bring "
        "about the fault that they answer, two playbooks that fight over one subject, playbooks that another always precedes, "
        "and, with --host-policy, actions that no host would run. Exit code 1 when there is anything to say."
    ),
    epilog="Example: fleetmend-controller lint /etc/fleetmend/rules --host-policy /etc/fleetmend/executor.yaml",
)
@directories_argument
@host_policy_option
@output_option
def COMMAND(  # noqa: N802 - what every command file declares
    directories: tuple[Path, ...], host_policies: tuple[Path, ...], output: str
) -> None:
    """Look, print, and fail when something was found."""
    rules, problems, warnings = read_rules(directories, host_policies)
    if output == "table":
        for problem in problems:
            click.echo(str(problem), err=True)
        show_warnings(warnings)
        found = number_of(len(problems) + len(warnings), "finding")
        click.echo(
            f"cannot call these rules safe: {found}" if problems or warnings else "nothing unsafe or unreachable was found"
        )
    else:
        result = {
            "usable": rules is not None,
            "problems": [asdict(problem) for problem in problems],
            "findings": [asdict(warning) for warning in warnings],
        }
        click.echo(json.dumps(result, indent=2) if output == "json" else yaml.safe_dump(result, sort_keys=False).rstrip())
    if problems or warnings:
        raise SystemExit(1)
