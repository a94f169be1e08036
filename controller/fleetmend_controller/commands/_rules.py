"""What check-config and lint share: reading rules from directories, and naming places so that an editor can open them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import yaml

from ..playbooks.load import compile_rules, read_documents
from ..rules import Problem, RulesError, RuleSet
from ._options import Decorator

directories_argument: Decorator = click.argument(
    "directories", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
host_policy_option: Decorator = click.option(
    "--host-policy",
    "host_policies",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Also warn of steps that none of these executor.yaml files allows; repeatable.",
)


def read_rules(
    directories: Sequence[Path], host_policies: Sequence[Path]
) -> tuple[RuleSet | None, list[Problem], list[Problem]]:
    """The rules, or None; their problems; their warnings."""
    allowed = {str(path): _actions_in(path) for path in host_policies}
    try:
        rules = compile_rules(read_documents(directories), host_policies=allowed)
    except RulesError as error:
        return None, _located(error.problems, directories), []
    return rules, [], _located(rules.warnings, directories)


def show_warnings(warnings: Sequence[Problem]) -> None:
    """One line each, on stderr."""
    for warning in warnings:
        click.echo(f"{warning.file}:{warning.line}:{warning.column}: warning: {warning.text}", err=True)


def number_of(count: int, what: str) -> str:
    """`1 warning`, `2 warnings`."""
    return f"{count} {what}" + ("" if count == 1 else "s")


def _actions_in(path: Path) -> list[str]:
    """The actions that a host policy lists."""
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise click.ClickException(f"cannot read the host policy {path}: {error}") from error
    actions = values.get("actions") if isinstance(values, dict) else None
    if not isinstance(actions, dict):
        raise click.ClickException(f"cannot use the host policy {path}: it has no mapping `actions`")
    return [str(name) for name in actions]


def _located(problems: Sequence[Problem], directories: Sequence[Path]) -> list[Problem]:
    """The problems with paths that an editor can open from here; rules themselves know only paths below their directory."""
    located = []
    for problem in problems:
        path = next((each / problem.file for each in directories if (each / problem.file).exists()), Path(problem.file))
        located.append(replace(problem, file=str(path)))
    return located
