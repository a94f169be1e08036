"""The section `witness` of the controller's configuration: by which ports a silent host is looked for."""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from fleetmend.reach import PORTS_MAX

from ..options import PORT_MAX, Option, duration, listed, mapping, whole

OPTIONS = (
    Option("ports", listed(whole(1, PORT_MAX)), "TCP ports on which hosts usually answer", (22,)),
    Option("timeout", duration("100ms", "5s"), "how long one try may take", 3_000),
)


@dataclass(frozen=True, slots=True)
class Looking:
    """How witnesses look at a host whose agent fell silent."""

    ports: tuple[int, ...] = (22,)
    timeout_ms: int = 3_000


LOOKING = Looking()


def read_looking(node: yaml.Node) -> Looking:
    """The section, or a ValueError with everything that is wrong with it."""
    values = mapping(OPTIONS)(node)
    if len(values["ports"]) > PORTS_MAX:
        raise ValueError(f"ports: at most {PORTS_MAX}")
    return Looking(tuple(values["ports"]), values["timeout"])
