"""Install a declared package anew, in the very version that is declared."""

from __future__ import annotations

import re
from typing import Any

from ..effects import Effect
from ..hosting import Hosted
from ..rules import HostRules
from . import Action, Cost, Param, Refused

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]{1,99}")


def checked_package(name: str) -> str:
    """The name, if it can be a package's."""
    if _NAME.fullmatch(name) is None:
        raise Refused("bad_parameter", f"cannot touch package {name[:80]!r}: not the name of one")
    return name


def declared(rules: HostRules, name: str) -> dict[str, Any]:
    """What declarations say of a package: version, hold, reinstall; nothing if they do not name it."""
    packages = rules.part("packages")
    rule = packages.get(f"installed:{name}") if isinstance(packages, dict) else None
    return rule if isinstance(rule, dict) else {}


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """The version is the declaration's, never the order's; without one nothing is installed."""
    rules.constraint(ACTION.name)
    name = checked_package(params["package"])
    rule = declared(rules, name)
    if rule.get("reinstall") != "allowed" or not rule.get("version"):
        raise Refused("undeclared", f"cannot install {name} anew: no declaration gives its version and reinstall: allowed")
    return (Hosted("reinstall_package", (name, str(rule["version"]))),)


ACTION = Action(
    name="reinstall_package",
    summary="Install a declared package anew or again from the host's own sources, in no other version than the declared one.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(Param("package", "text", "Name of the declared package.", required=True),),
    proved_by=("package_files",),
    timeout_s=600.0,
)
