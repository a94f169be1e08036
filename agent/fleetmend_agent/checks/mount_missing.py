"""Declared mounts are there, from where they should be, and answer. A mount that hangs is a fault by itself, never an UNKNOWN.

Every declared mount by its name; `mount: "*"` looks at what fstab wants mounted and at every network mount.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ..host import UnitState, parse_fstab
from . import Check, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._filesystems import ALL, IGNORE, MOUNT, UNIT, table, visible
from ._source import why
from ._units import is_masked, type_of

if TYPE_CHECKING:
    from ..host import Host, Mount

PATIENCE_S = 2.0
SHADOWED_MAX = 1000
MOUNTS_ASKED_MAX = 64
_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "9p", "afs", "ncpfs", "lustre", "beegfs"})
_NOT_MOUNTED = frozenset({"noauto", "nofail", "x-systemd.automount"})
_NO_PATHS = frozenset({"none", "swap"})


@dataclass(slots=True, eq=False)
class _Asked:
    """One question to a mount, on a thread of its own: it may never return."""

    thread: threading.Thread
    problem: list[str] = field(default_factory=list)


def _run(context: Context) -> Iterable[Result]:
    mounted = visible(table(context.host))
    wanted: str = context.params["mount"]
    if wanted != ALL:
        return [_declared(context, wanted.rstrip("/") or "/", mounted)]
    return list(_every(context, mounted))


def _declared(context: Context, wanted: str, mounted: dict[str, Mount]) -> Result:
    params = context.params
    facts: dict[str, Scalar] = {"mount": wanted, "fault": "", "maintenance": False}
    if params["unit"]:
        facts |= {"unit": params["unit"], "unit_type": type_of(params["unit"])}
    if params["users"]:
        facts["users"] = " ".join(params["users"])
    mount = mounted.get(wanted)
    if mount is None or (mount.fstype == "autofs" and params["fstype"] != "autofs"):
        return _absent(context, wanted, facts, automounted=mount is not None)
    facts |= {"source": mount.source, "fstype": mount.fstype}
    if params["fstype"] and mount.fstype != params["fstype"]:
        text = f"{wanted} is a {mount.fstype} of {mount.source}, it should be {params['fstype']}"
        return _wrong(wanted, facts, "fstype", text)
    if params["source"] and not came_from(context.host, mount, params["source"]):
        text = f"{wanted} is mounted from {mount.source}, it should be {params['source']}"
        return _wrong(wanted, facts, "source", text)
    return _answers(context, wanted, facts)


def _wrong(mount: str, facts: dict[str, Scalar], fault: str, text: str) -> Result:
    """What starting the mount's unit does not cure: so the finding does not name it."""
    return Result(
        Status.CRIT,
        text,
        mount,
        {name: value for name, value in facts.items() if name not in ("unit", "unit_type")} | {"fault": fault},
    )


def _absent(context: Context, wanted: str, facts: dict[str, Scalar], *, automounted: bool) -> Result:
    if automounted:
        return Result(Status.OK, f"{wanted} waits to be mounted on use", wanted, facts)
    unit = context.params["unit"]
    if unit and is_masked(context.host, UnitState(unit, load="not-loaded")):
        text = f"{wanted} is not mounted; {unit} is masked: in maintenance"
        return Result(Status.OK, text, wanted, facts | {"maintenance": True})
    shadowed = _count(context.host, wanted)
    text = f"{wanted} is not mounted"
    if shadowed:
        text += f"; {shadowed} entries were written below the empty mount point"
    return Result(Status.CRIT, text, wanted, facts | {"fault": "missing", "shadowed": shadowed})


def _count(host: Host, folder: str) -> int:
    """What lies where the mount should be, as far as the agent may look."""
    count, folders = 0, [folder]
    while folders and count < SHADOWED_MAX:
        above = folders.pop()
        try:
            names = host.listdir(above)
        except OSError:
            continue
        count += len(names)
        folders += [path for name in names if _is_folder(host, path := f"{above}/{name}")]
    return min(count, SHADOWED_MAX)


def _is_folder(host: Host, path: str) -> bool:
    try:
        return bool(host.lstat(path).st_mode & 0o170000 == 0o040000)
    except OSError:
        return False


def came_from(host: Host, mount: Mount, source: str) -> bool:
    """Whether a mount has that source. What cannot be told (a label, a link that the agent does not see) counts as yes."""
    if mount.source == source or mount.source.rstrip("/") == source.rstrip("/"):
        return True
    if "=" in source.partition("/")[0] or source.startswith(("/dev/disk/", "/dev/mapper/", "/dev/md", "/dev/root")):
        return True
    if mount.source.startswith(("/dev/mapper/", "/dev/dm-", "/dev/root")):
        return True
    if mount.source.startswith("/dev/loop") and not source.startswith("/dev/"):
        try:
            backing = host.read_text(f"/sys/block/{os.path.basename(mount.source)}/loop/backing_file").strip()
        except OSError:
            return True
        return backing.removesuffix(" (deleted)").endswith(source)
    return False


