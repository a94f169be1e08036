"""`fleetmend-controller check-config DIR...`: whether rules can be used, with every problem of every file at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import yaml

from ..rules import Problem, RuleSet
from ._options import output_option
from ._rules import directories_argument, host_policy_option, number_of, read_rules, show_warnings


@click.command(
    "check-config",
    help=(
        "Read the rules in every DIR (its declarations/, checks/ and playbooks/) as the controller would, and say everything "
        "that is wrong with them. Exit code 1 when they cannot be used; a running controller is not touched."
    ),
    epilog="Example: fleetmend-controller check-config /etc/fleetmend/rules",
)
@directories_argument
@click.option("--strict", is_flag=True, help="Warnings count as problems.")
@host_policy_option
@output_option
def COMMAND(  # noqa: N802 - what every command file declares
    directories: tuple[Path, ...], strict: bool, host_policies: tuple[Path, ...], output: str
) -> None:
    """Check and print."""
    rules, problems, warnings = read_rules(directories, host_policies)
    _print(output, rules, problems, warnings)
    if rules is None or (strict and warnings):
        raise SystemExit(1)


def _print(output: str, rules: RuleSet | None, problems: Sequence[Problem], warnings: Sequence[Problem]) -> None:
    if output == "table":
        _print_text(rules, problems, warnings)
        return
    result = {
        "usable": rules is not None,
        "digest": rules.digest if rules else "",
        "counts": _counts(rules) if rules else {},
        "problems": [asdict(problem) for problem in problems],
        "warnings": [asdict(problem) for problem in warnings],
    }
    text = json.dumps(result, indent=2) if output == "json" else yaml.safe_dump(result, sort_keys=False).rstrip()
    click.echo(text)


def _print_text(rules: RuleSet | None, problems: Sequence[Problem], warnings: Sequence[Problem]) -> None:
    for problem in problems:
        click.echo(str(problem), err=True)
    show_warnings(warnings)
    if rules is None:
        click.echo(f"cannot use these rules: {number_of(len(problems), 'problem')}", err=True)
        return
    counts = ", ".join(number_of(count, what) for what, count in _counts(rules).items())
    tail = f", {number_of(len(warnings), 'warning')}" if warnings else ""
    click.echo(f"these rules can be used: {counts}{tail} (digest {rules.digest[:12]})")


def _counts(rules: RuleSet) -> dict[str, Any]:
    return {
        "declaration": len(rules.declarations),
        "check": len(rules.check_types),
        "playbook": len(rules.policy.playbooks),
    }
