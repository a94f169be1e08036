"""Bring a declared network interface to what is declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import Action, Cost, Param, Refused
from ._network import declared, hosted

if TYPE_CHECKING:
    from ..effects import Effect
    from ..rules import HostRules


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """Everything but the interface's name comes from the declaration."""
    interface = params["interface"]
    if declared(ACTION.name, rules).interface(interface) is None:
        raise Refused("undeclared", f"cannot bring up {interface[:40]!r}: no declaration names it")
    return (hosted(ACTION.name, rules, {"interface": interface}),)


ACTION = Action(
    name="link_up",
    summary="Bring a declared interface to what is declared: up, MTU, address and default route; nothing that fits is touched.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(Param("interface", "text", "The interface.", required=True),),
    proved_by=("link_up", "http_endpoint", "tcp_port", "dns_name", "nagios_plugin"),
    timeout_s=30.0,
    target="interface",
)
