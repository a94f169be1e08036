"""Filesystems that should be writable and are read-only: after an I/O error, or because somebody remounted them.

Looks at the first process's mounts where it may, since a service in a sandbox sees its own mounts read-only. Where it may not,
only the filesystem's own state counts, which is the same in every sandbox.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from . import Check, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._filesystems import ALL, FIELDS, IGNORE, MOUNT, UNIT, declared_options, finding, is_read_only, local, table, visible

if TYPE_CHECKING:
    from ..host import Host, Mount


def _run(context: Context) -> Iterable[Result]:
    mounts, own = _mounts(context.host)
    wanted: str = context.params["mount"]
    if wanted != ALL:
        return [_declared(context, visible(mounts).get(wanted.rstrip("/") or "/"), wanted, own)]
    fstab = declared_options(context.host)
    chosen = local(mounts, context.params["ignore"])
    wrong = [mount for mount in chosen if is_wrongly_read_only(mount, fstab, own)]
    results = [Result(Status.OK, f"{len(chosen)} local filesystems", gauges={"readonly_filesystems": float(len(wrong))})]
    for mount in chosen:
        if mount in wrong:
            results.append(_result(context, mount, Status.CRIT, "is read-only, but was mounted writable"))
        elif mount.mount_point in context.known:
            results.append(_result(context, mount, Status.OK, "is as it should be"))
    return results


def _mounts(host: Host) -> tuple[tuple[Mount, ...], bool]:
    """The machine's mounts, and whether their own options count. Raises CheckUnknown."""
    try:
        return host.mounts("1"), True
    except OSError:
        # Not allowed without privileges: take what the agent itself sees.
        return table(host), False


def is_wrongly_read_only(mount: Mount, fstab: Mapping[str, tuple[str, ...]], own: bool) -> bool:
    """Whether a filesystem is read-only against what fstab or its own mount options say; read-only by declaration is fine."""
    declared = fstab.get(mount.mount_point)
    if declared is not None:
        return "ro" not in declared and (is_read_only(mount) or (own and "ro" in mount.options))
    return is_read_only(mount) and "rw" in mount.options


def _declared(context: Context, mount: Mount | None, wanted: str, own: bool) -> Result:
    """A mount that was named is declared writable."""
    if mount is None:
        facts: dict[str, Scalar] = {"mount": wanted, "mounted": False}
        if context.params["unit"]:
            facts["unit"] = context.params["unit"]
        if context.params["absent"] == "unknown":
            return Result(Status.UNKNOWN, f"cannot judge {wanted}: it is not mounted", wanted, facts)
        return Result(Status.CRIT, f"{wanted} is not mounted", wanted, facts)
    if mount.fstype == "autofs":
        return _result(context, mount, Status.OK, "waits to be mounted on use")
    if is_read_only(mount) or (own and "ro" in mount.options):
        return _result(context, mount, Status.CRIT, "is read-only, but declared writable")
    return _result(context, mount, Status.OK, "is writable")


def _result(context: Context, mount: Mount, status: Status, text: str) -> Result:
    facts = finding(context, mount) | {"mounted": True}
    if context.params["remount"]:
        facts["remount"] = _permission(context, mount)
    return Result(status, f"{mount.mount_point} ({mount.source}) {text}", mount.mount_point, facts)


def _permission(context: Context, mount: Mount) -> str:
    """What is declared about mounting it writable again; `not-clean` once the filesystem itself counts errors."""
    word = str(context.params["remount"])
    return "not-clean" if word == "if-clean" and errors_of(context.host, mount) else word


def errors_of(host: Host, mount: Mount) -> int:
    """Errors that an ext4 filesystem noted in its superblock; 0 if it has none or does not tell."""
    try:
        device = os.path.basename(host.readlink(f"/sys/dev/block/{mount.device}"))
        return int(host.read_text(f"/sys/fs/ext4/{device}/errors_count", 64))
    except (OSError, ValueError):
        return 0


CHECK = Check(
    name="filesystem_readonly",
    summary="Filesystems that should be writable and are read-only, or a declared one that is not mounted",
    run=_run,
    params=(
        MOUNT,
        Param(
            "absent",
            Kind.TEXT,
            "what a named mount is that is not there: crit, or unknown when another check says so",
            default="crit",
            choices=("crit", "unknown"),
        ),
        Param("remount", Kind.TEXT, "what is declared about mounting it writable again, for the finding", default=""),
        IGNORE,
        UNIT,
    ),
    finding=(
        *FIELDS,
        Field("mounted", Kind.FLAG, "something is mounted there"),
        Field("remount", Kind.TEXT, "never, if-clean, or not-clean: declared if-clean, but the filesystem counts errors"),
    ),
    gauges=(Gauge("readonly_filesystems", "local filesystems that are read-only and should not be"),),
    signal="mounts",
    every_s=60.0,
)
