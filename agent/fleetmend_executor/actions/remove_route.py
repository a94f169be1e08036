"""Remove one route that nobody declared."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from . import Action, Cost, Param, Refused
from ._network import removal

if TYPE_CHECKING:
    from ..effects import Effect
    from ..rules import HostRules

# As the check writes it: [kind] destination [via gateway] [dev interface] table number [metric number].
_ROUTE = re.compile(
    r"((blackhole|unreachable|prohibit|throw) (default|[0-9a-f.:]+/[0-9]{1,3})|[0-9a-f.:]+/[0-9]{1,3})"
    r"( via [0-9a-f.:]+)?( dev [^\s/]{1,15})? table [0-9]{1,10}( metric [0-9]{1,10})?",
    re.ASCII,
)


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """A default route that leads somewhere does not even fit the pattern. The rest is judged by what the kernel says."""
    route = params["route"]
    if not _ROUTE.fullmatch(route):
        raise Refused("bad_parameter", f"cannot remove route {route[:80]!r}: not a removable route in the words of the check")
    return removal(ACTION.name, rules, "routes", {"route": route})


ACTION = Action(
    name="remove_route",
    summary="Remove exactly one route that nobody declared; never a default route that leads somewhere.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(Param("route", "text", "The route in the words of the check's finding `route`.", required=True),),
    proved_by=("route_extra", "link_up", "http_endpoint", "tcp_port", "dns_name", "nagios_plugin"),
    timeout_s=30.0,
    target="route",
)
