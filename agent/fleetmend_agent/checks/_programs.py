"""Is this process the same program as a unit would run, for the same user? systemd is asked, and only about a stranger."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import Field, Kind, Scalar
from ._processes import command_line, in_container, user_name

if TYPE_CHECKING:
    from ..host import Host
    from ._processes import Look, Process

_ASK_TIMEOUT_S = 5.0
_ARGV = re.compile(r"argv\[\]=(.*?) ; ignore_errors=")
FIELDS = (
    Field("pid", Kind.INTEGER, "the process outside the unit"),
    Field("start_ticks", Kind.INTEGER, "when it started: field 22 of /proc/PID/stat"),
    Field("name", Kind.TEXT, "its name"),
    Field("user", Kind.TEXT, "the user it runs for"),
    Field("in_unit", Kind.TEXT, "the unit it runs in, if it runs in one"),
    Field("same_program", Kind.FLAG, "it has the command line and the user that the unit's own process would have"),
)


@dataclass(frozen=True, slots=True)
class Program:
    """What a unit runs: its command lines as systemd tells them, and its user."""

    commands: tuple[str, ...]
    user: str


def of_unit(host: Host, unit: str) -> Program:
    """What systemd would start; nothing if it cannot be asked."""
    try:
        done = host.run(("systemctl", "show", "--property=ExecStart", "--property=User", "--", unit), _ASK_TIMEOUT_S)
    except OSError:
        return Program((), "")
    return parse(done.stdout)


def parse(text: str) -> Program:
    """`ExecStart={ path=... ; argv[]=a b c ; ignore_errors=no ; ...}` and `User=...`."""
    lines = dict(line.split("=", 1) for line in text.splitlines() if line.startswith("User="))
    commands = [found for line in text.splitlines() if line.startswith("ExecStart=") for found in _ARGV.findall(line)]
    return Program(tuple(commands), lines.get("User", "") or "root")


def is_same(command: Sequence[str], user: str, program: Program, text: str = "") -> bool:
    """Whether a command line and user are the program's. `text`: what its command line was declared to contain."""
    line = " ".join(command)
    return bool(line) and user == program.user and (line in program.commands or bool(text and text in line))


def facts(host: Host, process: Process, same: bool) -> dict[str, Scalar]:
    """The fields above."""
    user = user_name(host, process.uid)
    return {**process.facts(), "user": user, "in_unit": process.unit, "same_program": same}


def doubles(host: Host, look: Look, unit: str, declared: Iterable[str], text: str) -> list[Process]:
    """Processes outside the unit, and outside every declared one, that have the command line and the user of one inside it."""
    inside = look.of_unit(unit)
    likes = {(p.name, p.uid): command_line(host, p.pid) for p in inside}
    kept = {unit, *declared}
    pids = {p.pid for p in inside}
    return [
        p
        for p in look.by_pid.values()
        if p.unit not in kept
        and not p.is_zombie
        and not in_container(p)
        and p.ppid not in pids
        and (like := likes.get((p.name, p.uid)))
        and (line := command_line(host, p.pid))
        and (line == like or (text and text in " ".join(line) and text in " ".join(like)))
    ]
