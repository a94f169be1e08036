"""Put the declared version of a package that is declared on hold over another one."""

from __future__ import annotations

from typing import Any

from ..effects import Effect
from ..hosting import Hosted
from ..rules import HostRules
from . import Action, Cost, Param, Refused
from .reinstall_package import checked_package, declared


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """Only `hold: true` beside a version says that this version is meant and no newer one."""
    rules.constraint(ACTION.name)
    name = checked_package(params["package"])
    rule = declared(rules, name)
    if rule.get("hold") is not True or rule.get("reinstall") != "allowed" or not rule.get("version"):
        text = f"cannot change the version of {name}: no declaration gives one with hold: true and reinstall: allowed"
        raise Refused("undeclared", text)
    return (Hosted("reinstall_package", (name, str(rule["version"]), "over")),)


ACTION = Action(
    name="set_package_version",
    summary="Install the declared version of a package on hold over an older or newer one, from the host's own sources.",
    # What the other version did to its data stays done.
    cost=Cost.DESTRUCTIVE,
    plan=_plan,
    params=(Param("package", "text", "Name of the declared package.", required=True),),
    proved_by=("package_files",),
    timeout_s=600.0,
)
