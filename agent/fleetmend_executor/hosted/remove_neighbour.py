"""`remove_neighbour DECLARED TARGET`: removes one static neighbour entry from a declared interface; the kernel asks anew."""

from __future__ import annotations

from collections.abc import Iterable

from fleetmend.netlink import Reader
from fleetmend.network import extra_neighbours

from . import Verb
from ._network import arguments_of, may_remove, only, tool


def _run(arguments: tuple[str, ...]) -> Iterable[str]:
    declared, target = arguments_of(arguments)
    may_remove(declared, "routes")
    meant = (target.get("interface"), target.get("address"))
    words = f"the static neighbour {meant[1]} on {meant[0]}"
    extra = extra_neighbours(Reader().static_neighbours(), declared)
    neighbour = only((each for each in extra if (each.interface, each.address) == meant), words)
    yield tool("ip", "neigh", "del", neighbour.address, "dev", neighbour.interface)
    yield f"removed {words}"


VERB = Verb(name="remove_neighbour", summary="Remove one static neighbour entry that nobody declared.", run=_run)
