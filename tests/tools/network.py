"""A network as a case's facts tell it, in place of the kernel's: what `Host.network_of` gives, and what names resolve to."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any

from fleetmend import netlink


class Network(netlink.Reader):
    """Answers from facts; with the text of an errno for facts, every question fails with it."""

    def __init__(self, facts: Mapping[str, Any] | str) -> None:
        self._facts = facts

    def _told(self, name: str, kind: Any) -> tuple[Any, ...]:
        if isinstance(self._facts, str):
            raise OSError(getattr(errno, self._facts), self._facts)
        return tuple(kind(**each) for each in self._facts.get(name, []))

    def links(self):
        return self._told("links", netlink.Link)

    def addresses(self):
        return self._told("addresses", netlink.Address)

    def routes(self, family=4):
        return tuple(each for each in self._told("routes", netlink.Route) if each.family == family)

    def rules(self, family=4):
        return tuple(each for each in self._told("rules", netlink.Rule) if each.family == family)

    def qdiscs(self):
        return self._told("qdiscs", netlink.Qdisc)

    def static_neighbours(self):
        return self._told("neighbours", netlink.Neighbour)


def resolved(names: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """What the system's resolver gives; a name that it does not know is an error."""
    if name not in names:
        raise OSError(errno.ENOENT, "Name or service not known")
    return tuple(names[name])
