"""Bonded network links: a bond that goes on with fewer members than it has is one failure away from silence."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Result, Scalar, Status
from ._source import read
from ._sysfs import entries

if TYPE_CHECKING:
    from ..host import Host

FOLDER = "/proc/net/bonding"
_LINE = re.compile(r"^(Bonding Mode|MII Status|Slave Interface|Currently Active Slave|Link Failure Count): (.{0,120}?)\s*$")


@dataclass(slots=True)
class Bond:
    """One bond; members by name with their link's state and how often it failed."""

    mode: str = ""
    state: str = ""
    active: str = ""
    members: dict[str, str] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)


def parse_bond(text: str) -> Bond:
    """A bond's file. Raises CheckUnknown."""
    bond, member = Bond(), ""
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        name, value = found[1], found[2]
        if name == "Slave Interface":
            member = value
            bond.members[member] = "unknown"
        elif name == "MII Status" and member:
            bond.members[member] = value
        elif name == "MII Status":
            bond.state = value
        elif name == "Bonding Mode":
            bond.mode = value
        elif name == "Currently Active Slave":
            bond.active = value
        elif member and value.isdecimal():
            bond.failures[member] = int(value[:18])
    if not bond.state:
        raise CheckUnknown("cannot understand what the kernel says of the bond")
    return bond


def _run(context: Context) -> Iterable[Result]:
    names = entries(context.host, FOLDER)
    yield Result(Status.OK, f"{len(names)} bonds" if names else "no bonds")
    for name in names:
        try:
            yield _judge(context.host, name)
        except CheckUnknown as unknown:
            yield Result(Status.UNKNOWN, f"{unknown} {name}", name, {"bond": name})


def _judge(host: Host, name: str) -> Result:
    bond = parse_bond(read(host, f"{FOLDER}/{name}"))
    down = [member for member, state in bond.members.items() if state != "up"]
    finding: dict[str, Scalar] = {
        "bond": name,
        "mode": bond.mode,
        "members": ", ".join(bond.members),
        "down": ", ".join(down),
        "active_member": bond.active,
        "failures": sum(bond.failures.values()),
    }
    gauges = {"bond_members_down_value": float(len(down)), "bond_link_failures_total": float(sum(bond.failures.values()))}
    if down or bond.state != "up":
        left = f"{len(bond.members) - len(down)} of {len(bond.members)} members left"
        text = f"{name}: {', '.join(down) or 'the bond'} is down, {left}"
        return Result(Status.CRIT, text, name, finding, gauges)
    text = f"{name}: all {len(bond.members)} members are up"
    return Result(Status.OK if bond.members else Status.WARN, text, name, finding, gauges)


CHECK = Check(
    name="bond",
    summary="Members of bonded network links that are down",
    run=_run,
    finding=(
        Field("bond", Kind.TEXT, "the bond"),
        Field("mode", Kind.TEXT, "how it uses its members"),
        Field("members", Kind.TEXT, "all its members"),
        Field("down", Kind.TEXT, "members without a link"),
        Field("active_member", Kind.TEXT, "the member in use, for modes that use one"),
        Field("failures", Kind.INTEGER, "how often links of its members failed since it was made"),
    ),
    gauges=(
        Gauge("bond_members_down_value", "members without a link"),
        Gauge("bond_link_failures_total", "how often links of its members failed"),
    ),
    every_s=15.0,
)
