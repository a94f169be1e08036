"""Remove one policy rule of routing that nobody declared."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from . import Action, Cost, Param, Refused
from ._network import removal

if TYPE_CHECKING:
    from ..effects import Effect
    from ..rules import HostRules

_SELECTOR = re.compile(r"(not )?from [0-9a-z.:/_@ -]+", re.ASCII | re.IGNORECASE)
_SELECTOR_CHARS_MAX = 250


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """The kernel's own rules are not removed: the verb compares with what the kernel says, and only among the undeclared."""
    priority, selector, family = params["priority"], params["selector"], params["family"]
    if family not in {4, 6} or not 0 <= priority < 2**32:
        raise Refused("bad_parameter", f"cannot remove rule {priority} of IPv{family}: there is no such")
    if len(selector) > _SELECTOR_CHARS_MAX or not _SELECTOR.fullmatch(selector):
        raise Refused("bad_parameter", f"cannot remove rule {selector[:80]!r}: not a rule in the words of the check")
    return removal(ACTION.name, rules, "rules", {"family": family, "priority": priority, "selector": selector})


ACTION = Action(
    name="remove_rule",
    summary="Remove exactly one policy rule of routing that nobody declared; never one of the kernel's own.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(
        Param("priority", "integer", "Its priority.", required=True),
        Param("selector", "text", "The rule in the words of the check's finding `selector`.", required=True),
        Param("family", "integer", "4 or 6: the version of IP.", default=4),
    ),
    proved_by=("rule_extra", "link_up", "http_endpoint", "tcp_port", "dns_name", "nagios_plugin"),
    timeout_s=30.0,
    target="selector",
)
