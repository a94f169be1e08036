"""Lines in the journal that must not be there: text patterns that a person who knows the service wrote down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from . import Check, Context, Field, Gauge, Kind, Param, Result, Status
from ._service_log import Wanted, service_log
from ._source import human_seconds


def wanted(params: Mapping[str, Any]) -> Wanted:
    """What a configured check looks for."""
    return Wanted(params["service"], tuple(params["patterns"]), tuple(params["ignore"]))


async def _run(context: Context) -> Iterable[Result]:
    await service_log(context.host).journal.settled()
    params = context.params
    lines = service_log(context.host).lines(wanted(params), params["hold"])
    status = Status.OK if not lines else Status.CRIT if len(lines) >= params["count"] else Status.WARN
    last = lines[-1] if lines else None
    finding = {"service": last.unit if last else params["service"], "count": len(lines), "line": last.text if last else ""}
    text = f"{len(lines)} such lines within {human_seconds(params['hold'] / 1000)}"
    text += f", the last of {last.unit or 'no unit'}: {last.text}" if last else ""
    return [Result(status, text, finding=dict(finding), gauges={"service_log_lines_value": float(len(lines))})]


CHECK = Check(
    name="service_log",
    summary="Lines of given patterns in the journal of one service, or of all",
    run=_run,
    params=(
        Param("service", Kind.TEXT, "full name of the unit that logs; empty: whoever does", default=""),
        Param("patterns", Kind.TEXT_LIST, "regular expressions; a line that holds one of them counts", required=True),
        Param("ignore", Kind.TEXT_LIST, "regular expressions; a line that holds one of them does not count", default=[]),
        Param("count", Kind.INTEGER, "CRIT from so many lines within the time; fewer are WARN", default=1, minimum=1),
        Param("hold", Kind.DURATION, "a line counts for so long", default=600_000, minimum=1000),
    ),
    finding=(
        Field("service", Kind.TEXT, "the unit that logged the last one; it is no target by itself"),
        Field("count", Kind.INTEGER, "lines within the time"),
        Field("line", Kind.TEXT, "the last one"),
    ),
    gauges=(Gauge("service_log_lines_value", "lines within the time"),),
    signal="journal",
    every_s=30.0,
)
