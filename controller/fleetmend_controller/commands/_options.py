"""What the commands share: the option `--config`, and output as a table, JSON or YAML."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import yaml

from ..config import DEFAULT_PATH, Config, ConfigError, load_config
from ..pki.files import StateError
from ..pki.operators import OperatorError
from ..store.migrate import SchemaError

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

config_option: Decorator = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DEFAULT_PATH,
    show_default=True,
    help="The controller's configuration file.",
)
output_option: Decorator = click.option(
    "--output", "-o", type=click.Choice(["table", "json", "yaml"]), default="table", show_default=True, help="How to print."
)


@contextmanager
def failures() -> Iterator[None]:
    """Turn what a command may run into into one line on stderr and exit code 1."""
    try:
        yield
    except (ConfigError, StateError, OperatorError, SchemaError, OSError) as error:
        raise click.ClickException(str(error)) from error


def read_config(path: Path) -> Config:
    """The configuration at `path`."""
    return load_config(path)


def show(rows: Sequence[dict[str, Any]], output: str) -> None:
    """Print rows of equal keys."""
    if output == "json":
        click.echo(json.dumps(list(rows), indent=2))
    elif output == "yaml":
        click.echo(yaml.safe_dump(list(rows), sort_keys=False), nl=False)
    elif rows:
        table = [[key.upper().replace("_", " ") for key in rows[0]], *([str(value) for value in row.values()] for row in rows)]
        widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
        for line in table:
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
