"""Queueing disciplines that the kernel would not have chosen: they throttle, delay or drop what passes an interface."""

from __future__ import annotations

from collections.abc import Iterable

from . import Check, Context, Field, Gauge, Kind, Result
from ._network import INTERFACES, REMOVE, REMOVE_FIELD, ask, each_extra
from ._source import read_if_any

_DEFAULT_FILE = "/proc/sys/net/core/default_qdisc"


def _run(context: Context) -> Iterable[Result]:
    from fleetmend.network import Declared, Interface, extra_qdiscs

    qdiscs = ask(context, "queueing disciplines", lambda reader: reader.qdiscs())
    declared = Declared(interfaces=tuple(Interface(name) for name in context.params["interfaces"]))
    found = (
        (
            f"{qdisc.interface} {qdisc.attached} {qdisc.kind}",
            f"{qdisc.interface} has the queueing discipline {qdisc.kind} ({qdisc.attached}), which is not declared",
            {
                "interface": qdisc.interface,
                "kind": qdisc.kind,
                "attached": qdisc.attached,
                "remove": context.params["remove"],
            },
        )
        for qdisc in extra_qdiscs(qdiscs, declared, _default_kind(context))
    )
    return each_extra(context, "queueing disciplines", found, "extra_qdiscs_value")


def _default_kind(context: Context) -> str:
    # Kernels without the setting attach one of those that are known.
    return read_if_any(context.host, _DEFAULT_FILE).strip()


CHECK = Check(
    name="qdisc_extra",
    summary="Queueing disciplines on declared interfaces that nobody declared",
    run=_run,
    params=(INTERFACES, REMOVE),
    finding=(
        Field("interface", Kind.TEXT, "the interface"),
        Field("kind", Kind.TEXT, "the discipline: tbf, netem, htb, clsact ..."),
        Field("attached", Kind.TEXT, "root, ingress or clsact"),
        REMOVE_FIELD,
    ),
    gauges=(Gauge("extra_qdiscs_value", "queueing disciplines that nobody declared"),),
    signal="netlink",
    every_s=30.0,
)
