"""How much memory the processes of one unit hold, against what was declared for it.

It counts what is resident in each process; what several of them share counts in each, as in top and ps.
"""

from __future__ import annotations

from collections.abc import Iterable

from . import Check, Context, Field, Gauge, Kind, Param, Result
from ._services import FIELDS, REPORT_ONLY, UNIT, WORST, of_unit, worst
from ._source import above, human_bytes


def _run(context: Context) -> Iterable[Result]:
    name, _, processes, facts = of_unit(context)
    limit: int = context.params["limit"]
    held = sum(p.rss_bytes for p in processes)
    percent = 100 * held / limit
    largest = worst(processes, lambda p: p.rss_bytes)
    facts |= {"rss_bytes": held, "limit_bytes": limit, "used_percent": round(percent, 1)} | (largest.facts() if largest else {})
    text = (
        f"{name} holds {human_bytes(held)} in {len(processes)} processes, {percent:.0f} % of the {human_bytes(limit)} declared"
    )
    status = above(percent, context.params["warn_percent"], 100.0)
    return [Result(status, text, finding=facts, gauges={"unit_resident_bytes": float(held)})]


CHECK = Check(
    name="unit_memory",
    summary="The memory that one unit's processes hold, against a limit",
    run=_run,
    params=(
        UNIT,
        Param("limit", Kind.SIZE, "CRIT from here on", required=True, minimum=1),
        Param("warn_percent", Kind.NUMBER, "WARN from this share of the limit on", default=90.0, minimum=0, maximum=100),
        REPORT_ONLY,
    ),
    finding=(
        *FIELDS,
        Field("rss_bytes", Kind.INTEGER, "resident memory of all processes of the unit"),
        Field("limit_bytes", Kind.INTEGER, "the limit"),
        Field("used_percent", Kind.NUMBER, "share of the limit, 0 to 100 and above"),
        *WORST,
    ),
    gauges=(Gauge("unit_resident_bytes", "resident memory of all processes of the unit"),),
    blocking=True,
    every_s=10.0,
)
