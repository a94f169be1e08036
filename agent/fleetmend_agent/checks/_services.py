"""What the checks of one service's processes share: the service's name, whether a restart is the answer, who stands out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Context, Field, Kind, Param, Scalar
from ._processes import Look, Process, look
from .unit_active import full_name

if TYPE_CHECKING:
    from collections.abc import Callable

UNIT = Param("unit", Kind.TEXT, "name of the unit; .service may be left away", required=True)
REPORT_ONLY = Param("report_only", Kind.FLAG, "a restart is not the answer: leave the unit out of the finding", default=False)
FIELDS = (
    Field("service", Kind.TEXT, "the unit's full name"),
    Field("unit", Kind.TEXT, "the same, where a restart of it is the answer"),
    Field("processes", Kind.INTEGER, "how many processes the unit has"),
)
WORST = (
    Field("pid", Kind.INTEGER, "the process that stands out"),
    Field("start_ticks", Kind.INTEGER, "when it started: field 22 of /proc/PID/stat"),
    Field("name", Kind.TEXT, "its name"),
)


def of_unit(context: Context) -> tuple[str, Look, list[Process], dict[str, Scalar]]:
    """The unit's name, the look, its processes, and the first fields of the finding. Raises CheckUnknown."""
    name = full_name(context.params["unit"])
    seen = look(context.host, context.fresh)
    processes = seen.of_unit(name)
    facts: dict[str, Scalar] = {"service": name, "processes": len(processes)}
    if not context.params.get("report_only"):
        facts["unit"] = name
    return name, seen, processes, facts


def worst(processes: list[Process], measure: Callable[[Process], float]) -> Process | None:
    """The process with the most of something; None of none."""
    return max(processes, key=measure, default=None)
