"""Closed connections that still hold their ports: too many, and this host cannot connect to others any more."""

from __future__ import annotations

from collections.abc import Iterable

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result
from ._source import above, read

_COUNTS, _RANGE = "/proc/net/sockstat", "/proc/sys/net/ipv4/ip_local_port_range"


def _run(context: Context) -> Iterable[Result]:
    counts = _counts(read(context.host, _COUNTS))
    try:
        first, last = (int(word) for word in read(context.host, _RANGE).split())
        waiting, used = counts["tw"], counts["inuse"]
    except (ValueError, KeyError) as error:
        raise CheckUnknown(f"cannot understand {_COUNTS} and {_RANGE}") from error
    ports = max(1, last - first + 1)
    percent = 100 * waiting / ports
    status = above(percent, context.params["warn_percent"], context.params["crit_percent"])
    text = f"{waiting} closed connections hold ports, {ports} ports are there for outgoing ones"
    gauges = {
        "time_wait_used_ratio": round(percent / 100, 4),
        "tcp_time_wait_value": float(waiting),
        "tcp_inuse_value": float(used),
    }
    return [
        Result(status, text, finding={"time_wait": waiting, "ports": ports, "used_percent": round(percent, 1)}, gauges=gauges)
    ]


def _counts(text: str) -> dict[str, int]:
    line = next((line for line in text.splitlines() if line.startswith("TCP:")), "")
    words = line.split()[1:]
    return {name: int(value) for name, value in zip(words[::2], words[1::2], strict=False) if value.isdigit()}


CHECK = Check(
    name="time_wait",
    summary="Closed TCP connections that still hold ports for outgoing ones",
    run=_run,
    params=(
        Param("warn_percent", Kind.NUMBER, "WARN from this share of the ports on", default=60.0, minimum=0, maximum=1000),
        Param("crit_percent", Kind.NUMBER, "CRIT from this share of the ports on", default=90.0, minimum=0, maximum=1000),
    ),
    finding=(
        Field("time_wait", Kind.INTEGER, "closed connections that wait"),
        Field("ports", Kind.INTEGER, "ports for outgoing connections"),
        Field("used_percent", Kind.NUMBER, "their share of the ports, 0 to 100 and above"),
    ),
    gauges=(
        Gauge("time_wait_used_ratio", "share of the ports for outgoing connections, 0 to 1 and above"),
        Gauge("tcp_time_wait_value", "closed connections that wait"),
        Gauge("tcp_inuse_value", "TCP sockets in use"),
    ),
    every_s=30.0,
)
