"""The kernel killed a process because memory ran out: an incident of its own, whoever was the victim.

The victim is healed by whatever watches it, so its unit stands in the finding under another name than `unit`: this incident is
about the memory, and closes when nothing was killed for a while.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._kernel_log import Told, kernel_log
from ._source import human_bytes, human_seconds, read

FILE = "/proc/vmstat"
_COUNTER = re.compile(r"^oom_kill ([0-9]{1,19})$", re.MULTILINE)
_KILL = re.compile(r"task_memcg=(?P<group>[^,]*),task=(?P<task>.*),pid=(?P<pid>\d+),uid=(?P<uid>\d+)")
_SCOPE = re.compile(r"constraint=(?P<scope>\w+)")
_KILLED = re.compile(r"Kill(?:ed)? process (?P<pid>\d+) \((?P<task>.*?)\)(?:.*anon-rss:(?P<kib>\d+)kB)?")
_UNIT = re.compile(r"[^/]+\.(?:service|scope|socket|mount|slice)")


@dataclass(slots=True)
class Victim:
    """One process that was killed, from the two records that the kernel writes of it."""

    at_ms: int
    pid: int
    task: str = ""
    unit: str = ""
    scope: str = ""
    anon_bytes: int = 0


def victims(told: Iterable[Told]) -> list[Victim]:
    """Each victim once, oldest first."""
    found: dict[int, Victim] = {}
    for each in told:
        kill, killed = _KILL.search(each.text), _KILLED.search(each.text)
        match = kill or killed
        if match is None:
            continue
        victim = found.setdefault(int(match["pid"]), Victim(each.at_ms, int(match["pid"])))
        victim.at_ms, victim.task = each.at_ms, match["task"] or victim.task
        if kill is not None:
            scope = _SCOPE.search(each.text)
            victim.unit, victim.scope = (
                unit_of(kill["group"]),
                scope["scope"].removeprefix("CONSTRAINT_").lower() if scope else "",
            )
        elif match["kib"]:
            victim.anon_bytes = int(match["kib"]) * 1024
    return sorted(found.values(), key=lambda victim: victim.at_ms)


def unit_of(group: str) -> str:
    """The innermost systemd unit of a control group, as /system.slice/shop.service; empty if there is none."""
    units = [part for part in group.split("/") if _UNIT.fullmatch(part) and not part.endswith(".slice")]
    return units[-1] if units else ""


async def _run(context: Context) -> Iterable[Result]:
    await kernel_log(context.host).journal.settled()
    quiet_ms, now_ms = context.params["quiet"], context.host.clock_ms()
    counted, total = _counted(context, now_ms - quiet_ms)
    try:
        told = [each for each in kernel_log(context.host).faults(quiet_ms) if each.fault.pattern.kind == "oom_kill"]
    except CheckUnknown:
        if total is None:
            raise
        told = []
    killed = victims(told)
    count = max(len(killed), counted)
    gauges = {} if total is None else {"oom_kills_total": float(total)}
    if count == 0:
        return [Result(Status.OK, f"nothing was killed for memory in {human_seconds(quiet_ms / 1000)}", gauges=gauges)]
    last = killed[-1] if killed else Victim(now_ms, 0)
    finding: dict[str, Scalar] = {
        "kills": count,
        "process": last.task,
        "pid": last.pid,
        "victim_unit": last.unit,
        "constraint": last.scope,
        "anon_bytes": last.anon_bytes,
    }
    who = f"last {last.task or 'a process'}" + (f" of {last.unit}" if last.unit else "")
    who += f" with {human_bytes(last.anon_bytes)}" if last.anon_bytes else ""
    where = "a control group" if last.scope == "memcg" else "the machine"
    text = f"memory of {where} ran out: {count} killed within {human_seconds(quiet_ms / 1000)}, {who}"
    return [Result(Status.CRIT, text, finding=finding, gauges=gauges)]


def _counted(context: Context, since_ms: int) -> tuple[int, int | None]:
    """Kills since then by the kernel's counter, and the counter itself; None where there is none."""
    try:
        found = _COUNTER.search(read(context.host, FILE))
    except CheckUnknown:
        found = None
    if found is None:
        return 0, None
    total, before = int(found[1]), context.memory.get("total")
    steps: list[tuple[int, int]] = context.memory.setdefault("steps", [])
    context.memory["total"] = total
    if before is not None and total > before:
        steps.append((context.host.clock_ms(), total - before))
    steps[:] = [step for step in steps if step[0] >= since_ms][-1000:]
    return sum(count for _, count in steps), total


CHECK = Check(
    name="oom_kill",
    summary="Processes that the kernel killed because memory ran out",
    run=_run,
    params=(Param("quiet", Kind.DURATION, "well again when nothing was killed for so long", default=600_000, minimum=1000),),
    finding=(
        Field("kills", Kind.INTEGER, "processes killed within the time"),
        Field("process", Kind.TEXT, "name of the last one, empty if the kernel's log does not tell"),
        Field("pid", Kind.INTEGER, "its process id"),
        Field("victim_unit", Kind.TEXT, "its systemd unit; the memory may have been taken by another"),
        Field("constraint", Kind.TEXT, "whose memory ran out: none (the machine's), memcg (a control group's), cpuset ..."),
        Field("anon_bytes", Kind.INTEGER, "what it held itself"),
    ),
    gauges=(Gauge("oom_kills_total", "processes killed since boot"),),
    signal="kmsg",
    every_s=15.0,
)
