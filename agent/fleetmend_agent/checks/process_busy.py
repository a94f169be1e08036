"""A process burns a processor for long that no declaration calls heavy: a thread that spins, a search without end, a stranger.

What it does is not known, so nothing is done about it: people are told who it is. Users that are declared killable are
process_runaway's. On a crowded machine a process gets less than it wants; what a thread of it waited for counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import Check, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._processes import look, seconds, user_id, user_name
from ._source import human_seconds, read_if_any

if TYPE_CHECKING:
    from ..host import Host
    from ._processes import Look, Process

# A shorter time between two looks tells no rate.
_BETWEEN_MS_MIN = 500
# Who only waits and gets almost nothing burns nothing.
_GOT_SHARE_MIN = 0.1
TOLD_MAX = 5
THREADS_MAX = 256

_Who = tuple[int, int]


@dataclass(slots=True)
class _Past:
    """The look before, and of those that were busy then: since when, and the time that their threads had had or waited for."""

    look: Look
    since_ms: dict[_Who, int] = field(default_factory=dict)
    wanted_ns: dict[_Who, dict[str, int]] = field(default_factory=dict)
    busy: dict[_Who, float] = field(default_factory=dict)


def _run(context: Context) -> Iterable[Result]:
    params, host = context.params, context.host
    seen = look(host, context.fresh)
    past = _judged(context, seen)
    lasting = [who for who in past.busy if seen.taken_ms - past.since_ms[who] >= params["hold"]]
    gauges = {"busy_processes": float(len(lasting))}
    yield Result(Status.OK, f"{len(lasting)} processes use a whole processor for long and may not", gauges=gauges)
    worst = sorted(lasting, key=lambda who: (-past.busy[who], who))[:TOLD_MAX]
    for who in worst:
        since_s = (seen.taken_ms - past.since_ms[who]) / 1000
        yield _busy(host, seen.by_pid[who[0]], past.busy[who], since_s)
    for key in context.known:
        if key and key not in map(_key, worst):
            yield Result(Status.OK, f"process {key.partition('@')[0]} does so no more", key)


def _busy(host: Host, process: Process, percent: float, since_s: float) -> Result:
    user = user_name(host, process.uid)
    finding: dict[str, Scalar] = {**process.facts(), "user": user, "in_unit": process.unit, "cpu_percent": round(percent, 1)}
    who = f"{process.name} (pid {process.pid}, {user}) in {process.unit or 'no unit'}"
    text = f"{who} uses {percent:.0f} % of a processor for {human_seconds(since_s)}"
    return Result(Status.CRIT, text, _key(_who(process)), finding)


def _who(process: Process) -> _Who:
    return process.pid, process.start_ticks


def _key(who: _Who) -> str:
    return f"{who[0]}@{who[1]}"


def _judged(context: Context, seen: Look) -> _Past:
    """How busy each process is: since the look before, or since it began. Looks that follow at once tell nothing new."""
    params, host = context.params, context.host
    past: _Past | None = host.kept.get("process_busy")
    alive = {_who(p): p for p in seen.by_pid.values() if not p.kernel and not p.is_zombie}
    if past is not None and seen.taken_ms - past.look.taken_ms < _BETWEEN_MS_MIN:
        past.busy = {who: percent for who, percent in past.busy.items() if who in alive}
        return past
    spared = {user_id(host, user) for user in params["killable_users"]}
    before = {_who(p): p for p in past.look.by_pid.values()} if past is not None else {}
    now = _Past(seen)
    for who, process in alive.items():
        known = before.get(who)
        since_ms = round(seconds(process.start_ticks) * 1000) if known is None or past is None else past.look.taken_ms
        percent = _share(seconds(process.cpu_ticks - (known.cpu_ticks if known is not None else 0)), seen.taken_ms - since_ms)
        limit: float = params["cpu_percent"]
        if percent < limit * _GOT_SHARE_MIN or process.uid in spared or process.unit in params["heavy_units"]:
            continue
        # Of those that get enough too: they may get less at the next look.
        wanted_ns = now.wanted_ns[who] = _wanted(host, process.pid)
        if percent < limit:
            had_ns = past.wanted_ns.get(who, wanted_ns) if known is not None and past is not None else {}
            most_ns = max((ns - had_ns.get(thread, 0) for thread, ns in wanted_ns.items()), default=0)
            if _share(most_ns / 1e9, seen.taken_ms - since_ms) < limit:
                continue
        now.busy[who] = percent
        now.since_ms[who] = past.since_ms.get(who, since_ms) if past is not None else since_ms
    host.kept["process_busy"] = now
    return now


def _share(used_s: float, passed_ms: int) -> float:
    """Percent of one processor; none for too short a time."""
    return 100_000 * used_s / passed_ms if passed_ms >= _BETWEEN_MS_MIN else 0.0


def _wanted(host: Host, pid: int) -> dict[str, int]:
    """Nanoseconds on a processor and in its queue, of each thread; nothing where the kernel does not tell."""
    try:
        threads = host.listdir(f"/proc/{pid}/task")[:THREADS_MAX]
    except OSError:
        # It ended since the look.
        return {}
    words = {thread: read_if_any(host, f"/proc/{pid}/task/{thread}/schedstat").split() for thread in threads}
    return {thread: sum(int(word) for word in each[:2] if word.isdecimal()) for thread, each in words.items()}


CHECK = Check(
    name="process_busy",
    summary="No process uses a whole processor for long that is not declared heavy",
    run=_run,
    params=(
        Param("cpu_percent", Kind.NUMBER, "CRIT when one uses more than this share of one processor", default=80.0, minimum=1),
        Param("hold", Kind.DURATION, "for so long", default=600_000),
        Param("heavy_units", Kind.TEXT_LIST, "units that may; filled in by declarations", default=[]),
        Param("killable_users", Kind.TEXT_LIST, "users that have a check of their own; filled in by declarations", default=[]),
    ),
    finding=(
        Field("pid", Kind.INTEGER, "the process"),
        Field("start_ticks", Kind.INTEGER, "when it started: field 22 of /proc/PID/stat"),
        Field("name", Kind.TEXT, "its name"),
        Field("user", Kind.TEXT, "the user it runs for"),
        Field("in_unit", Kind.TEXT, "the unit it runs in, if it runs in one"),
        Field("cpu_percent", Kind.NUMBER, "share of one processor that it uses"),
    ),
    gauges=(Gauge("busy_processes", "processes that use a whole processor for long and are not declared heavy"),),
    blocking=True,
    every_s=10.0,
)
