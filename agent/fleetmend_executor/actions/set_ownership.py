"""Give one path the owner, group and mode that are declared for it."""

from __future__ import annotations

from typing import Any

from ..effects import Effect
from ..globs import PatternError, any_path, check_path
from ..hosting import Hosted
from ..rules import HostRules
from . import Action, Cost, Param, Refused
from .restore_file import NEVER


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """What is set stands in the declaration, not in the order. Never recursive, never through a link.

    A path whose content a declaration protects may still be declared to have an owner; what the host's owner protects may not.
    """
    path, recreate = params["path"], params["recreate"]
    allowed = rules.constraint(ACTION.name).paths
    try:
        check_path(path)
    except PatternError as error:
        raise Refused("bad_parameter", str(error)) from error
    if recreate not in {"", "directory"}:
        raise Refused("bad_parameter", f"cannot make {path} anew as {recreate[:40]!r}: only a directory")
    declared = rules.part("ownership")
    rule = declared.get(path) if isinstance(declared, dict) else None
    if not isinstance(rule, dict):
        raise Refused("undeclared", f"cannot set the owner of {path}: no declaration names it")
    above = _with_folders_above(path)
    if any(any_path(each, (*NEVER, *rules.policy.protected)) for each in above):
        raise Refused("protected", f"cannot set the owner of {path}: it is protected")
    if allowed and not any_path(path, allowed):
        raise Refused("not_permitted", f"cannot set the owner of {path}: this host's policy file does not list it")
    if recreate and rule.get("kind") == "file":
        raise Refused("undeclared", f"cannot make {path} anew: it is declared to be a file")
    words = (str(rule.get(word, "")) for word in ("owner", "group", "mode"))
    return (Hosted("set_ownership", (path, *(word or "-" for word in words), recreate or "-")),)


def _with_folders_above(path: str) -> list[str]:
    parts = path.strip("/").split("/")
    return ["/" + "/".join(parts[: n + 1]) for n in range(len(parts))]


ACTION = Action(
    name="set_ownership",
    summary="Give a path its declared owner, group and mode, not what lies below it; make a missing declared folder anew.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(
        Param("path", "text", "The declared path.", required=True),
        Param("recreate", "text", "directory: make it anew if it is missing.", default=""),
    ),
    proved_by=("file_mode",),
    timeout_s=30.0,
    target="path",
)
