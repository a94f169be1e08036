"""One path has the owner, group and mode that were declared, and is there at all."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from . import Check, CheckUnknown, Context, Field, Kind, Param, Result, Scalar, Status
from ._filesystems import table, visible
from ._source import why
from .mount_missing import came_from

if TYPE_CHECKING:
    from ..host import Host

_OCTAL_DIGITS = "01234567"


def _run(context: Context) -> Iterable[Result]:
    params, host = context.params, context.host
    path: str = params["path"]
    if not path.startswith("/"):
        raise CheckUnknown(f"cannot watch {path!r}: it must be an absolute path")
    wanted_owner = _id_of(host, "/etc/passwd", params["owner"], "user")
    wanted_group = _id_of(host, "/etc/group", params["group"], "group")
    _on_its_mount(host, params)
    was = host.kept.setdefault("file_mode", {})
    facts: dict[str, Scalar] = {"path": path}
    try:
        found = host.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        kind = params["kind"] or was.get(path, "")
        facts |= {"what": "missing", "recreate": kind if kind == "directory" else ""}
        return [Result(Status.CRIT, f"{path} is missing", finding=facts)]
    except OSError as error:
        raise CheckUnknown(f"cannot look at {path}: {why(error)}") from error
    was[path] = "directory" if stat.S_ISDIR(found.st_mode) else "file"
    wrong = [
        word
        for word, is_wrong in (
            ("owner", wanted_owner is not None and found.st_uid != wanted_owner),
            ("group", wanted_group is not None and found.st_gid != wanted_group),
            ("mode", bool(params["mode"]) and stat.S_IMODE(found.st_mode) != _mode(params["mode"])),
        )
        if is_wrong
    ]
    if stat.S_ISLNK(found.st_mode):
        wrong = ["link"]
    facts |= {"what": ",".join(wrong), "recreate": ""}
    is_now = f"belongs to {found.st_uid}:{found.st_gid} with mode {stat.S_IMODE(found.st_mode):04o}"
    if not wrong:
        return [Result(Status.OK, f"{path} {is_now}", finding=facts)]
    should = ":".join(word or "any" for word in (params["owner"], params["group"])) + f" {params['mode']}".rstrip()
    return [Result(Status.CRIT, f"{path} {is_now}, it should be {should}: wrong is {', '.join(wrong)}", finding=facts)]


def _on_its_mount(host: Host, params: dict[str, Any]) -> None:
    """What lies below an empty or wrong mount point is not what was declared. Raises CheckUnknown."""
    if not params["mount"]:
        return
    mount = visible(table(host)).get(params["mount"])
    wrong = mount is not None and (
        (params["fstype"] and mount.fstype != params["fstype"])
        or (params["source"] and not came_from(host, mount, params["source"]))
    )
    if mount is None or wrong:
        raise CheckUnknown(f"cannot judge {params['path']}: {params['mount']} is not mounted as declared")


def _mode(text: str) -> int:
    if not text or len(text) > 4 or any(c not in _OCTAL_DIGITS for c in text):
        raise CheckUnknown(f"cannot judge mode {text!r}: it must be octal, such as 0750")
    return int(text, 8)


def _id_of(host: Host, table: str, name: str, what: str) -> int | None:
    """A number, or the number of a local name; None if none is wanted. Raises CheckUnknown."""
    if not name:
        return None
    if name.isdecimal():
        return int(name)
    try:
        lines = host.read_text(table).splitlines()
    except OSError as error:
        raise CheckUnknown(f"cannot read {table}: {why(error)}") from error
    for line in lines:
        words = line.split(":")
        if words[0] == name and len(words) > 2 and words[2].isdecimal():
            return int(words[2])
    raise CheckUnknown(f"cannot judge the {what}: {table} knows no {name}; write its number if another service does")


CHECK = Check(
    name="file_mode",
    summary="A file or folder has its declared owner, group and mode",
    run=_run,
    params=(
        Param("path", Kind.TEXT, "absolute path", required=True),
        Param("owner", Kind.TEXT, "user name or number; empty: any", default=""),
        Param("group", Kind.TEXT, "group name or number; empty: any", default=""),
        Param("mode", Kind.TEXT, "octal, such as 0750; empty: any", default=""),
        Param("kind", Kind.TEXT, "what it is; empty: what it was last", default="", choices=("", "directory", "file")),
        Param("mount", Kind.TEXT, "the mount on which it lies, if that is declared: without it nothing is judged", default=""),
        Param("source", Kind.TEXT, "where that mount comes from; empty: anywhere", default=""),
        Param("fstype", Kind.TEXT, "type of its filesystem; empty: any", default=""),
    ),
    finding=(
        Field("path", Kind.TEXT, "the path"),
        Field("what", Kind.TEXT, "missing, link, or which of owner, group and mode are wrong; empty when nothing is"),
        Field("recreate", Kind.TEXT, "directory: a folder is missing that may be made anew"),
    ),
    blocking=True,
    signal="inotify",
    every_s=15.0,
)