def _answers(context: Context, mount: str, facts: dict[str, Scalar]) -> Result:
    problem = _ask(context, mount)
    if not problem:
        return Result(Status.OK, f"{mount} is mounted", mount, facts)
    fault = "hung" if problem == "does not answer" else "broken"
    return _wrong(mount, facts, fault, f"{mount} {problem}")


def _ask(context: Context, mount: str) -> str:
    """Why a mount is of no use; empty if it answers. A thread that still hangs from before is not joined by another."""
    asked: dict[str, _Asked] = context.host.kept.setdefault("mount_missing", {})
    question = asked.get(mount)
    if question is None or not question.thread.is_alive():
        if len(asked) >= MOUNTS_ASKED_MAX and mount not in asked:
            return ""
        problem: list[str] = []
        thread = threading.Thread(target=_statvfs, args=(context.host, mount, problem), name="mount", daemon=True)
        question = asked[mount] = _Asked(thread, problem)
        thread.start()
    question.thread.join(min(PATIENCE_S, context.timeout_s / 2))
    if question.thread.is_alive():
        return "does not answer"
    del asked[mount]
    return question.problem[0] if question.problem else ""


def _statvfs(host: Host, mount: str, problem: list[str]) -> None:
    try:
        host.statvfs(mount)
    except PermissionError:
        return  # It answered; whether the agent may look is another matter.
    except OSError as error:
        problem.append(f"is of no use: {why(error)}")


def _every(context: Context, mounted: dict[str, Mount]) -> Iterator[Result]:
    ignore = tuple(context.params["ignore"])
    wanted = {point: options for point, options in _fstab(context.host).items() if point.startswith("/")}
    network = [point for point, mount in mounted.items() if mount.fstype in _NETWORK or mount.fstype.startswith("fuse.")]
    looked_at = sorted(point for point in {*wanted, *network} if not any(fnmatchcase(point, pattern) for pattern in ignore))
    results = [_of_host(context, point, mounted) for point in looked_at]
    bad = [result for result in results if result.status is not Status.OK]
    yield Result(Status.OK, f"{len(looked_at)} mounts", gauges={"mounts_missing_value": float(len(bad))})
    yield from bad
    yield from (result for result in results if result.status is Status.OK and result.key in context.known)


def _of_host(context: Context, point: str, mounted: dict[str, Mount]) -> Result:
    facts: dict[str, Scalar] = {"mount": point, "fault": "", "maintenance": False}
    mount = mounted.get(point)
    if mount is None:
        return _absent(context, point, facts, automounted=False)
    facts |= {"source": mount.source, "fstype": mount.fstype}
    network = mount.fstype in _NETWORK or mount.fstype.startswith("fuse.")
    return _answers(context, point, facts) if network else Result(Status.OK, f"{point} is mounted", point, facts)


def _fstab(host: Host) -> dict[str, tuple[str, ...]]:
    """What fstab wants mounted at boot, whatever happens."""
    try:
        options = parse_fstab(host.read_text("/etc/fstab"))
    except OSError:
        return {}
    return {
        point.rstrip("/") or "/": words
        for point, words in options.items()
        if point not in _NO_PATHS and not _NOT_MOUNTED & set(words)
    }


CHECK = Check(
    name="mount_missing",
    summary="Declared mounts are there, from where they should be, and answer",
    run=_run,
    params=(
        MOUNT,
        Param("source", Kind.TEXT, "what should be mounted there: a device, an image, host:/path; empty: anything", default=""),
        Param("fstype", Kind.TEXT, "type that the filesystem should have; empty: any", default=""),
        Param("users", Kind.TEXT_LIST, "units that write there, for the finding", default=[]),
        IGNORE,
        UNIT,
    ),
    finding=(
        Field("mount", Kind.TEXT, "the mount point"),
        Field("fault", Kind.TEXT, "missing, source, fstype, hung or broken; empty when nothing is wrong"),
        Field("unit", Kind.TEXT, "the unit behind the mount, where starting it is the cure"),
        Field("unit_type", Kind.TEXT, "mount, where the unit is named"),
        Field("users", Kind.TEXT, "the units that write there, if any were named"),
        Field("maintenance", Kind.FLAG, "the mount's unit is masked: somebody wants it gone"),
        Field("shadowed", Kind.INTEGER, "entries that lie where the mount should be, as far as the agent may look"),
        Field("source", Kind.TEXT, "what is mounted there"),
        Field("fstype", Kind.TEXT, "type of what is mounted there"),
    ),
    gauges=(Gauge("mounts_missing_value", "mounts that are missing or do not answer"),),
    blocking=True,
    signal="mounts",
    every_s=30.0,
    timeout_s=15.0,
)
