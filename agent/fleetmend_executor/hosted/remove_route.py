"""`remove_route DECLARED TARGET`: removes one route that nobody declared, and never a default route that leads somewhere."""

from __future__ import annotations

from collections.abc import Iterable

from fleetmend.netlink import Reader
from fleetmend.network import extra_routes, is_removable

from ..actions import Refused
from . import Verb
from ._network import arguments_of, may_remove, only, tool


def _run(arguments: tuple[str, ...]) -> Iterable[str]:
    declared, target = arguments_of(arguments)
    may_remove(declared, "routes")
    reader = Reader()
    words = str(target.get("route"))
    extra = extra_routes((*reader.routes(4), *reader.routes(6)), declared)
    # Nothing of the order gets into the tool's arguments: they are made of what the kernel itself said.
    route = only((each for each in extra if " ".join(each.words()) == words), f"route {words}")
    if not is_removable(route):
        raise Refused("protected", f"cannot remove route {words}: it is a default route")
    yield tool("ip", f"-{route.family}", "route", "del", *route.words())
    yield f"removed route {words}"


VERB = Verb(name="remove_route", summary="Remove one route that nobody declared.", run=_run)
