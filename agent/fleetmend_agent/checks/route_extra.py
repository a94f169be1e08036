"""Routes that nobody declared: those that lead nowhere, and those that take traffic from a declared interface or network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import Check, Context, Field, Gauge, Kind, Param, Result, Scalar
from ._network import INTERFACES, NETWORKS, REMOVE, REMOVE_FIELD, ask, declared, each_extra

if TYPE_CHECKING:
    from fleetmend.netlink import Route


def _run(context: Context) -> Iterable[Result]:
    from fleetmend.network import extra_routes

    routes = ask(context, "routes", lambda reader: (*reader.routes(4), *reader.routes(6)))
    extra = extra_routes(routes, declared(context))
    return each_extra(context, "routes", (_told(context, route) for route in extra), "extra_routes_value")


def _told(context: Context, route: Route) -> tuple[str, str, dict[str, Scalar]]:
    from fleetmend.network import is_removable

    words = " ".join(route.words())
    facts: dict[str, Scalar] = {
        "destination": route.destination,
        "kind": route.kind,
        "table": route.table,
        "gateway": route.gateway,
        "interface": route.interface,
        "metric": route.metric,
        "route": words,
        "remove": context.params["remove"] if is_removable(route) else "never",
    }
    return words, f"route {words} is not declared", facts


CHECK = Check(
    name="route_extra",
    summary="Routes that nobody declared",
    run=_run,
    params=(
        INTERFACES,
        NETWORKS,
        Param("gateways", Kind.TEXT_LIST, "the declared gateways", default=[]),
        Param("routes", Kind.TEXT_LIST, "further destinations that may have a route", default=[]),
        REMOVE,
    ),
    finding=(
        Field("destination", Kind.TEXT, "default, or a prefix"),
        Field("kind", Kind.TEXT, "unicast, blackhole, unreachable, prohibit or throw"),
        Field("table", Kind.INTEGER, "the routing table: 254 is main"),
        Field("gateway", Kind.TEXT, "the next hop, if it has one"),
        Field("interface", Kind.TEXT, "the interface, if it has one"),
        Field("metric", Kind.INTEGER, "its metric"),
        Field("route", Kind.TEXT, "the whole route, in the words of ip route"),
        REMOVE_FIELD,
    ),
    gauges=(Gauge("extra_routes_value", "routes that nobody declared"),),
    signal="netlink",
    every_s=30.0,
)
