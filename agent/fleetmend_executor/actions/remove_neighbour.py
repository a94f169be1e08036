"""Remove a neighbour entry that somebody wrote down for good."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from . import Action, Cost, Param, Refused
from ._network import declared, removal

if TYPE_CHECKING:
    from ..effects import Effect
    from ..rules import HostRules

_ADDRESS = re.compile(r"[0-9a-f.:]{2,45}", re.ASCII)


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """Only on declared interfaces; the kernel then asks the neighbour itself."""
    interface, address = params["interface"], params["address"]
    if not _ADDRESS.fullmatch(address):
        raise Refused("bad_parameter", f"cannot remove the neighbour {address[:60]!r}: not an address")
    if declared(ACTION.name, rules).interface(interface) is None:
        raise Refused("undeclared", f"cannot remove a neighbour from {interface[:40]!r}: no declaration names the interface")
    return removal(ACTION.name, rules, "routes", {"interface": interface, "address": address})


ACTION = Action(
    name="remove_neighbour",
    summary="Remove one static neighbour entry that nobody declared from a declared interface.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(
        Param("interface", "text", "The interface.", required=True),
        Param("address", "text", "The neighbour's address.", required=True),
    ),
    proved_by=("neighbour_extra", "link_up", "http_endpoint", "tcp_port", "dns_name", "nagios_plugin"),
    timeout_s=30.0,
    target="address",
)
