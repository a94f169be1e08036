"""A declared package is installed in its version, and its files are there and as they came. Configuration files are left out.

Existence costs a stat a file. Content is read again only where a file changed since it was last found right.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._dpkg import STATUS, Package, info_file, just_written, packages, present
from ._source import why

if TYPE_CHECKING:
    from ..host import Host

FILES_MAX = 20_000
FILE_BYTES_MAX = 16 << 20
READ_BYTES_MAX = 16 << 20
WATCHED_MAX = 200
# Where nothing is missed: dpkg may be told to leave these out, and slim images do.
_LEFT_OUT = ("/usr/share/doc/", "/usr/share/man/", "/usr/share/locale/", "/usr/share/info/", "/usr/share/lintian/")


def _run(context: Context) -> Iterable[Result]:
    if not present(context.host):
        return [Result(Status.OK, "no dpkg on this machine", finding=_facts(context, "", "", ""))]
    result = _judge(context)
    if result.status is Status.CRIT and just_written(context.host):
        # Between two steps of an installation a package may be anything.
        result = replace(result, status=context.known.get("", Status.OK))
    return [result]


def _judge(context: Context) -> Result:
    host, name = context.host, context.params["package"]
    package = packages(host).get(name)
    if package is None or package.status in {"config-files", "half-installed"}:
        return Result(Status.CRIT, f"{name} is not installed", finding=_facts(context, "not-installed", "", ""))
    version: str = context.params["version"]
    if version and package.version != version:
        text = f"{name} is version {package.version}, it should be {version}"
        return Result(Status.CRIT, text, finding=_facts(context, "version", "", package.version))
    missing, changed = _look(context, package)
    gauges = {"package_files_wrong_value": float(len(missing) + len(changed))}
    wrong = missing or changed
    if wrong:
        words = "is missing" if missing else "is not as it came"
        text = f"{name}: {wrong[0]} {words}" + (f", and {len(missing) + len(changed) - 1} more" if len(wrong) > 1 else "")
        facts = _facts(context, "missing" if missing else "changed", wrong[0], package.version)
        return Result(Status.CRIT, text, finding=facts, gauges=gauges)
    if context.params["hold"] and package.wanted != "hold":
        facts = _facts(context, "not-held", "", package.version)
        return Result(Status.CRIT, f"{name} should be on hold and is not", finding=facts, gauges=gauges)
    text = f"{name} {package.version} is complete"
    return Result(Status.OK, text, finding=_facts(context, "", "", package.version), gauges=gauges)


def _facts(context: Context, what: str, path: str, version: str) -> dict[str, Scalar]:
    # Another version may be there for a reason. Only of what is on hold it is said which one is meant.
    allowed, version_meant = context.params["reinstall"] == "allowed", bool(context.params["version"])
    helps = what in {"not-installed", "missing", "changed"} and version_meant
    pinned = what == "version" and allowed and context.params["hold"]
    return {
        "package": context.params["package"],
        "what": what,
        "path": path,
        "version": version,
        "reinstall": context.params["reinstall"] if helps else "",
        "pinned": "yes" if pinned else "no",
    }


def _look(context: Context, package: Package) -> tuple[list[str], list[str]]:
    """Paths that are gone, and paths whose content is another."""
    host = context.host
    try:
        listed = [line for line in info_file(host, package, "list").split("\n") if line.startswith("/") and line != "/."]
    except OSError as error:
        raise CheckUnknown(f"cannot read what {package.name} holds: {why(error)}") from error
    sums = _sums(host, package)
    verified: dict[str, tuple[int, ...]] = {} if context.fresh else host.kept.get(f"package_files:{package.name}", {})
    right: dict[str, tuple[int, ...]] = {}
    left_bytes = READ_BYTES_MAX
    missing, changed = [], []
    for path in listed[:FILES_MAX]:
        try:
            found = host.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            if path in sums and not path.startswith(_LEFT_OUT):
                missing.append(path)
            continue
        except OSError:
            continue
        if path not in sums or not stat.S_ISREG(found.st_mode):
            continue
        mark = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if verified.get(path) == mark or found.st_size > min(left_bytes, FILE_BYTES_MAX):
            right[path] = mark
            continue
        left_bytes -= found.st_size
        if _sum(host, path) in {sums[path], ""}:
            right[path] = mark
        else:
            changed.append(path)
    host.kept[f"package_files:{package.name}"] = right
    return missing, changed


def _sums(host: Host, package: Package) -> dict[str, str]:
    """What dpkg keeps of each file's content. Configuration files and links have no sum."""
    try:
        lines = info_file(host, package, "md5sums").split("\n")
    except OSError:
        return {}
    pairs = (line.split("  ", 1) for line in lines)
    return {f"/{pair[1]}": pair[0] for pair in pairs if len(pair) == 2}


def _sum(host: Host, path: str) -> str:
    """Empty if the agent may not read it."""
    from hashlib import md5

    try:
        return md5(host.read_bytes(path, FILE_BYTES_MAX), usedforsecurity=False).hexdigest()
    except OSError:
        return ""


def _watched(host: Host, params: Mapping[str, Any]) -> Iterable[str]:
    """The package's programs: a folder with many files of others would cost more than it tells."""
    package = packages(host).get(params["package"]) if present(host) else None
    if package is None:
        return []
    listed = info_file(host, package, "list").split("\n")
    programs = ("/usr/bin/", "/usr/sbin/", "/bin/", "/sbin/", "/usr/lib/")
    return [STATUS, *[path for path in listed if path.startswith(programs)][:WATCHED_MAX]]


CHECK = Check(
    name="package_files",
    summary="A declared package is installed in its version and complete",
    run=_run,
    params=(
        Param("package", Kind.TEXT, "name of the package", required=True),
        Param("version", Kind.TEXT, "version that must be installed; empty: any", default=""),
        Param("hold", Kind.FLAG, "it must be on hold", default=False),
        Param("reinstall", Kind.TEXT, "allowed: it may be installed anew, for the finding", default=""),
    ),
    finding=(
        Field("package", Kind.TEXT, "the package"),
        Field("what", Kind.TEXT, "not-installed, version, missing, changed, or not-held; empty when nothing is wrong"),
        Field("path", Kind.TEXT, "the first file that is missing or changed"),
        Field("version", Kind.TEXT, "the version that is installed"),
        Field("reinstall", Kind.TEXT, "allowed: installing the declared version anew is declared allowed, and can help"),
        Field("pinned", Kind.TEXT, "yes: another version than the one on hold is there, and that one may take its place"),
    ),
    gauges=(Gauge("package_files_wrong_value", "files of the package that are missing or changed"),),
    blocking=True,
    signal="inotify",
    watched=_watched,
    every_s=15.0,
)
