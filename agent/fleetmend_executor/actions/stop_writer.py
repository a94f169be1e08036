"""Stop who fills a filesystem without end, if it is one of those who may be stopped."""

from __future__ import annotations

from typing import Any

from ..effects import Effect
from ..globs import PatternError, check_path
from ..rules import HostRules
from ..writers import StopWriter
from . import Action, Cost, Param, Refused


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """Only on a declared mount, and only processes of users that are declared killable, outside every declared unit."""
    mount = params["mount"]
    rules.constraint(ACTION.name)
    try:
        check_path(mount)
    except PatternError as error:
        raise Refused("bad_parameter", str(error)) from error
    mounts, killable = rules.part("mounts"), rules.part("killable")
    if not isinstance(mounts, dict) or mount not in mounts:
        raise Refused("undeclared", f"cannot look for who fills {mount}: no declaration names it")
    users = tuple(str(rule["user"]) for rule in killable if isinstance(rule, dict) and "user" in rule) if killable else ()
    if not users:
        raise Refused("undeclared", f"cannot stop who fills {mount}: no declaration calls any user's processes killable")
    return (StopWriter(mount, users, tuple(rules.declaration.units), rules.forbidden_units(ACTION.name)),)


ACTION = Action(
    name="stop_writer",
    summary="Find who writes files that grow on a mount, and stop the processes of killable users outside declared units.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(Param("mount", "text", "The declared mount point.", required=True),),
    proved_by=("filesystem_fill", "filesystem_space"),
    timeout_s=60.0,
)
