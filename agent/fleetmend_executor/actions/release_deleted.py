"""Free the space that deleted files take because somebody still has them open."""

from __future__ import annotations

from typing import Any

from ..deleted import ReleaseDeleted
from ..effects import Effect
from ..globs import PatternError, check_path, is_protected, is_wild
from ..rules import SYSTEM_PATHS, HostRules
from ..starting import spared_units, start
from ..strangers import killable_users
from . import Action, Cost, Param, Refused


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """Whoever holds most is found on the host; only what may be restarted or stopped anyway is."""
    mount = params["mount"]
    rules.constraint(ACTION.name)
    try:
        check_path(mount)
    except PatternError as error:
        raise Refused("bad_parameter", str(error)) from error
    if is_wild(mount) or (mount != "/" and is_protected(mount, SYSTEM_PATHS)):
        raise Refused("bad_parameter", f"cannot look for deleted files on {mount}: name one mount point")
    try:
        users = killable_users(rules, ACTION.name)
    except Refused:
        users = ()
    return (ReleaseDeleted(mount, tuple(_restarts(rules)), users, spared_units(rules, ACTION.name)),)


def _restarts(rules: HostRules) -> list[tuple[str, tuple[Effect, ...]]]:
    found = []
    for name in rules.killable_units(ACTION.name):
        rule = rules.unit(ACTION.name, name, interrupts=True)
        if name.endswith(".service") and rule.desired != "stopped":
            found.append((name, start(rules, ACTION.name, name, "restart", rule)))
    return found


ACTION = Action(
    name="release_deleted",
    summary="Free what deleted files that are open still take: restart their declared unit, or stop a killable user's process.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(Param("mount", "text", "Where the filesystem is mounted.", required=True),),
    proved_by=("filesystem_space", "filesystem_inodes", "nagios_plugin"),
    timeout_s=120.0,
)
