"""Put the golden copy of one managed file in its place."""

from __future__ import annotations

from typing import Any

from ..effects import Command, Effect
from ..globs import PatternError, any_path, check_path, is_below, is_protected
from ..hosting import Hosted
from ..rules import HostRules
from . import Action, Cost, Param, Refused

UNIT_FOLDERS = (
    *("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system"),
    *("/usr/lib/systemd/system", "/lib/systemd/system"),
)
NETWORK_FOLDERS = ("/etc/systemd/network", "/run/systemd/network", "/usr/lib/systemd/network", "/lib/systemd/network")
# Who may log in, and the hands themselves, are people's: one wrong line there locks everybody out.
NEVER = (
    *("/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow", "/etc/sudoers", "/etc/sudoers.d/**", "/etc/ld.so.preload"),
    *("/root/.ssh/**", "/etc/fleetmend/**", "/opt/fleetmend/**", "/var/lib/fleetmend*/**", "/boot/**", "/proc/**", "/sys/**"),
    *("/dev/**", "/var/lib/dpkg/**"),
)


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """Only below a declared golden tree. A unit file takes a daemon-reload, a network file one of networkd."""
    path, golden = params["path"], params["golden"]
    allowed = rules.constraint(ACTION.name).paths
    try:
        check_path(path)
    except PatternError as error:
        raise Refused("bad_parameter", str(error)) from error
    trees = rules.part("managed_files")
    tree = trees.get(golden) if isinstance(trees, dict) else None
    if not isinstance(tree, dict) or is_below(path, golden):
        raise Refused("undeclared", f"cannot restore {path}: no declaration names the golden tree {golden!r}")
    protected = tuple(pattern for pattern in (*rules.policy.protected, *rules.declaration.protected) if "/" in pattern)
    if is_protected(path, (*NEVER, *protected)):
        raise Refused("protected", f"cannot restore {path}: it is protected")
    if allowed and not any_path(path, allowed):
        raise Refused("not_permitted", f"cannot restore {path}: this host's policy file does not list it")
    modes = "content" if tree.get("modes") == "any" else "same"
    restore = Hosted("restore_file", (golden, path, modes, *protected))
    if any(is_below(path, folder) for folder in NETWORK_FOLDERS):
        # Interfaces whose files have not changed stay as they are.
        return restore, Command(("networkctl", "reload"), 15.0, optional=True, hosted=True)
    if not any(is_below(path, folder) for folder in UNIT_FOLDERS):
        return (restore,)
    return restore, Command(("systemctl", "--no-ask-password", "daemon-reload"), 30.0)


ACTION = Action(
    name="restore_file",
    summary="Put the golden copy of a managed file in its place; keep what was there as evidence; restart nothing.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(
        Param("path", "text", "The file on the machine.", required=True),
        Param("golden", "text", "The declared golden tree that it belongs to.", required=True),
    ),
    proved_by=("managed_file",),
    timeout_s=60.0,
    target="path",
)
