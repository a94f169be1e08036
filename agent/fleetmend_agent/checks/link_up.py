"""One declared interface is up, has its address, its size of packets and its way out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from . import Check, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._network import ask

if TYPE_CHECKING:
    from fleetmend.netlink import Address, Link, Route, Rule

_WORDS = {
    "missing": "does not exist",
    "down": "is down",
    "no_carrier": "has no carrier: the other end is not there",
    "arp_off": "does not answer ARP",
    "wrong_mtu": "has another MTU than declared",
    "no_address": "lacks its declared address",
    "no_default_route": "lacks the declared default route",
    "wrong_gateway": "has a default route that is not the declared one",
    "no_main_rule": "is cut off: no policy rule leads to the main routing table",
}


def _run(context: Context) -> Iterable[Result]:
    name: str = context.params["interface"]
    links, addresses, routes, rules = ask(
        context, "network", lambda reader: (reader.links(), reader.addresses(), reader.routes(4), reader.rules(4))
    )
    link = next((each for each in links if each.name == name), None)
    problem = _problem(context, link, addresses, routes, rules)
    finding: dict[str, Scalar] = {
        "interface": name,
        "problem": problem,
        "state": link.state if link else "missing",
        "mtu": link.mtu if link else 0,
        "manager": context.params["manager"],
    }
    gauges = {"link_up_value": float(not problem)}
    if not problem:
        return [Result(Status.OK, f"{name} is up as declared", finding=finding, gauges=gauges)]
    return [Result(Status.CRIT, f"{name} {_WORDS[problem]}", finding=finding, gauges=gauges)]


def _problem(
    context: Context, link: Link | None, addresses: Sequence[Address], routes: Sequence[Route], rules: Sequence[Rule]
) -> str:
    """The first thing that is wrong, from the ground up; empty if nothing is."""
    if link is None:
        return "missing"
    if not link.up:
        return "down"
    if not link.carrier:
        return "no_carrier"
    if not link.arp and context.params["gateway"]:
        return "arp_off"
    if context.params["mtu"] and link.mtu != context.params["mtu"]:
        return "wrong_mtu"
    there = {each.address for each in addresses if each.interface == link.name}
    if not set(context.params["addresses"]) <= there:
        return "no_address"
    return _way_out(context.params["gateway"], link.name, routes, rules)


def _way_out(gateway: str, name: str, routes: Sequence[Route], rules: Sequence[Rule]) -> str:
    from fleetmend.network import lacks_main_table, ways_out

    if lacks_main_table(rules):
        return "no_main_rule"
    if not gateway:
        return ""
    ways = ways_out(routes, name)
    if not ways:
        return "no_default_route"
    return "" if ways[0].gateway == gateway else "wrong_gateway"


CHECK = Check(
    name="link_up",
    summary="A declared network interface is up, with its address, MTU and default route",
    run=_run,
    params=(
        Param("interface", Kind.TEXT, "name of the interface", required=True),
        Param("mtu", Kind.INTEGER, "the MTU that it must have; 0: any", default=0, minimum=0, maximum=65536),
        Param("addresses", Kind.TEXT_LIST, "addresses that it must have, with prefix lengths", default=[]),
        Param("gateway", Kind.TEXT, "gateway of the default route through it; empty: none expected", default=""),
        Param("manager", Kind.TEXT, "who configures it, for the finding: systemd-networkd or none", default="none"),
    ),
    finding=(
        Field("interface", Kind.TEXT, "the interface"),
        Field("problem", Kind.TEXT, f"what is wrong, empty if nothing: {', '.join(_WORDS)}"),
        Field("state", Kind.TEXT, "the kernel's word: up, down, lowerlayerdown, dormant, unknown; missing"),
        Field("mtu", Kind.INTEGER, "the MTU that it has"),
        Field("manager", Kind.TEXT, "who configures it"),
    ),
    gauges=(Gauge("link_up_value", "1 when the interface is as declared, else 0"),),
    signal="netlink",
    every_s=30.0,
)
