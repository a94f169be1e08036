"""Set a kernel setting to what its declared file says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fleetmend.sysctls import is_setting

from ..hosting import Hosted
from . import Action, Cost, Param, Refused

if TYPE_CHECKING:
    from ..effects import Effect
    from ..rules import HostRules


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """The value is not the order's: the verb reads the declared file on the host."""
    setting = params["setting"]
    rules.constraint(ACTION.name)
    if not is_setting(setting):
        raise Refused("bad_parameter", f"cannot set {setting[:80]!r}: no kernel setting, such as net.core.somaxconn")
    part = rules.part("sysctl")
    if not isinstance(part, dict) or not isinstance(part.get("file"), str):
        raise Refused("undeclared", f"cannot set {setting}: no declaration names a file of settings")
    if part.get("apply") != "allowed":
        raise Refused("apply_never", f"cannot set {setting}: the declaration says apply: never")
    return (Hosted("apply_sysctl", (part["file"], setting)),)


ACTION = Action(
    name="apply_sysctl",
    summary="Set one kernel setting to the value in the declared file; nothing that the file does not name.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(Param("setting", "text", "The setting, e.g. net.core.somaxconn.", required=True),),
    proved_by=("sysctl_value", "nagios_plugin"),
    timeout_s=20.0,
)
