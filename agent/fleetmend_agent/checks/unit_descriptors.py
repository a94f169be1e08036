"""How many files and sockets a unit's processes hold open, each against its own soft limit: the fullest one counts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import Check, Context, Field, Gauge, Kind, Param, Result, Status
from ._services import FIELDS, REPORT_ONLY, UNIT, WORST, of_unit
from ._source import above

if TYPE_CHECKING:
    from ..host import Host
    from ._processes import Process

_LIMIT = re.compile(r"^Max open files\s+(\d{1,19}|unlimited)\s", re.MULTILINE)
# A unit with more processes than this is judged by its oldest ones: workers are alike.
_PROCESSES_MAX = 64


def _run(context: Context) -> Iterable[Result]:
    name, _, processes, facts = of_unit(context)
    if not processes:
        return [Result(Status.OK, f"{name} has no process", finding=facts)]
    measured = [(p, *found) for p in processes[:_PROCESSES_MAX] if (found := _measure(context.host, p)) is not None]
    if not measured:
        text = f"cannot count what {name} holds open: this kernel shows it to other users from Linux 6.2 on only"
        return [Result(Status.UNKNOWN, text, finding=facts)]
    process, held, limit = max(measured, key=lambda each: each[1] / each[2])
    percent = 100 * held / limit
    facts |= {"descriptors": held, "descriptors_max": limit, "used_percent": round(percent, 1), **process.facts()}
    text = f"{name}: {process.name} (pid {process.pid}) holds {held} of {limit} files open, {percent:.0f} %"
    gauges = {"unit_descriptors_used_ratio": round(held / limit, 4)}
    return [
        Result(
            above(percent, context.params["warn_percent"], context.params["crit_percent"]), text, finding=facts, gauges=gauges
        )
    ]


def _measure(host: Host, process: Process) -> tuple[int, int] | None:
    """Open descriptors and their soft limit; None if either cannot be seen, because it ended or by lack of power."""
    folder = f"/proc/{process.pid}/fd"
    try:
        limit = _LIMIT.search(host.read_text(f"/proc/{process.pid}/limits"))
        try:
            held = len(host.listdir(folder))
        except PermissionError:
            # Its size is the number of descriptors, and for everybody to see, since Linux 6.2; before it is 0.
            held = host.stat(folder).st_size
    except OSError:
        return None
    if limit is None or not held:
        return None
    return held, int(limit[1]) if limit[1] != "unlimited" else 1 << 30


CHECK = Check(
    name="unit_descriptors",
    summary="Files and sockets that one unit's processes hold open, against their limit",
    run=_run,
    params=(
        UNIT,
        Param("warn_percent", Kind.NUMBER, "WARN from this share of the soft limit on", default=80.0, minimum=0, maximum=100),
        Param("crit_percent", Kind.NUMBER, "CRIT from this share of the soft limit on", default=90.0, minimum=0, maximum=100),
        REPORT_ONLY,
    ),
    finding=(
        *FIELDS,
        Field("descriptors", Kind.INTEGER, "what the fullest process holds open"),
        Field("descriptors_max", Kind.INTEGER, "its soft limit"),
        Field("used_percent", Kind.NUMBER, "share of the limit, 0 to 100"),
        *WORST,
    ),
    gauges=(Gauge("unit_descriptors_used_ratio", "open descriptors of the fullest process against its limit, 0 to 1"),),
    blocking=True,
    every_s=10.0,
)
