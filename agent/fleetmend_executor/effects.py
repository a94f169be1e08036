"""What a plan may consist of: argument vectors, and the few effects that need the kernel's own calls to be safe. Data only."""

from __future__ import annotations

from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

COMMAND_OUTPUT_BYTES_MAX = 16 * 1024


class Command(NamedTuple):
    """Run one argument vector. `optional`: its failure is noted, but fails nothing (evidence).

    `hosted`: what needs more than the executor's own sandbox permits (routes, mounts, packages) is run by systemd as a
    transient unit, `fleetmend-repair-*.service`, with root's powers and the host's network. The executor itself stays shut in.
    """

    argv: tuple[str, ...]
    timeout_s: float | None = None
    output_bytes_max: int = COMMAND_OUTPUT_BYTES_MAX
    optional: bool = False
    title: str = ""
    hosted: bool = False


class UnitGuard(NamedTuple):
    """Refuse unless the unit, under all the names it has on this host, may be touched now.

    `forbidden` are unit globs that no name of it may match; `must_be_dead` also demands that it is not running (clean-only).
    """

    unit: str
    forbidden: tuple[str, ...] = ()
    must_be_dead: bool = False


class UnitJob(NamedTuple):
    """One systemd job (`restart`, `start`, `stop`, `reload`) to its end. A start limit is reset and tried once more."""

    verb: str
    unit: str


class KillProcess(NamedTuple):
    """TERM, then KILL after the grace: a unit's main process, or a process named by pid, start time and name.

    `killable` are the units whose processes may end; a process outside them is refused.
    """

    killable: tuple[str, ...]
    unit: str = ""
    pid: int = 0
    start_ticks: int = 0
    process_name: str = ""
    grace_s: float = 10.0


class ClearFiles(NamedTuple):
    """Delete regular files, oldest first, until a target is met.

    A file must match one of `patterns`, one of `disposable`, be older than `min_age_s`, lie below `mount` if that is given, and
    neither it nor a folder above it may match `protected`. Targets, 0 for none: `free_bytes`, `until_used_percent` and, for
    filesystems that run out of inodes, `until_inodes_percent`.
    """

    patterns: tuple[str, ...]
    disposable: tuple[str, ...]
    protected: tuple[str, ...]
    min_age_s: int
    free_bytes: int = 0
    until_used_percent: int = 0
    files_max: int = 10_000
    mount: str = ""
    until_inodes_percent: int = 0


class ReadEvidence(NamedTuple):
    """Something that can be told without a tool.

    `processes` (the top ones), `sockets` (the listening ones), `deleted` (files that are gone and still take space), or
    `consumers` (what takes the space of the filesystem that `mount` is).
    """

    what: str
    lines_max: int = 30
    mount: str = ""


@runtime_checkable
class Special(Protocol):
    """An effect that lives with its performer: `fleetmend_executor.<performer>` has `perform(effect, run)` for it."""

    performer: ClassVar[str]


Effect = Command | UnitGuard | UnitJob | KillProcess | ClearFiles | ReadEvidence | Special
