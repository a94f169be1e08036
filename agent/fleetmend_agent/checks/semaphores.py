"""System V semaphores against the kernel's limits: they outlive their programs, and one that leaves them uses them up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar
from ._processes import user_name
from ._source import above, read

_TABLE, _LIMITS = "/proc/sysvipc/sem", "/proc/sys/kernel/sem"
# Some ten thousand sets, a line each.
_TABLE_BYTES_MAX = 16 * 1024 * 1024
_COUNT, _USER = 3, 4
_LIMIT_WORDS = 4


def _run(context: Context) -> Iterable[Result]:
    limits = read(context.host, _LIMITS).split()
    rows = [line.split() for line in read(context.host, _TABLE, _TABLE_BYTES_MAX).splitlines()[1:]]
    if len(limits) != _LIMIT_WORDS or not all(word.isdecimal() for word in limits):
        raise CheckUnknown(f"cannot understand {_LIMITS}")
    if not all(len(row) > _USER and row[_COUNT].isdecimal() and row[_USER].isdecimal() for row in rows):
        raise CheckUnknown(f"cannot understand {_TABLE}")
    single_max, sets_max = max(1, int(limits[1])), max(1, int(limits[3]))
    single = sum(int(row[_COUNT]) for row in rows)
    percent = 100 * max(single / single_max, len(rows) / sets_max)
    users = Counter(int(row[_USER]) for row in rows)
    finding: dict[str, Scalar] = {"sets": len(rows), "sets_max": sets_max, "semaphores": single, "semaphores_max": single_max}
    finding |= {"used_percent": round(percent, 1), "user": "", "killable": False}
    text = f"{len(rows)} of {sets_max} semaphore sets with {single} of {single_max} semaphores, {percent:.0f} % used"
    if users:
        (uid, count) = users.most_common(1)[0]
        user = user_name(context.host, uid)
        finding |= {"user": user, "killable": user in context.params["killable_users"]}
        text += f"; {user} has {count} sets"
    status = above(percent, context.params["warn_percent"], context.params["crit_percent"])
    return [Result(status, text, finding=finding, gauges={"sysv_semaphores_used_ratio": round(percent / 100, 4)})]


CHECK = Check(
    name="semaphores",
    summary="System V semaphores against the kernel's limits, and who has most of them",
    run=_run,
    params=(
        Param("warn_percent", Kind.NUMBER, "WARN from this share of a limit on", default=70.0, minimum=0),
        Param("crit_percent", Kind.NUMBER, "CRIT from this share of a limit on", default=80.0, minimum=0),
        Param("killable_users", Kind.TEXT_LIST, "users whose leftovers may be removed; filled in by declarations", default=[]),
    ),
    finding=(
        Field("sets", Kind.INTEGER, "sets of semaphores"),
        Field("sets_max", Kind.INTEGER, "how many sets the kernel allows"),
        Field("semaphores", Kind.INTEGER, "single semaphores in all sets"),
        Field("semaphores_max", Kind.INTEGER, "how many of those the kernel allows"),
        Field("used_percent", Kind.NUMBER, "share of the nearer limit, 0 to 100"),
        Field("user", Kind.TEXT, "who owns most of the sets"),
        Field("killable", Kind.FLAG, "that user's leftovers were declared to be removable"),
    ),
    gauges=(Gauge("sysv_semaphores_used_ratio", "use of the nearer limit, 0 to 1"),),
    blocking=True,
    every_s=60.0,
)
