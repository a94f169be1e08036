"""`fleetmend-controller`: the commands of the controller's machine, one file each in commands/."""

from __future__ import annotations

import click

from fleetmend import registry

from . import commands


class _Folder(click.Group):
    """A group whose commands are the files of a folder, loaded only when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Every command, by file name."""
        return [name.replace("_", "-") for name in registry.names(commands)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """One command; None if there is no such file."""
        file = cmd_name.replace("-", "_")
        if file not in registry.names(commands):
            return None
        module = registry.import_one(commands, file)
        command = getattr(module, "COMMAND", None)
        if not isinstance(command, click.Command) or command.name != cmd_name:
            raise registry.RegistryError(
                f"cannot load {module.__name__}: it must declare COMMAND, a click command named {cmd_name!r}"
            )
        return command


@click.command(
    cls=_Folder,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Run and look after a Fleetmend controller.",
)
@click.version_option(package_name="fleetmend", message="%(version)s")
def main() -> None:
    """The entry point."""


if __name__ == "__main__":
    main()
