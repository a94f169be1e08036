"""Processes that wait for a device or a server and can neither go on nor be killed: in state D, without work, for minutes."""

from __future__ import annotations

from collections.abc import Iterable

from . import Check, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._processes import Process, look, user_name
from ._source import human_seconds


def _run(context: Context) -> Iterable[Result]:
    seen = look(context.host, context.fresh)
    before: dict[tuple[int, int], tuple[int, int]] = context.host.kept.get("process_stuck", {})
    waiting = [p for p in seen.by_pid.values() if p.state == "D" and not p.kernel]
    now: dict[tuple[int, int], tuple[int, int]] = {}
    for p in waiting:
        since_ms, ticks = before.get((p.pid, p.start_ticks), (seen.taken_ms, p.cpu_ticks))
        # Who worked between two looks only waits often.
        now[p.pid, p.start_ticks] = (since_ms if ticks == p.cpu_ticks else seen.taken_ms, p.cpu_ticks)
    context.host.kept["process_stuck"] = now
    after_ms = context.params["after"]
    stuck = [p for p in waiting if seen.taken_ms - now[p.pid, p.start_ticks][0] >= after_ms]
    finding: dict[str, Scalar] = {"stuck": len(stuck)}
    gauges = {"stuck_processes": float(len(stuck)), "waiting_processes": float(len(waiting))}
    if not stuck:
        return [Result(Status.OK, f"{len(waiting)} processes wait for a device, none for long", finding=finding, gauges=gauges)]
    longest: Process = min(stuck, key=lambda p: now[p.pid, p.start_ticks][0])
    for_s = (seen.taken_ms - now[longest.pid, longest.start_ticks][0]) / 1000
    told = {**longest.facts(), "user": user_name(context.host, longest.uid), "in_unit": longest.unit}
    finding |= told | {"waits_on": _where(context, longest), "seconds": int(for_s)}
    text = f"{len(stuck)} processes are stuck in state D; {longest.name} (pid {longest.pid}) for {human_seconds(for_s)}"
    return [Result(Status.CRIT, text, finding=finding, gauges=gauges)]


def _where(context: Context, process: Process) -> str:
    try:
        return context.host.read_text(f"/proc/{process.pid}/wchan").strip().removeprefix("0")
    except OSError:
        return ""


CHECK = Check(
    name="process_stuck",
    summary="No process waits in state D without a moment of work for minutes",
    run=_run,
    params=(Param("after", Kind.DURATION, "CRIT when one has been waiting for so long", default=180_000),),
    finding=(
        Field("stuck", Kind.INTEGER, "how many processes are stuck"),
        Field("pid", Kind.INTEGER, "the one that has been waiting longest"),
        Field("start_ticks", Kind.INTEGER, "when it started: field 22 of /proc/PID/stat"),
        Field("name", Kind.TEXT, "its name"),
        Field("user", Kind.TEXT, "the user it runs for"),
        Field("in_unit", Kind.TEXT, "the unit it runs in, if it runs in one"),
        Field("waits_on", Kind.TEXT, "the place in the kernel where it waits, if the kernel tells"),
        Field("seconds", Kind.INTEGER, "for how long"),
    ),
    gauges=(
        Gauge("stuck_processes", "processes in state D for longer than the limit"),
        Gauge("waiting_processes", "processes in state D at the moment"),
    ),
    blocking=True,
    every_s=20.0,
)
