"""Files under management equal their golden copies: a tree of them, such as configuration management would put in place.

A look costs two stats a file; content is read again only where one of them changed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._source import why

if TYPE_CHECKING:
    from ..host import Host

FILES_MAX = 2000
DEPTH_MAX = 24
# Larger files are compared by size alone; what one look may read, the rest comes with the next.
FILE_BYTES_MAX = 16 << 20
READ_BYTES_MAX = 32 << 20
UNIT_FOLDERS = (
    *("/etc/systemd/system/", "/run/systemd/system/", "/usr/local/lib/systemd/system/"),
    *("/usr/lib/systemd/system/", "/lib/systemd/system/"),
)
_WORDS = {
    "missing": "is missing",
    "kind": "is no longer what it should be: a link or a folder took its place",
    "content": "differs from its golden copy",
    "mode": "has another owner or mode than its golden copy",
}


@dataclass(frozen=True, slots=True)
class _Seen:
    """One comparison, valid while neither file changes."""

    golden: tuple[int, ...]
    live: tuple[int, ...]
    equal: bool


@dataclass(slots=True)
class _Budget:
    """What one look may still read."""

    left_bytes: int = READ_BYTES_MAX


def _run(context: Context) -> Iterable[Result]:
    golden: str = context.params["golden"].rstrip("/")
    known: dict[str, _Seen] = {} if context.fresh else context.host.kept.get(f"managed_file:{golden}", {})
    seen: dict[str, _Seen] = {}
    budget, count, drifted = _Budget(), 0, []
    for path, model in tree(context.host, golden):
        count += 1
        what = _judge(context, golden, path, model, known, seen, budget)
        if what:
            drifted.append(path)
            yield _result(golden, path, what)
        elif path in context.known:
            yield Result(Status.OK, f"{path} equals its golden copy", path, _finding(golden, path, ""))
    context.host.kept[f"managed_file:{golden}"] = seen
    text = f"{count} files below {golden}" + (f" (only the first {count} are compared)" if count >= FILES_MAX else "")
    yield Result(Status.OK, text, gauges={"managed_files_drifted_value": float(len(drifted))})


def tree(host: Host, golden: str) -> Iterator[tuple[str, os.stat_result]]:
    """The managed paths as they are on the machine, with what their golden copies are. Raises CheckUnknown."""
    if not golden.startswith("/") or golden == "/":
        raise CheckUnknown(f"cannot compare with {golden!r}: it must be an absolute path below /")
    try:
        host.listdir(golden)
    except OSError as error:
        raise CheckUnknown(f"cannot read {golden}: {why(error)}") from error
    left = FILES_MAX
    for each in _walk(host, golden, "", 0):
        yield each
        left -= 1
        if left <= 0:
            return


def _walk(host: Host, golden: str, folder: str, depth: int) -> Iterator[tuple[str, os.stat_result]]:
    try:
        names = sorted(host.listdir(golden + folder))
    except OSError:
        # A folder that only root may read: its files are compared by nobody.
        return
    for name in names:
        path = f"{folder}/{name}"
        try:
            status = host.lstat(golden + path)
        except OSError:
            continue
        if stat.S_ISDIR(status.st_mode) and depth < DEPTH_MAX:
            yield from _walk(host, golden, path, depth + 1)
        elif stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
            yield path, status


def _judge(
    context: Context,
    golden: str,
    path: str,
    model: os.stat_result,
    known: Mapping[str, _Seen],
    seen: dict[str, _Seen],
    budget: _Budget,
) -> str:
    """What is wrong with one path, in a word; empty if nothing is."""
    host = context.host
    try:
        live = host.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError:
        # Nobody but root may look there.
        return ""
    if stat.S_ISLNK(live.st_mode) and _is_masked(host, path):
        return ""
    if stat.S_IFMT(live.st_mode) != stat.S_IFMT(model.st_mode):
        return "kind"
    if stat.S_ISLNK(model.st_mode):
        return "" if host.readlink(path) == host.readlink(golden + path) else "content"
    if live.st_size != model.st_size:
        return "content"
    marks = _mark(model), _mark(live)
    before = known.get(path)
    if before is None or (before.golden, before.live) != marks:
        equal = _same(host, golden + path, path, live.st_size, budget)
        if equal is not None:
            before = _Seen(*marks, equal)
    if before is not None:
        seen[path] = before
        if not before.equal:
            return "content"
    if context.params["modes"] == "same" and _owner(live) != _owner(model):
        return "mode"
    return ""


def _is_masked(host: Host, path: str) -> bool:
    """A link to /dev/null is how a unit is put into maintenance."""
    return path.startswith(UNIT_FOLDERS) and host.readlink(path) == "/dev/null"


def _mark(status: os.stat_result) -> tuple[int, ...]:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _owner(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)


def _same(host: Host, golden: str, live: str, size: int, budget: _Budget) -> bool | None:
    """Whether two files of one size hold the same; None if that cannot be told now."""
    if size > FILE_BYTES_MAX:
        return True
    if size > budget.left_bytes:
        return None
    budget.left_bytes -= size
    try:
        return host.read_bytes(golden, FILE_BYTES_MAX + 1) == host.read_bytes(live, FILE_BYTES_MAX + 1)
    except OSError:
        # Content for root's eyes only: size and mode must do.
        return True


def _result(golden: str, path: str, what: str) -> Result:
    return Result(Status.CRIT, f"{path} {_WORDS[what]}", path, _finding(golden, path, what))


def _finding(golden: str, path: str, what: str) -> dict[str, Scalar]:
    return {"path": path, "golden": golden, "what": what, "is_unit_file": path.startswith(UNIT_FOLDERS)}


def _watched(host: Host, params: Mapping[str, Any]) -> Iterable[str]:
    golden = params["golden"].rstrip("/")
    for path, _ in tree(host, golden):
        yield path
        yield golden + path


CHECK = Check(
    name="managed_file",
    summary="Files under management equal their golden copies",
    run=_run,
    params=(
        Param("golden", Kind.TEXT, "folder with the golden copies, each at the path that it has on the machine", required=True),
        Param(
            "modes",
            Kind.TEXT,
            "same: owner and mode are those of the golden copy too; any: content alone counts",
            default="same",
            choices=("same", "any"),
        ),
    ),
    finding=(
        Field("path", Kind.TEXT, "the file on the machine"),
        Field("golden", Kind.TEXT, "the golden tree that it belongs to"),
        Field("what", Kind.TEXT, "missing, kind, content or mode; empty when nothing is wrong"),
        Field("is_unit_file", Kind.FLAG, "the file is systemd's: a restored one takes a daemon-reload"),
    ),
    gauges=(Gauge("managed_files_drifted_value", "managed files that differ from their golden copies"),),
    blocking=True,
    signal="inotify",
    watched=_watched,
    every_s=10.0,
)
