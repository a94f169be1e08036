"""Mount a declared filesystem writable again, if nothing says that it turned read-only for a reason."""

from __future__ import annotations

from typing import Any

from ..effects import Effect
from ..globs import PatternError, check_path
from ..hosting import Hosted
from ..rules import HostRules
from . import Action, Cost, Param, Refused


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """Only where `remount: if-clean` is declared; whether it is clean is found out on the spot."""
    mount = params["mount"]
    rules.constraint(ACTION.name)
    try:
        check_path(mount)
    except PatternError as error:
        raise Refused("bad_parameter", str(error)) from error
    mounts = rules.part("mounts")
    rule = mounts.get(mount) if isinstance(mounts, dict) else None
    if not isinstance(rule, dict) or rule.get("remount") != "if-clean":
        raise Refused("undeclared", f"cannot mount {mount} writable: no declaration says remount: if-clean")
    return (Hosted("remount_rw", (mount,)),)


ACTION = Action(
    name="remount_rw",
    summary="Mount a read-only filesystem writable again if neither it nor the kernel tells of an error.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(Param("mount", "text", "The declared mount point.", required=True),),
    proved_by=("filesystem_readonly",),
    timeout_s=60.0,
)
