"""A unit of which every process was stopped by a signal: systemd calls it active, and it does nothing until somebody wakes it.

A debugger's stop is another state, and is never meant.
"""

from __future__ import annotations

from collections.abc import Iterable

from . import Check, Context, Field, Kind, Result, Status
from ._services import FIELDS, REPORT_ONLY, UNIT, WORST, of_unit

_STOPPED = "T"


def _run(context: Context) -> Iterable[Result]:
    name, _, processes, facts = of_unit(context)
    alive = [p for p in processes if not p.is_zombie]
    stopped = [p for p in alive if p.state == _STOPPED]
    facts["stopped"] = len(stopped)
    if not stopped or len(stopped) < len(alive):
        return [Result(Status.OK, f"{name} has {len(stopped)} stopped of {len(alive)} processes", finding=facts)]
    facts |= stopped[0].facts()
    text = f"every process of {name} was stopped by a signal, such as {stopped[0].name} (pid {stopped[0].pid})"
    return [Result(Status.CRIT, text, finding=facts)]


CHECK = Check(
    name="unit_frozen",
    summary="No unit whose processes were all stopped by a signal",
    run=_run,
    params=(UNIT, REPORT_ONLY),
    finding=(*FIELDS, Field("stopped", Kind.INTEGER, "processes of the unit that were stopped"), *WORST),
    blocking=True,
    every_s=10.0,
)
