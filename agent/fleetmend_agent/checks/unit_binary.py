"""Whether a unit still runs a program, or libraries, whose files have been replaced on disk: the update is not in force there.

The mapped libraries are gone through every few minutes only, the program's own link each time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import Check, Context, Field, Kind, Param, Result, Scalar, Status
from ._services import FIELDS, REPORT_ONLY, UNIT, WORST, of_unit
from ._source import why

if TYPE_CHECKING:
    from ..host import Host
    from ._processes import Process

_MAPS_EVERY_MS = 300_000
_MAPS_BYTES_MAX = 16 * 1024 * 1024
_PROCESSES_MAX = 64
_REMEMBERED_MAX = 10_000
_DELETED = " (deleted)"
# Executable mappings of shared libraries that lie where packages put them.
_LIBRARY = re.compile(r"^[0-9a-f]+-[0-9a-f]+ r.x. .* (/(?:usr|lib|opt)\S*\.so[\w.]*) \(deleted\)$", re.MULTILINE)


def _run(context: Context) -> Iterable[Result]:
    name, _, processes, facts = of_unit(context)
    blind = ""
    for process in processes[:_PROCESSES_MAX]:
        try:
            path, kind = _stale(context, process)
        except FileNotFoundError:
            continue
        except OSError as error:
            blind = why(error)
            continue
        if path:
            return [_found(context, name, facts, process, path, kind)]
    if blind:
        return [Result(Status.UNKNOWN, f"cannot see what {name} runs: {blind}", finding=facts)]
    return [Result(Status.OK, f"{name} runs what is on disk" if processes else f"{name} has no process", finding=facts)]


def _found(context: Context, name: str, facts: dict[str, Scalar], process: Process, path: str, kind: str) -> Result:
    replaced = context.host.exists(path)
    if not replaced:
        # A restart would find nothing to run.
        facts.pop("unit", None)
    facts |= {"path": path, "kind": kind, "replaced": replaced, **process.facts()}
    what = "replaced" if replaced else "removed"
    text = f"{name}: {process.name} (pid {process.pid}) still runs a {kind} that was {what}: {path}"
    return Result(Status.CRIT, text, finding=facts)


def _stale(context: Context, process: Process) -> tuple[str, str]:
    """The first file that the process runs and that is no longer there as it was, and what it is. Raises OSError."""
    program = context.host.readlink(f"/proc/{process.pid}/exe")
    if program.endswith(_DELETED):
        return program.removesuffix(_DELETED), "program"
    library = _library(context.host, process) if context.params["libraries"] else ""
    return library, "library"


def _library(host: Host, process: Process) -> str:
    seen: dict[tuple[int, int], tuple[int, str]] = host.kept.setdefault("unit_binary", {})
    now_ms, key = host.clock_ms(), (process.pid, process.start_ticks)
    looked_ms, found = seen.get(key, (-_MAPS_EVERY_MS, ""))
    if now_ms - looked_ms < _MAPS_EVERY_MS:
        return found
    if len(seen) >= _REMEMBERED_MAX:
        seen.clear()
    match = _LIBRARY.search(host.read_text(f"/proc/{process.pid}/maps", _MAPS_BYTES_MAX))
    seen[key] = (now_ms, match[1] if match else "")
    return seen[key][1]


CHECK = Check(
    name="unit_binary",
    summary="One unit runs the program and the libraries that are on disk, not deleted ones",
    run=_run,
    params=(
        UNIT,
        Param("libraries", Kind.FLAG, "look at mapped libraries too, every five minutes", default=True),
        REPORT_ONLY,
    ),
    finding=(
        *FIELDS,
        Field("path", Kind.TEXT, "the file that was replaced or removed"),
        Field("kind", Kind.TEXT, "program or library"),
        Field("replaced", Kind.FLAG, "another file lies there now, so that a restart finds something to run"),
        *WORST,
    ),
    blocking=True,
    every_s=15.0,
)
