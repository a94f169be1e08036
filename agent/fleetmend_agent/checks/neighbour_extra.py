"""Neighbour entries written down for good on a declared interface: a wrong one makes one address unreachable."""

from __future__ import annotations

from collections.abc import Iterable

from . import Check, Context, Field, Gauge, Kind, Result
from ._network import INTERFACES, REMOVE, REMOVE_FIELD, ask, each_extra


def _run(context: Context) -> Iterable[Result]:
    from fleetmend.network import Declared, Interface, extra_neighbours

    neighbours = ask(context, "neighbours", lambda reader: reader.static_neighbours())
    declared = Declared(interfaces=tuple(Interface(name) for name in context.params["interfaces"]))
    found = (
        (
            f"{each.interface} {each.address}",
            f"{each.address} is written down as {each.hardware or 'nothing'} on {each.interface}, which is not declared",
            {
                "interface": each.interface,
                "address": each.address,
                "hardware": each.hardware,
                "remove": context.params["remove"],
            },
        )
        for each in extra_neighbours(neighbours, declared)
    )
    return each_extra(context, "static neighbours", found, "extra_neighbours_value")


CHECK = Check(
    name="neighbour_extra",
    summary="Neighbour entries for good on declared interfaces",
    run=_run,
    params=(INTERFACES, REMOVE),
    finding=(
        Field("interface", Kind.TEXT, "the interface"),
        Field("address", Kind.TEXT, "the neighbour's address"),
        Field("hardware", Kind.TEXT, "the hardware address that was written down"),
        REMOVE_FIELD,
    ),
    gauges=(Gauge("extra_neighbours_value", "static neighbour entries that nobody declared"),),
    # Entries come and go all the time; those for good are looked for now and then.
    every_s=15.0,
)
