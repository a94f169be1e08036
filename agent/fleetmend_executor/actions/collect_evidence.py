"""Read what a person would look at first; changes nothing."""

from __future__ import annotations

from typing import Any

from ..effects import Command, Effect, ReadEvidence
from ..globs import PatternError, any_unit, check_path, is_protected
from ..rules import HostRules
from ..units import checked_name
from . import Action, Cost, Param, Refused

LINES_MAX = 500
_TOOL_TIMEOUT_S = 5.0
_NO_FILESYSTEMS = ("/etc", "/root", "/proc", "/sys", "/dev")


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """Reading needs no declaration: what nobody declared is exactly what a person must see."""
    constraint = rules.constraint(ACTION.name)
    lines = params["lines"]
    if not 1 <= lines <= LINES_MAX:
        raise Refused("bad_parameter", f"cannot collect {lines} lines: between 1 and {LINES_MAX}")
    unit = checked_name(params["unit"]) if params["unit"] else ""
    if unit and (any_unit(unit, constraint.excluded) or not any_unit(unit, constraint.units)):
        raise Refused("not_permitted", f"cannot collect evidence of {unit}: this host's policy file excludes it")
    mount = params["mount"]
    if mount and mount != "/":
        try:
            check_path(mount)
        except PatternError as error:
            raise Refused("bad_parameter", str(error)) from error
        if is_protected(mount, _NO_FILESYSTEMS):
            raise Refused("protected", f"cannot look at what fills {mount}: that is no filesystem of files")
    consumers = (ReadEvidence("consumers", mount=mount),) if mount else ()
    return (*(_of_unit(unit, lines) if unit else ()), *consumers, *_of_host())


def _of_unit(unit: str, lines: int) -> tuple[Effect, ...]:
    return (
        _tool("status", "systemctl", "--no-pager", "--no-ask-password", "--lines=0", "--full", "status", "--", unit),
        _tool("journal", "journalctl", "--no-pager", "--quiet", "--output=short-iso", f"--lines={lines}", f"--unit={unit}"),
    )


def _of_host() -> tuple[Effect, ...]:
    """`df -l` keeps off network filesystems, which may hang."""
    return (
        ReadEvidence("processes"),
        ReadEvidence("sockets"),
        ReadEvidence("deleted"),
        _tool("filesystems", "df", "-l", "-P", "-k"),
        _tool("kernel", "journalctl", "--no-pager", "--quiet", "--dmesg", "--output=short-iso", "--lines=30"),
    )


def _tool(title: str, *argv: str) -> Command:
    return Command(argv, _TOOL_TIMEOUT_S, optional=True, title=title)


ACTION = Action(
    name="collect_evidence",
    summary="Collect unit status, journal tail, top processes, sockets, deleted open files, filesystems and kernel messages.",
    cost=Cost.HARMLESS,
    plan=_plan,
    params=(
        Param("unit", "text", "Also status and journal of this unit.", default=""),
        Param("lines", "integer", "How many journal lines of the unit.", default=50),
        Param("mount", "text", "Also what takes the space of the filesystem mounted here.", default=""),
    ),
    timeout_s=30.0,
)
