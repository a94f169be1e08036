"""Memory errors that the hardware counts: corrected ones by their rate, uncorrected ones and lost pages by themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._rates import Counters, since
from ._source import above, human_bytes, human_seconds, read, worst
from ._sysfs import entries, integer, text

if TYPE_CHECKING:
    from ..host import Host

FOLDER = "/sys/devices/system/edac/mc"
LOST = "lost pages"
_LOST = re.compile(r"^HardwareCorrupted:\s+([0-9]{1,15}) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Controller:
    """One memory controller: its counts since boot, and the modules that have any."""

    corrected: int
    uncorrected: int
    modules: tuple[str, ...] = ()


def controllers(host: Host) -> dict[str, Controller]:
    """By name; none on machines without such memory. Raises CheckUnknown."""
    found = {}
    for name in entries(host, FOLDER, r"mc\d{1,3}"):
        corrected, uncorrected = integer(host, f"{FOLDER}/{name}/ce_count"), integer(host, f"{FOLDER}/{name}/ue_count")
        if corrected is None or uncorrected is None:
            raise CheckUnknown(f"cannot understand {FOLDER}/{name}: its counts are no numbers")
        found[name] = Controller(max(0, corrected), max(0, uncorrected), tuple(_modules(host, f"{FOLDER}/{name}")))
    return found


def _modules(host: Host, folder: str) -> Iterable[str]:
    """What is printed on the board beside each module with errors, the worst first."""
    counted = []
    for name in entries(host, folder, r"(dimm|rank)\d{1,3}"):
        stem = f"{folder}/{name}"
        corrected, uncorrected = integer(host, f"{stem}/dimm_ce_count") or 0, integer(host, f"{stem}/dimm_ue_count") or 0
        if corrected or uncorrected:
            label = text(host, f"{stem}/dimm_label") or text(host, f"{stem}/dimm_location") or name
            counted.append((-uncorrected, -corrected, label))
    return (label for *_, label in sorted(counted))


def _run(context: Context) -> Iterable[Result]:
    found = controllers(context.host)
    hold_ms = context.params["window"]

    def take() -> Counters:
        return {name: {"ce": mc.corrected, "ue": mc.uncorrected} for name, mc in controllers(context.host).items()}

    yield Result(Status.OK, f"{len(found)} memory controllers count errors" if found else "no memory controller counts errors")
    if found:
        changes = since(context, take, hold_ms / 1000, from_nothing=True)
        for name, change in changes.items():
            yield _judge(context, name, found.get(name, Controller(0, 0)), change.grown["ce"])
    yield from _lost_pages(context, hold_ms)


def _judge(context: Context, name: str, controller: Controller, corrected: int) -> Result:
    params = context.params
    rate = above(corrected, params["warn_corrected"], params["crit_corrected"])
    status = worst([rate, Status.CRIT if controller.uncorrected else Status.OK])
    finding: dict[str, Scalar] = {
        "controller": name,
        "module": ", ".join(controller.modules[:4]),
        "corrected": controller.corrected,
        "corrected_within": corrected,
        "uncorrected": controller.uncorrected,
    }
    gauges = {
        "memory_errors_corrected_total": float(controller.corrected),
        "memory_errors_uncorrected_total": float(controller.uncorrected),
    }
    at = f" of {finding['module']}" if finding["module"] else ""
    text = f"{name}: {controller.uncorrected} errors{at} could not be corrected since boot, {corrected} were corrected within"
    return Result(status, f"{text} {human_seconds(params['window'] / 1000)}", name, finding, gauges)


def _lost_pages(context: Context, hold_ms: int) -> Iterable[Result]:
    """Pages that the kernel took out of use. They harm nobody any more, so that it is the loss that is told, not the state."""
    found = _LOST.search(read(context.host, "/proc/meminfo"))
    if found is None:
        return
    lost, now_ms, memory = int(found[1]) * 1024, context.host.clock_ms(), context.memory
    if lost > memory.get("lost", lost):
        memory["lost_ms"] = now_ms
    memory["lost"] = lost
    recent = "lost_ms" in memory and now_ms - memory["lost_ms"] < hold_ms
    text = f"{human_bytes(lost)} of memory lost their data and are out of use"
    status = Status.CRIT if recent and lost else Status.OK
    if lost or LOST in context.known:
        yield Result(status, text, LOST, {"lost_bytes": lost}, {"memory_lost_bytes": float(lost)})


CHECK = Check(
    name="edac",
    summary="Memory errors that the hardware counts: corrected, uncorrected, and pages lost",
    run=_run,
    params=(
        Param("warn_corrected", Kind.INTEGER, "WARN from so many corrected errors within the window on", default=10, minimum=1),
        Param(
            "crit_corrected", Kind.INTEGER, "CRIT from so many corrected errors within the window on", default=100, minimum=1
        ),
        Param("window", Kind.DURATION, "over which time corrected errors and lost pages count", default=600_000, minimum=1000),
    ),
    finding=(
        Field("controller", Kind.TEXT, "the memory controller"),
        Field("module", Kind.TEXT, "labels of the memory modules with errors, the worst first"),
        Field("corrected", Kind.INTEGER, "errors corrected since boot"),
        Field("corrected_within", Kind.INTEGER, "errors corrected within the window"),
        Field("uncorrected", Kind.INTEGER, "errors that could not be corrected, since boot"),
        Field("lost_bytes", Kind.INTEGER, "memory that lost its data and is out of use"),
    ),
    gauges=(
        Gauge("memory_errors_corrected_total", "errors corrected since boot"),
        Gauge("memory_errors_uncorrected_total", "errors that could not be corrected, since boot"),
        Gauge("memory_lost_bytes", "memory that lost its data and is out of use"),
    ),
    blocking=True,
    every_s=30.0,
)
