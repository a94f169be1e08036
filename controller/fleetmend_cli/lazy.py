"""Groups whose commands are the files of a folder, imported when they are named or listed."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import click

from fleetmend import registry


class Group(click.Group):
    """A group over a registry folder: each file declares `COMMAND`, named like the file."""

    def __init__(self, name: str, folder: ModuleType, **settings: Any) -> None:
        super().__init__(name, **settings)
        self._folder = folder

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The files of the folder."""
        return registry.names(self._folder)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of one file, or None if there is no such file."""
        if cmd_name not in registry.names(self._folder):
            return None
        return registry.load_one(self._folder, cmd_name, "COMMAND", click.Command)


def group(module: str, summary: str) -> Group:
    """What the `__init__` of a package of commands declares as `COMMAND`; `module` is its `__name__`."""
    import sys

    return Group(module.rpartition(".")[2], sys.modules[module], help=summary, no_args_is_help=True)
