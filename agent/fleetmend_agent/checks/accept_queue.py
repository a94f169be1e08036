"""Connections that wait to be accepted: a service that hangs or is slow lets its queue fill until clients are turned away."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._source import above, why

if TYPE_CHECKING:
    from ..sockets import Listener

_COUNTERS = "/proc/net/netstat"


def _run(context: Context) -> Iterable[Result]:
    try:
        listeners = context.host.listeners_of()
    except OSError as error:
        raise CheckUnknown(f"cannot read the listening sockets: {why(error)}") from error
    gauges = {"listening_sockets_value": float(len(listeners))}
    overflows = _overflows(context)
    if overflows is not None:
        gauges["listen_overflows_total"] = float(overflows)
    yield Result(Status.OK, f"{len(listeners)} listening sockets", gauges=gauges)
    told: set[str] = set()
    for listener in sorted(listeners, key=lambda each: -each.waiting):
        result = _judged(context, listener)
        # Several sockets may share one address: the fullest stands for them.
        if listener.name not in told and (result.status is not Status.OK or listener.name in context.known):
            told.add(listener.name)
            yield result


def _judged(context: Context, listener: Listener) -> Result:
    limit = max(1, listener.limit)
    percent = 100 * listener.waiting / limit
    status = above(percent, context.params["warn_percent"], context.params["crit_percent"])
    if listener.waiting < context.params["at_least"]:
        status = Status.OK
    facts: dict[str, Scalar] = {"address": listener.name, "waiting": listener.waiting, "limit": listener.limit}
    text = f"{listener.waiting} connections to {listener.name} wait to be accepted, {listener.limit} may"
    return Result(status, text, listener.name, facts, {"accept_queue_used_ratio": round(percent / 100, 4)})


def _overflows(context: Context) -> int | None:
    """How many connections the kernel turned away since boot; None when it does not say."""
    try:
        lines = context.host.read_text(_COUNTERS).splitlines()
    except OSError:
        return None
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        found = dict(zip(names.split(), values.split(), strict=False))
        if found.get("ListenOverflows", "").isdigit():
            return int(found["ListenOverflows"])
    return None


CHECK = Check(
    name="accept_queue",
    summary="Connections that wait to be accepted by listening TCP sockets",
    run=_run,
    params=(
        Param("warn_percent", Kind.NUMBER, "WARN from this use of a queue on", default=80.0, minimum=0, maximum=1000),
        Param("crit_percent", Kind.NUMBER, "CRIT from this use of a queue on", default=100.0, minimum=0, maximum=1000),
        Param(
            "at_least", Kind.INTEGER, "fewer waiting connections are no fault, however small the queue", default=4, minimum=1
        ),
    ),
    finding=(
        Field("address", Kind.TEXT, "the listening address and port"),
        Field("waiting", Kind.INTEGER, "connections that wait to be accepted"),
        Field("limit", Kind.INTEGER, "how many may wait"),
    ),
    gauges=(
        Gauge("listening_sockets_value", "listening TCP sockets"),
        Gauge("listen_overflows_total", "connections turned away since boot because a queue was full"),
        Gauge("accept_queue_used_ratio", "used share of a queue that is or was too full, 0 to 1 and above"),
    ),
    every_s=15.0,
)
