"""How full the kernel's table of tracked connections is: when it is full, new connections are dropped."""

from __future__ import annotations

from collections.abc import Iterable

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Status
from ._rates import number
from ._source import above, read

COUNT, LIMIT = "/proc/sys/net/netfilter/nf_conntrack_count", "/proc/sys/net/netfilter/nf_conntrack_max"


def _run(context: Context) -> Iterable[Result]:
    if not context.host.exists(COUNT):
        return [Result(Status.OK, "connections are not tracked")]
    used, limit = number(read(context.host, COUNT)), number(read(context.host, LIMIT))
    if used is None or limit is None:
        raise CheckUnknown(f"cannot understand {COUNT} and {LIMIT}")
    # A limit of 0 is none.
    percent = 100 * used / limit if limit else 0.0
    status = above(percent, context.params["warn_percent"], context.params["crit_percent"])
    finding = {"used": used, "limit": limit, "used_percent": round(percent, 1)}
    gauges = {"conntrack_entries_value": float(used), "conntrack_used_ratio": round(percent / 100, 4)}
    return [Result(status, f"{used} tracked connections, {percent:.1f} % of the limit", finding=dict(finding), gauges=gauges)]


CHECK = Check(
    name="conntrack",
    summary="Tracked connections, against the size of their table",
    run=_run,
    params=(
        Param("warn_percent", Kind.NUMBER, "WARN from this share of the table on", default=75.0, minimum=0, maximum=100),
        Param("crit_percent", Kind.NUMBER, "CRIT from this share of the table on", default=90.0, minimum=0, maximum=100),
    ),
    finding=(
        Field("used", Kind.INTEGER, "connections that are tracked"),
        Field("limit", Kind.INTEGER, "size of the table (net.netfilter.nf_conntrack_max)"),
        Field("used_percent", Kind.NUMBER, "share of the table, 0 to 100"),
    ),
    gauges=(
        Gauge("conntrack_entries_value", "connections that are tracked"),
        Gauge("conntrack_used_ratio", "share of the table, 0 to 1"),
    ),
)
