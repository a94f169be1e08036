"""`fleetmend-controller init`: everything that a controller needs before its first start. Run twice, it changes nothing."""

from __future__ import annotations

from pathlib import Path

import click

from ..pki import commands as pki
from ._options import config_option, failures, output_option, read_config, show


@click.command("init", help="Create the CA, the master secret and the database where they are absent.")
@config_option
@output_option
def COMMAND(config_path: Path, output: str) -> None:  # noqa: N802 - the constant that every command file declares
    """Create what is absent and say where the CA certificate is."""
    with failures():
        done = pki.init(read_config(config_path))
    show([{"created": done.created, "ca": str(done.ca_path), "sha256": done.fingerprint}], output)
