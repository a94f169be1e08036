"""Runs `fleetmend` in this process as a shell would, or as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from fleetmend_cli.__main__ import root

COLUMNS = 100


@dataclass(frozen=True, slots=True)
class Result:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """A shell whose environment names one admin socket."""

    def __init__(self, socket: Path, home: Path) -> None:
        self.env = {
            "FLEETMEND_SOCKET": str(socket),
            "COLUMNS": str(COLUMNS),
            "HOME": str(home),
            "TZ": "UTC",
            "XDG_CONFIG_HOME": "",
        }

    def __call__(self, *words: str, env: dict[str, str] | None = None, stdin: str | None = None) -> Result:
        """Run in this process."""
        done = CliRunner().invoke(root(), list(words), env={**self.env, **(env or {})}, input=stdin, prog_name="fleetmend")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Result(done.exit_code, done.stdout, done.stderr)

    def process(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start as a process of its own."""
        argv = [sys.executable, "-m", "fleetmend_cli", *words]
        env = {**os.environ, **self.env}
        return subprocess.Popen(argv, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

    def process_on(self, terminal: int, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start as a process whose output is a terminal."""
        argv = [sys.executable, "-m", "fleetmend_cli", *words]
        return subprocess.Popen(argv, env={**os.environ, **self.env}, stdout=terminal, stderr=terminal, **options)


def all_commands(group: click.Group | None = None, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The words of every command that is no group."""
    group = group or root()
    context = click.Context(group)
    found: list[tuple[str, ...]] = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        found += all_commands(command, (*path, name)) if isinstance(command, click.Group) else [(*path, name)]
    return found
