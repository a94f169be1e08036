"""Packets that a network card damages, or that are dropped: a cable, a port, a card, or too much at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._interfaces import FOLDER, INTERFACE, interfaces
from ._rates import Change, Counters, since
from ._source import above, human_seconds, worst
from ._sysfs import integer

if TYPE_CHECKING:
    from ..host import Host

_ERRORS = ("rx_errors", "tx_errors", "rx_fifo_errors", "tx_fifo_errors")
_DROPS = ("rx_dropped", "tx_dropped")
_PACKETS = ("rx_packets", "tx_packets")


def counters(host: Host, wanted: str) -> dict[str, dict[str, int]]:
    """By interface. Those that do not count are left out."""
    found = {}
    for name in interfaces(host, wanted):
        numbers = {each: integer(host, f"{FOLDER}/{name}/statistics/{each}") for each in (*_PACKETS, *_ERRORS, *_DROPS)}
        if all(numbers[each] is not None for each in _PACKETS):
            found[name] = {each: value for each, value in numbers.items() if value is not None and value >= 0}
    return found


def _run(context: Context) -> Iterable[Result]:
    wanted: str = context.params["interface"]

    def take() -> Counters:
        return counters(context.host, wanted)

    changes = since(context, take, context.params["window"] / 1000, from_nothing=True)
    if wanted != "*" and not changes:
        raise CheckUnknown(f"cannot judge {wanted}: there is no such interface, or it does not count")
    yield Result(Status.OK, f"{len(changes)} interfaces")
    for name, change in changes.items():
        yield _judge(context, name, change)


def _judge(context: Context, name: str, change: Change) -> Result:
    params, grown = context.params, change.grown
    packets = sum(grown[each] for each in _PACKETS)
    errors, drops = (sum(grown.get(each, 0) for each in kinds) for kinds in (_ERRORS, _DROPS))
    total = max(1, packets + errors + drops)
    error_percent, drop_percent = 100 * errors / total, 100 * drops / total
    status = worst(
        [
            above(error_percent, params["warn_error_percent"], params["crit_error_percent"])
            if errors >= params["least"]
            else Status.OK,
            above(drop_percent, params["warn_drop_percent"], params["crit_drop_percent"])
            if drops >= params["least"]
            else Status.OK,
        ]
    )
    finding: dict[str, Scalar] = {
        "interface": name,
        "errors": errors,
        "error_percent": round(error_percent, 2),
        "drops": drops,
        "drop_percent": round(drop_percent, 2),
        "packets": packets,
    }
    gauges = {
        "network_error_ratio": round(error_percent / 100, 6),
        "network_drop_ratio": round(drop_percent / 100, 6),
        "network_errors_per_second_value": round(errors / change.seconds, 3),
    }
    text = f"{name}: {errors} damaged and {drops} dropped of {packets} packets within {human_seconds(change.seconds)}"
    return Result(status, text, name, finding, gauges)


def _percent(name: str, doc: str, default: float) -> Param:
    return Param(name, Kind.NUMBER, doc, default=default, minimum=0, maximum=100)


CHECK = Check(
    name="network_errors",
    summary="Packets that network cards damage or drop",
    run=_run,
    params=(
        INTERFACE,
        _percent("warn_error_percent", "WARN from this share of damaged packets on", 0.1),
        _percent("crit_error_percent", "CRIT from this share of damaged packets on", 1.0),
        _percent("warn_drop_percent", "WARN from this share of dropped packets on", 5.0),
        _percent("crit_drop_percent", "CRIT from this share of dropped packets on", 20.0),
        Param("least", Kind.INTEGER, "fewer packets than these within the window are no fault", default=100, minimum=1),
        Param("window", Kind.DURATION, "over which time packets are counted", default=60_000, minimum=1000),
    ),
    finding=(
        Field("interface", Kind.TEXT, "the interface"),
        Field("errors", Kind.INTEGER, "damaged packets within the window"),
        Field("error_percent", Kind.NUMBER, "their share, 0 to 100"),
        Field("drops", Kind.INTEGER, "dropped packets within the window"),
        Field("drop_percent", Kind.NUMBER, "their share, 0 to 100"),
        Field("packets", Kind.INTEGER, "good packets within the window"),
    ),
    gauges=(
        Gauge("network_error_ratio", "share of damaged packets, 0 to 1"),
        Gauge("network_drop_ratio", "share of dropped packets, 0 to 1"),
        Gauge("network_errors_per_second_value", "damaged packets, a second"),
    ),
    blocking=True,
    every_s=15.0,
)
