"""Remove a queueing discipline that nobody declared."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from . import Action, Cost, Param, Refused
from ._network import declared, removal

if TYPE_CHECKING:
    from ..effects import Effect
    from ..rules import HostRules

_KIND = re.compile(r"[a-z][a-z0-9_]{0,15}", re.ASCII)


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """Only on declared interfaces and the loopback; the kernel then attaches its default again."""
    interface, kind, attached = params["interface"], params["kind"], params["attached"]
    if attached not in {"root", "ingress", "clsact"} or not _KIND.fullmatch(kind):
        raise Refused("bad_parameter", f"cannot remove {kind[:40]!r} ({attached[:40]!r}): no queueing discipline")
    if interface not in declared(ACTION.name, rules).names:
        raise Refused("undeclared", f"cannot remove {kind} from {interface[:40]!r}: no declaration names the interface")
    return removal(ACTION.name, rules, "qdisc", {"interface": interface, "kind": kind, "attached": attached})


ACTION = Action(
    name="remove_qdisc",
    summary="Remove a queueing discipline that nobody declared from a declared interface.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(
        Param("interface", "text", "The interface.", required=True),
        Param("kind", "text", "Its kind, e.g. tbf or netem.", required=True),
        Param("attached", "text", "root, ingress or clsact.", default="root"),
    ),
    proved_by=("qdisc_extra", "http_endpoint", "tcp_port", "dns_name", "nagios_plugin"),
    timeout_s=30.0,
    target="interface",
)
