"""`fleetmend-controller check-config DIR...`: whether rules can be used, with every problem of every file at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import yaml

from ..config import load_config
from ..handover.routing import unreadable
from ..rules import Problem, RuleSet
from ._options import failures, output_option
from ._rules import host_policy_option, number_of, read_rules, show_warnings


@click.command(
    "check-config",
    help=(
        "Read the rules in every DIR (its declarations/, checks/ and playbooks/) as the controller would, and say everything "
        "that is wrong with them. Exit code 1 when they cannot be used; a running controller is not touched. With --config "
        "also the controller's own file and the secrets that it names; without DIR then the directories of that file."
    ),
    epilog="Example: fleetmend-controller check-config --config /etc/fleetmend/controller.yaml",
)
@click.argument("directories", metavar="[DIR]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path, dir_okay=False), help="Check this controller.yaml too."
)
@click.option("--strict", is_flag=True, help="Warnings count as problems.")
@host_policy_option
@output_option
def COMMAND(  # noqa: N802 - what every command file declares
    directories: tuple[Path, ...], config_path: Path | None, strict: bool, host_policies: tuple[Path, ...], output: str
) -> None:
    """Check and print."""
    if config_path is not None:
        named = _check_file(config_path)
        directories = directories or named
    elif not directories:
        raise click.UsageError("cannot check nothing: name the rules' DIR, or a file with --config")
    rules, problems, warnings = read_rules(directories, host_policies)
    _print(output, rules, problems, warnings)
    if rules is None or (strict and warnings):
        raise SystemExit(1)


def _check_file(path: Path) -> tuple[Path, ...]:
    """The controller's own file, every mistake at once; the directories of rules that it names."""
    with failures():
        config = load_config(path)
    problems = list(config.notify.missing_secrets()) if config.notify is not None else []
    if config.alertmanager is not None and config.alertmanager.token_file is not None:
        problems += [text for text in [unreadable("token_file", config.alertmanager.token_file)] if text]
    if problems:
        raise click.ClickException("\n".join(f"{path}: cannot use {problem}" for problem in problems))
    return config.rules_dirs


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
