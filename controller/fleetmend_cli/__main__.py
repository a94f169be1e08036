"""`fleetmend`: the root of the commands, and how to reach the controller."""

from __future__ import annotations

import click

from . import commands
from .command import connection_options
from .lazy import Group

_HELP = """Look after a fleet: what is wrong, what is being healed, and why.

\b
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the controller cannot be reached.
Every command takes --output table, json or yaml.
"""
_EPILOG = """\b
Examples:
  fleetmend status
  fleetmend incidents ls --output json
  fleetmend explain inc-17
  fleetmend --controller ctl.example:7443 --ca ca.crt --cert me.crt --key me.key hosts ls

\b
How the controller is found, first match wins:
  the options above; FLEETMEND_SOCKET, or FLEETMEND_CONTROLLER with FLEETMEND_CA, FLEETMEND_CERT and FLEETMEND_KEY;
  the controller's own socket /run/fleetmend-controller/admin.sock, where it may be opened;
  ~/.config/fleetmend/config.yaml with the keys controller, ca, certificate and key.

\b
What --output json prints is described in docs/json.md of the source.
"""


def root() -> click.Group:
    """The root group."""
    settings = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "auto_envvar_prefix": None}
    group = Group("fleetmend", commands, help=_HELP, epilog=_EPILOG, params=connection_options(), context_settings=settings)
    return click.version_option(package_name="fleetmend", prog_name="fleetmend")(group)


def main() -> None:
    """The program."""
    root().main(prog_name="fleetmend")


if __name__ == "__main__":
    main()
