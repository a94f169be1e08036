"""Stop whoever of the killable users fills a filesystem from outside every declared unit."""

from __future__ import annotations

from typing import Any

from ..effects import Effect
from ..globs import PatternError, check_path, is_protected, is_wild
from ..rules import SYSTEM_PATHS, HostRules
from ..starting import spared_units
from ..strangers import killable_users
from ..strays import StopStray
from . import Action, Cost, Param, Refused


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """Who writes is found on the host, by the files that are open for writing there; a declared service that writes stays."""
    users = killable_users(rules, ACTION.name)
    mount = params["mount"]
    try:
        check_path(mount)
    except PatternError as error:
        raise Refused("bad_parameter", str(error)) from error
    if is_wild(mount) or is_protected(mount, SYSTEM_PATHS):
        raise Refused("bad_parameter", f"cannot look for writers below {mount}: name one mount point, and none of the system's")
    return (StopStray(users, spared_units(rules, ACTION.name), writes_below=mount),)


ACTION = Action(
    name="stop_writer",
    summary="Stop what a user declared killable runs outside every declared unit and that writes on one filesystem.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(Param("mount", "text", "Where the filesystem is mounted; / cannot be named.", required=True),),
    proved_by=("filesystem_fill", "filesystem_space", "filesystem_inodes", "nagios_plugin"),
    timeout_s=90.0,
)
