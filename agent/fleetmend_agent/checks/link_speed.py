"""The speed of network links: below what was declared, or lower than it was since the agent started. A bad cable does that."""

from __future__ import annotations

from collections.abc import Iterable

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._interfaces import FOLDER, INTERFACE, interfaces
from ._sysfs import entries, integer, text


def _run(context: Context) -> Iterable[Result]:
    wanted: str = context.params["interface"]
    names = interfaces(context.host, wanted)
    if wanted != "*" and not names:
        raise CheckUnknown(f"cannot judge {wanted}: there is no such interface")
    yield Result(Status.OK, f"{len(names)} interfaces")
    for name in names:
        # Radio links change their speed all the time.
        if not entries(context.host, f"{FOLDER}/{name}", r"wireless|phy80211"):
            yield from _judge(context, name)


def _judge(context: Context, name: str) -> Iterable[Result]:
    speed = integer(context.host, f"{FOLDER}/{name}/speed")
    duplex = text(context.host, f"{FOLDER}/{name}/duplex")
    least: int = context.params["minimum_mbps"]
    best: dict[str, int] = context.memory.setdefault("best", {})
    if speed is None or speed <= 0:
        # Without a link, or on a machine below which there is no cable, the kernel knows none.
        if name in context.known or (least and context.params["interface"] != "*"):
            yield Result(Status.UNKNOWN, f"cannot judge {name}: its speed is not known", name, {"interface": name})
        return
    best[name] = max(speed, best.get(name, 0))
    slow = speed < (least or best[name])
    halved = duplex == "half" and speed >= 100
    status = Status.CRIT if slow else Status.WARN if halved else Status.OK
    expected = least or best[name]
    finding: dict[str, Scalar] = {"interface": name, "speed_mbps": speed, "expected_mbps": expected, "duplex": duplex}
    words = f"{name} runs at {speed} Mbit/s" + (", one way at a time" if halved else "")
    words += f", {'declared' if least else 'it was'} {expected}" if slow else ""
    yield Result(status, words, name, finding, {"network_speed_per_second_bytes": speed * 125_000.0})


CHECK = Check(
    name="link_speed",
    summary="Network links that are slower than declared, or than they were",
    run=_run,
    params=(
        INTERFACE,
        Param("minimum_mbps", Kind.INTEGER, "CRIT below this; 0: below the best since the agent started", default=0, minimum=0),
    ),
    finding=(
        Field("interface", Kind.TEXT, "the interface"),
        Field("speed_mbps", Kind.INTEGER, "its speed, Mbit/s"),
        Field("expected_mbps", Kind.INTEGER, "what it should be, Mbit/s"),
        Field("duplex", Kind.TEXT, "full or half; empty if the kernel does not tell"),
    ),
    gauges=(Gauge("network_speed_per_second_bytes", "speed of the link, in bytes a second"),),
    every_s=30.0,
)
