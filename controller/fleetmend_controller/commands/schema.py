"""`fleetmend-controller schema`: the JSON Schema of rule files, for editors."""

from __future__ import annotations

import json

import click

from fleetmend.catalogue import load_catalogue

from ..playbooks.editors import KINDS, schema_of, schema_of_all


@click.command(
    "schema",
    help="Print the JSON Schema of rule files for editors: of one KIND, or of all in one.",
    epilog="Example: fleetmend-controller schema playbooks > playbooks.schema.json",
)
@click.argument("kind", type=click.Choice(sorted(KINDS)), required=False)
def COMMAND(kind: str | None) -> None:  # noqa: N802 - the constant that every command file declares
    """Print a schema."""
    catalogue = load_catalogue()
    schema = schema_of(kind, catalogue) if kind else schema_of_all(catalogue)
    click.echo(json.dumps(schema, indent=2, ensure_ascii=False))
