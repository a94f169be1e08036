"""`link_up DECLARED TARGET`: brings one declared interface to what is declared: up, ARP, MTU, address, default route.

Only what is wrong is touched, in the order in which one thing needs the other. Where systemd-networkd manages the interface, it
is asked to configure it anew. Without it, or if it does not bring what is declared, addresses and default route are added.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from fleetmend.netlink import Link, Reader
from fleetmend.network import DEFAULT, MAIN_RULE, Declared, Interface, lacks_main_table, ways_out

from ..actions import Refused
from ..run import ActionFailed
from . import Verb
from ._network import arguments_of, tool

CARRIER_S = 3.0
MANAGED_S = 6.0
CONFIGURED_S = 6.0
# A manager takes away what is there before it sets what should be: only what stays counts.
_STEADY_POLLS = 5
_POLL_S = 0.1


def _run(arguments: tuple[str, ...]) -> Iterable[str]:
    declared, target = arguments_of(arguments)
    wanted = declared.interface(str(target.get("interface")))
    if wanted is None:
        raise Refused("undeclared", "cannot bring up the interface: no declaration names it")
    link = _link(wanted.name)
    if link is None:
        raise ActionFailed("not_there", f"cannot bring up {wanted.name}: there is no such interface")
    yield from _from_the_ground_up(wanted, link)
    if not link.up or _lacks(wanted):
        if declared.manager == "systemd-networkd":
            yield tool("networkctl", "reconfigure", wanted.name)
        if not _came(wanted, MANAGED_S if declared.manager == "systemd-networkd" else 0.0):
            # Without a manager, or with one that has other files than those that are declared.
            yield from _set(wanted)
            if not _came(wanted, CONFIGURED_S):
                text = f"cannot bring up {wanted.name}: address or default route are still missing"
                raise ActionFailed("not_as_declared", text)
    if wanted.gateway:
        yield from _other_ways_removed(declared, wanted)
    yield f"{wanted.name} is as declared"


def _from_the_ground_up(wanted: Interface, link: Link) -> Iterator[str]:
    if lacks_main_table(Reader().rules(4)):
        # As the kernel's own: a network manager takes away rules that are neither its nor the kernel's.
        how = ("priority", str(MAIN_RULE[0]), *MAIN_RULE[1].split(" "), "protocol", "kernel")
        yield tool("ip", "-4", "rule", "add", *how)
    if not link.arp and wanted.gateway:
        yield tool("ip", "link", "set", "dev", wanted.name, "arp", "on")
    if wanted.mtu and link.mtu != wanted.mtu:
        yield tool("ip", "link", "set", "dev", wanted.name, "mtu", str(wanted.mtu))
    if not link.up:
        yield tool("ip", "link", "set", "dev", wanted.name, "up")
        _await_carrier(wanted.name)


def _set(wanted: Interface) -> Iterator[str]:
    for address in wanted.addresses:
        yield tool("ip", "address", "replace", address, "dev", wanted.name)
    if wanted.gateway:
        yield tool("ip", "-4", "route", "replace", DEFAULT, "via", wanted.gateway, "dev", wanted.name)


def _lacks(wanted: Interface) -> bool:
    """Whether an address or the default route is missing, or another stands in its place."""
    reader = Reader()
    there = {each.address for each in reader.addresses() if each.interface == wanted.name}
    ways = {way.gateway for way in ways_out(reader.routes(4), wanted.name)}
    return not set(wanted.addresses) <= there or bool(wanted.gateway and wanted.gateway not in ways)


def _other_ways_removed(declared: Declared, wanted: Interface) -> Iterator[str]:
    """Default routes that come before the declared one, once that is there; only where the undeclared may be removed."""
    ways = ways_out(Reader().routes(4), wanted.name)
    own = next((way.metric for way in ways if way.gateway == wanted.gateway), None)
    if own is None or not declared.removable or "routes" not in declared.bounded:
        return
    for way in ways:
        if way.metric <= own and way.gateway != wanted.gateway:
            yield tool("ip", "-4", "route", "del", *way.words())


def _link(name: str) -> Link | None:
    return next((each for each in Reader().links() if each.name == name), None)


def _await_carrier(name: str) -> None:
    """A network manager configures an interface only when its other end is there."""
    deadline_s = time.monotonic() + CARRIER_S
    while time.monotonic() < deadline_s and not ((link := _link(name)) and link.carrier):
        time.sleep(_POLL_S)


def _came(wanted: Interface, within_s: float) -> bool:
    """Whether the interface becomes as declared in time, and stays so. A manager does its work later."""
    deadline_s = time.monotonic() + within_s
    good = 0
    while good < _STEADY_POLLS:
        if time.monotonic() >= deadline_s:
            return False
        time.sleep(_POLL_S)
        good = 0 if _lacks(wanted) else good + 1
    return True


VERB = Verb(name="link_up", summary="Bring one declared interface to what is declared.", run=_run)
